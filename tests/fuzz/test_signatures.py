"""Broken files in requests to an exported model: the row is named, or its pixels are those of the library."""

import keras
import pytest
import tensorflow as tf

from tests.fuzz import harness, worker
from vim_tf.serving import saved_model
from vim_tf.serving.signatures import build_signatures


class Transparent:
    """A tokenizer whose tokens are the pixels, so that a request shows what a model would see."""

    height, width = worker.HEIGHT, worker.WIDTH
    grid_height, grid_width, depth, codebook_size = worker.HEIGHT, worker.WIDTH, 3, 256
    weights = ()

    def encode(self, images):
        return tf.cast(keras.ops.round(tf.reshape(images, [-1, self.height * self.width * 3]) * 255), tf.int32)

    def decode(self, tokens):
        return tf.cast(tf.reshape(tokens, [-1, self.height, self.width, 3]), tf.float32) / 255

    def quantized_latents(self, images):
        return images


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Folder of an exported model."""
    folder = str(tmp_path_factory.mktemp("model"))
    saved_model.write(folder, *build_signatures(Transparent(), max_pixels=worker.MAX_PIXELS))
    return folder


def check(folder, model, num_files, batch_size):
    served, read = {}, {}
    for first in range(0, num_files, batch_size):
        count = min(batch_size, num_files - first)
        batch, memory = harness.run_batch("signatures", folder, first, count, model)
        assert memory < harness.MEMORY_LIMIT
        served |= batch
        read |= harness.run_batch("library", folder, first, count)[0]
    print(harness.summary(served))
    for seed, outcome in served.items():
        in_library = read[seed]
        # The exported model has no Pillow.
        if "problem" in in_library or in_library["converted"]:
            assert "problem" in outcome, f"file {seed} is read in a request only"
        else:
            assert outcome == in_library, f"file {seed} differs between library and request"


@pytest.mark.slow
def test_no_broken_file_in_a_request_crashes_an_exported_model(model, tmp_path):
    check(tmp_path, model, 60, 60)


@pytest.mark.system
@pytest.mark.timeout(3600)
def test_no_broken_file_in_two_thousand_requests_crashes_an_exported_model(model, tmp_path):
    check(tmp_path, model, 2_000, 1_000)
