"""Images to token records."""

import numpy as np
import pytest
import tensorflow as tf

from tests.testing import save_untrained_tokenizer
from vim_tf.data.images.pixels import to_float
from vim_tf.data.records.encode import encoded_examples
from vim_tf.stages import saved


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    """Folder of an untrained tokenizer."""
    return save_untrained_tokenizer(tmp_path_factory.mktemp("tokenizer"))


def test_a_shard_of_views_is_encoded_like_one_of_images(tokenizer, tmp_path):
    loaded = saved.load_tokenizer(tokenizer)
    pixels = np.random.default_rng(1).integers(0, 256, (3, 2, 8, 8, 3), dtype=np.uint8)
    batch = {"image": tf.constant(pixels), "label": tf.range(3, dtype=tf.int64), "key": tf.constant(["a", "b", "c"])}
    for tokens, label, key in encoded_examples(loaded, [batch]):
        np.testing.assert_array_equal(tokens, loaded.encode(to_float(pixels[label])))
        assert key == b"abc"[label : label + 1]
