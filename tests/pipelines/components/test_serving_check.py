"""The problems that the check of an exported model finds."""

import json
import subprocess
import sys

import pytest
import tensorflow as tf

from pipelines.components import serving_check, serving_probe

pytestmark = pytest.mark.slow
FACTS = {
    "height": 4,
    "width": 4,
    "grid_height": 2,
    "grid_width": 2,
    "depth": 1,
    "codebook_size": 8,
    "num_classes": 2,
    "feature_dim": 3,
    "settings": {"temperature": 1.0, "top_k": 0},
}
BYTES = [tf.TensorSpec([None], tf.string, name="image_bytes")]
TOKENS = [tf.TensorSpec([None, 4], tf.int32, name="tokens")]


def tokens_of(image_bytes):
    images = tf.map_fn(
        lambda file: tf.io.decode_image(file, 3, expand_animations=False),
        image_bytes,
        fn_output_signature=tf.TensorSpec([4, 4, 3], tf.uint8),
    )
    return tf.cast(tf.reshape(images[:, ::2, ::2, 0], [-1, 4]) // 32, tf.int32)


def images_of(tokens):
    grid = tf.reshape(tokens, [-1, 2, 2, 1])
    return tf.cast(tf.tile(tf.repeat(tf.repeat(grid, 2, 1), 2, 2), [1, 1, 1, 3]) * 32, tf.uint8)


def checked_images_of(tokens):
    with tf.control_dependencies([tf.debugging.Assert(tf.reduce_all((tokens >= 0) & (tokens < 8)), ["token"])]):
        return images_of(tokens)


GOOD = {
    "encode": (lambda image_bytes: {"tokens": tokens_of(image_bytes)}, BYTES),
    "decode": (lambda tokens: {"images": checked_images_of(tokens)}, TOKENS),
    "reconstruct": (lambda image_bytes: {"images": images_of(tokens_of(image_bytes))}, BYTES),
}


def save(folder, **functions):
    """A SavedModel of GOOD with some signatures replaced."""
    module = tf.Module()
    signatures = {
        name: tf.function(function, input_signature=specs, autograph=False)
        for name, (function, specs) in (GOOD | functions).items()
    }
    tf.saved_model.save(module, str(folder), signatures=signatures)
    return str(folder)


def test_a_good_model_has_every_signature_called(tmp_path):
    assert serving_probe.probe(save(tmp_path), FACTS) == ["decode", "encode", "reconstruct"]


@pytest.mark.parametrize(
    ("functions", "failure"),
    [
        (
            {"encode": (lambda image_bytes: {"tokens": tokens_of(image_bytes) + 8}, BYTES)},
            r"signature encode, output tokens is outside \[0, 8\)",
        ),
        (
            {"decode": (lambda tokens: {"images": tf.cast(checked_images_of(tokens), tf.float32)}, TOKENS)},
            r"signature decode, output images is float32 \(2, 4, 4, 3\), not uint8",
        ),
        (
            {"decode": (lambda tokens: {"images": images_of(tokens)}, TOKENS)},
            "signature decode accepts a wrong tokens instead of refusing it",
        ),
        (
            {"reconstruct": (lambda image_bytes: {"images": 255 - images_of(tokens_of(image_bytes))}, BYTES)},
            "signature reconstruct gives other images than encode and decode do",
        ),
        (
            {
                "features": (
                    lambda image_bytes: {"features": tf.fill([tf.size(image_bytes), 3], float("nan"))},
                    BYTES,
                )
            },
            "signature features, output features is not finite",
        ),
        (
            {"other": (lambda x: {"y": x}, [tf.TensorSpec([None], tf.float32, name="x")])},
            "signature other has an input x, for which the check has no value",
        ),
        (
            {"other": (lambda label: {"y": tf.reduce_sum(label)}, [tf.TensorSpec([None], tf.int32, name="label")])},
            r"signature other, output y has shape \(\), not the batch of 2 first",
        ),
    ],
)
def test_what_is_wrong_is_named(tmp_path, functions, failure):
    with pytest.raises(serving_probe.Failure, match=failure):
        serving_probe.probe(save(tmp_path, **functions), FACTS)


def test_each_setting_of_a_sample_gets_its_default(tmp_path):
    def other(temperature, top_k):
        is_default = tf.debugging.Assert(tf.reduce_all((temperature == 1) & (top_k == 0)), ["no default"])
        with tf.control_dependencies([is_default]):
            return {"y": tf.identity(temperature)}

    specs = [tf.TensorSpec([None], tf.float32, "temperature"), tf.TensorSpec([None], tf.int32, "top_k")]
    assert "other" in serving_probe.probe(save(tmp_path, other=(other, specs)), FACTS)
    with pytest.raises(serving_probe.Failure, match="signature other fails"):
        serving_probe.probe(str(tmp_path), FACTS | {"settings": {"temperature": 0.5, "top_k": 0}})


def test_rows_that_complete_must_keep_are_compared_with_the_image(tmp_path):
    specs = [*BYTES, tf.TensorSpec([None], tf.int32, name="keep_rows")]
    complete = {"complete": (lambda image_bytes, keep_rows: {"tokens": 7 - tokens_of(image_bytes)}, specs)}
    with pytest.raises(serving_probe.Failure, match="complete changes the rows"):
        serving_probe.probe(save(tmp_path, **complete), FACTS)


def test_what_only_this_process_can_call_fails_in_the_clean_one(tmp_path):
    def encode(image_bytes):
        tokens = tf.numpy_function(lambda x: x, [tokens_of(image_bytes)], tf.int32)
        return {"tokens": tf.ensure_shape(tokens, [None, 4])}

    folder = save(tmp_path, encode=(encode, BYTES))
    assert serving_probe.probe(folder, FACTS)
    signatures, failure = serving_check.check(folder, FACTS)
    assert signatures == []
    assert failure.startswith("signature encode fails")


def test_a_check_that_hangs_is_ended(tmp_path):
    signatures, failure = serving_check.check(str(tmp_path), FACTS, timeout=0.1)
    assert (signatures, failure) == ([], "the check did not finish in 0.1 s")


def test_the_clean_process_has_no_keras(tmp_path):
    code = (
        f"import json, runpy, sys; sys.argv[1:] = [{str(tmp_path)!r}, {json.dumps(FACTS)!r}]; "
        f"runpy.run_path({serving_probe.__file__!r}, run_name='__main__'); import keras"
    )
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, timeout=120)
    assert json.loads(done.stdout)["failure"].startswith("it can't be loaded")
    assert "import of keras halted" in done.stderr
