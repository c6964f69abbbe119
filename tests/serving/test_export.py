"""The exported model: it loads with only TensorFlow, every signature works, and bad requests are refused."""

import functools
import http.server
import json
import math
import os
import subprocess
import sys
import tarfile
import threading

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_hub as hub

from tests.testing import language_model_config, replace, tokenizer_config
from vim_tf import config as configs
from vim_tf import export
from vim_tf.data.images.pixels import encode_png, to_float, to_uint8
from vim_tf.errors import InputError
from vim_tf.models.language_model import build_language_model
from vim_tf.models.tokenizer import build_tokenizer
from vim_tf.sampling.generate import Sampler
from vim_tf.serving.hub import write_archive
from vim_tf.serving.signatures import build_signatures
from vim_tf.stages import saved

pytestmark = pytest.mark.slow
IMAGES = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), np.uint8)
IMAGE_BYTES = [encode_png(image) for image in IMAGES]


def randomize(model, seed):
    random = np.random.default_rng(seed)
    for weight in model.weights:
        weight.assign(random.normal(scale=0.5, size=weight.shape))


@pytest.fixture(scope="module")
def stages(tmp_path_factory):
    """Folders of a tokenizer and a language model with random weights."""
    root = tmp_path_factory.mktemp("stages")
    config = tokenizer_config(root / "tokenizer")
    keras.utils.set_random_seed(0)
    tokenizer = build_tokenizer(config.model)
    randomize(tokenizer, 1)
    saved.save_stage(tokenizer, config, config.workdir)
    facts = configs.TokenFacts(saved.checksum(tokenizer), 2, 2, 1, 32, 10)
    config = replace(language_model_config(root / "language_model", "unused"), model={"tokens": facts})
    language_model = build_language_model(config.model)
    randomize(language_model, 2)
    saved.save_stage(language_model, config, config.workdir)
    return str(root / "tokenizer"), str(root / "language_model")


@pytest.fixture(scope="module")
def exported(stages, tmp_path_factory):
    """(export folder, SavedModel folder)."""
    folder = str(tmp_path_factory.mktemp("exported"))
    config = configs.ExportCommand(tokenizer=stages[0], language_model=stages[1], output=folder, sampling_batch_size=4)
    return folder, export.run(config)


@pytest.fixture(scope="module")
def served(exported):
    return tf.saved_model.load(exported[1])


def sampling_inputs(labels, seeds, **settings):
    values = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "guidance_scale": 1.0} | settings
    count = len(labels)
    return {
        "label": tf.constant(labels, tf.int32),
        "seed": tf.constant(seeds, tf.int32),
        "top_k": tf.fill([count], values.pop("top_k")),
        **{name: tf.fill([count], float(value)) for name, value in values.items()},
    }


IN_A_CLEAN_PROCESS = """
import json, sys
sys.modules["keras"] = sys.modules["vim_tf"] = None
import tensorflow as tf
model = tf.saved_model.load(sys.argv[1])
images = [open(path, "rb").read() for path in sys.argv[2:]]
n = len(images)
sampling = dict(label=tf.range(n), seed=tf.range(n), temperature=tf.ones(n), top_k=tf.zeros(n, tf.int32),
                top_p=tf.ones(n), guidance_scale=tf.ones(n))
calls = model.signatures
tokens = calls["encode"](image_bytes=tf.constant(images))["tokens"]
out = {
    "signatures": sorted(calls),
    "encode": tokens.numpy().tolist(),
    "decode": calls["decode"](tokens=tokens)["images"].numpy().tolist(),
    "reconstruct": calls["reconstruct"](image_bytes=tf.constant(images))["images"].numpy().tolist(),
    "generate": calls["generate"](**sampling)["tokens"].numpy().tolist(),
    "serving_default": calls["serving_default"](**sampling)["tokens"].numpy().tolist(),
    "complete": calls["complete"](image_bytes=tf.constant(images), keep_rows=tf.ones(n, tf.int32), **sampling)
        ["tokens"].numpy().tolist(),
    "features": calls["features"](image_bytes=tf.constant(images))["features"].numpy().tolist(),
}
print(json.dumps(out))
"""


def test_every_signature_works_in_a_process_with_only_tensorflow(exported, stages, tmp_path):
    paths = []
    for index, data in enumerate(IMAGE_BYTES):
        path = tmp_path / f"{index}.png"
        path.write_bytes(data)
        paths.append(str(path))
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", IN_A_CLEAN_PROCESS, exported[1], *paths],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    out = json.loads(done.stdout)

    tokenizer = saved.load_tokenizer(stages[0])
    language_model = saved.load_language_model(stages[1], tokenizer)
    tokens = tokenizer.encode(to_float(IMAGES)).numpy()
    images = to_uint8(tokenizer.decode(tokens)).numpy()
    assert out["signatures"] == [
        "complete",
        "decode",
        "encode",
        "features",
        "generate",
        "reconstruct",
        "serving_default",
    ]
    np.testing.assert_array_equal(out["encode"], tokens)
    np.testing.assert_allclose(out["decode"], images, atol=1)
    np.testing.assert_allclose(out["reconstruct"], images, atol=1)
    expected = Sampler(language_model, batch_size=4).sample([0, 1, 2], [0, 1, 2])
    np.testing.assert_array_equal(out["generate"], expected)
    np.testing.assert_array_equal(out["serving_default"], expected)
    np.testing.assert_array_equal(np.array(out["complete"])[:, :2], tokens[:, :2])
    np.testing.assert_allclose(out["features"], language_model.features(tokens), rtol=1e-4, atol=1e-5)


def test_complete_keeps_the_rows_asked_for_of_each_image(served):
    tokens = served.encode(tf.constant(IMAGE_BYTES))["tokens"].numpy()
    inputs = sampling_inputs([0, 1, 2], [5, 6, 7])
    keep = tf.constant([0, 1, 2])
    completed = served.signatures["complete"](**inputs, image_bytes=tf.constant(IMAGE_BYTES), keep_rows=keep)
    completed = completed["tokens"].numpy()
    generated = served.signatures["generate"](**inputs)["tokens"].numpy()
    np.testing.assert_array_equal(completed[0], generated[0])
    np.testing.assert_array_equal(completed[1, :2], tokens[1, :2])
    np.testing.assert_array_equal(completed[2], tokens[2])


def test_a_sample_does_not_depend_on_the_rest_of_the_request(served):
    generate = served.signatures["generate"]
    single = generate(**sampling_inputs([3], [11]))["tokens"].numpy()[0]
    among = generate(**sampling_inputs([0, 1, 2, 9, 8, 3], [1, 2, 3, 4, 5, 11]))["tokens"].numpy()[5]
    np.testing.assert_array_equal(single, among)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label": [10]}, "label is out of range.*10"),
        ({"label": [-1]}, "label is out of range.*-1"),
        ({"temperature": [0.0]}, "temperature is out of range"),
        ({"top_p": [1.5]}, "top_p is out of range.*1.5"),
        ({"top_k": [-2]}, "top_k is out of range.*-2"),
        ({"guidance_scale": [math.nan]}, "guidance_scale is out of range.*nan"),
        ({"guidance_scale": [math.inf]}, "guidance_scale is out of range.*inf"),
        ({"guidance_scale": [-1.0]}, "guidance_scale is out of range.*-1"),
        ({"guidance_scale": [1e38]}, r"guidance_scale is out of range: it must be in \[0, 1e\+06\].*1e\+38"),
        ({"temperature": [math.inf]}, r"temperature is out of range: it must be in \[1e-06, 1e\+06\].*inf"),
        ({"temperature": [math.nan]}, "temperature is out of range.*nan"),
        ({"top_p": [0.0]}, "top_p is out of range"),
        # Not 0, but processors that flush denormal numbers would treat it as 0.
        ({"top_p": [1e-40]}, "top_p is out of range"),
    ],
)
def test_sampling_setting_out_of_range_is_an_error_that_names_it(served, change, message):
    inputs = sampling_inputs([1], [1])
    inputs |= {name: tf.constant(value, inputs[name].dtype) for name, value in change.items()}
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        served.signatures["generate"](**inputs)


def test_rows_of_complete_out_of_range_are_an_error_that_names_them(served):
    inputs = sampling_inputs([1], [1]) | {"image_bytes": tf.constant(IMAGE_BYTES[:1])}
    for rows in (-1, 3):
        with pytest.raises(tf.errors.InvalidArgumentError, match=rf"keep_rows is out of range.*\[0, 2\].*{rows}"):
            served.signatures["complete"](**inputs, keep_rows=tf.constant([rows]))


@pytest.mark.parametrize("settings", [{"temperature": 1e-6}, {"top_p": 1e-6}, {"temperature": 1e-6, "top_k": 2}])
def test_the_lowest_settings_leave_the_likeliest_token(served, settings):
    generate = served.signatures["generate"]
    lowest = generate(**sampling_inputs([1, 2], [3, 4], **settings))["tokens"]
    np.testing.assert_array_equal(lowest, generate(**sampling_inputs([1, 2], [3, 4], top_k=1))["tokens"])


def test_the_highest_settings_keep_the_arithmetic_finite(served):
    """The likeliest token according to the label's effect, even at the lowest temperature."""
    generate = served.signatures["generate"]
    highest = generate(**sampling_inputs([1, 2], [3, 4], guidance_scale=1e6, top_k=1))["tokens"]
    cold = generate(**sampling_inputs([1, 2], [3, 4], guidance_scale=1e6, temperature=1e-6))["tokens"]
    np.testing.assert_array_equal(cold, highest)
    assert len(np.unique(highest)) > 1


@pytest.mark.parametrize("name", ["label", "seed", "temperature", "top_k", "top_p", "guidance_scale"])
@pytest.mark.parametrize("rows", [1, 3])
def test_inputs_of_unequal_lengths_are_an_error_that_names_one_and_both_numbers(served, name, rows):
    """They used to give one image less, or an error from an inner operation."""
    inputs = sampling_inputs([1, 2], [1, 2])
    inputs[name] = sampling_inputs([1] * rows, [1] * rows)[name]
    numbers = f"label has.*{rows}|label has.*2" if name == "label" else f"{name} has.*{rows}.*label has.*2"
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"all inputs must have one batch size: .*({numbers})"):
        served.signatures["generate"](**inputs)


@pytest.mark.parametrize("name", ["image_bytes", "keep_rows"])
def test_images_and_rows_of_a_number_other_than_that_of_labels_are_refused_by_complete(served, name):
    inputs = sampling_inputs([1, 2], [1, 2])
    inputs |= {"image_bytes": tf.constant(IMAGE_BYTES[:2]), "keep_rows": tf.constant([1, 1])}
    inputs[name] = inputs[name][:1]
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"one batch size: {name} has.*1.*label has.*2"):
        served.signatures["complete"](**inputs)


def test_token_out_of_range_is_an_error_that_names_it(served):
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"tokens is out of range.*\[0, 31\].*32"):
        served.signatures["decode"](tokens=tf.constant([[0, 1, 2, 32]]))


@pytest.mark.parametrize("name", ["encode", "reconstruct", "complete", "features"])
def test_a_file_that_is_not_an_image_or_too_large_fails_the_request_with_its_row(name, served):
    bomb = IMAGE_BYTES[0][:16] + (20_000).to_bytes(4, "big") * 2 + IMAGE_BYTES[0][24:]
    others = {}
    if name == "complete":
        others = sampling_inputs([0, 1], [0, 1]) | {"keep_rows": tf.constant([1, 1])}
    for data, reason in ((b"no image", "not a JPEG, PNG"), (bomb, "more than max_pixels = 89478485")):
        with pytest.raises(tf.errors.InvalidArgumentError, match=f"row 1 of image_bytes: .*{reason}"):
            served.signatures[name](image_bytes=tf.constant([IMAGE_BYTES[0], data]), **others)


def test_the_limit_of_pixels_is_part_of_the_export(stages, tmp_path):
    config = configs.ExportCommand(tokenizer=stages[0], output=str(tmp_path), max_pixels=63)
    served = tf.saved_model.load(export.run(config))
    with pytest.raises(tf.errors.InvalidArgumentError, match="row 0 of image_bytes: 8 x 8 pixels are more than .* 63"):
        served.signatures["encode"](image_bytes=tf.constant(IMAGE_BYTES))


def as_a_server_feeds_it(function, shape, values):
    """Calls a function with values of a shape other than its signature's, which servers in C++ don't check."""
    values = tf.constant(values)
    unknown = tf.TensorSpec([None] * values.shape.rank, values.dtype)
    feed = tf.function(
        lambda values: function(tf.raw_ops.PlaceholderWithDefault(input=values, shape=shape)), input_signature=[unknown]
    )
    return feed(values)


@pytest.mark.parametrize("width", [3, 8])
def test_tokens_of_another_width_are_an_error_that_names_both(served, width):
    """At twice the width, they would make two images of one."""

    def decode(tokens):
        return served.signatures["decode"](tokens=tokens)["images"]

    assert as_a_server_feeds_it(decode, [None, 4], [[1] * 4]).shape == (1, 8, 8, 3)
    with pytest.raises(tf.errors.InvalidArgumentError, match=rf"tokens must be \[batch, 4\] and not.*{width}"):
        as_a_server_feeds_it(decode, [None, 4], [[1] * width])
    with pytest.raises(tf.errors.InvalidArgumentError, match=rf"tokens must be \[batch, 4\] and not.*{width}"):
        served.signatures["decode"](tokens=tf.constant([[1] * width]))


def test_images_of_another_size_are_refused_by_the_hub_module(served, stages, tmp_path):
    tokenizer = tf.saved_model.load(export.run(configs.ExportCommand(tokenizer=stages[0], output=str(tmp_path))))
    for module in (served, tokenizer):
        with pytest.raises(tf.errors.InvalidArgumentError, match=r"images must be \[batch, 8, 8, 3\] and not.*16 8 3"):
            as_a_server_feeds_it(module, [None, 8, 8, 3], np.zeros([1, 16, 8, 3], np.float32))


def test_an_unguided_model_takes_only_a_guidance_of_one(tmp_path):
    """And label 0, if it has no labels."""
    tokenizer = build_tokenizer(tokenizer_config(tmp_path / "tokenizer").model)
    facts = configs.TokenFacts("unknown", 2, 2, 1, 32, 0)
    config = replace(language_model_config(tmp_path / "language_model", "unused"), model={"tokens": facts})
    _, functions = build_signatures(tokenizer, build_language_model(config.model), 2, max_pixels=1000)
    assert functions["generate"](**sampling_inputs([0], [1]))["images"].shape == (1, 8, 8, 3)
    with pytest.raises(tf.errors.InvalidArgumentError, match="guidance_scale is out of range.*label_dropout.*2"):
        functions["generate"](**sampling_inputs([0], [1], guidance_scale=2.0))
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"label is out of range.*\[0, 0\].*1"):
        functions["generate"](**sampling_inputs([1], [1]))


def test_commands_take_the_exported_model_instead_of_workdirs(exported, stages):
    from_export = saved.load_tokenizer(exported[1])
    assert from_export.checksum == saved.load_tokenizer(stages[0]).checksum
    assert saved.load_language_model(exported[1], from_export).num_classes == 10


def test_next_export_gets_the_next_version_and_keeps_the_first(exported, stages):
    folder, first = exported
    config = configs.ExportCommand(tokenizer=stages[0], language_model=stages[1], output=folder, sampling_batch_size=4)
    second = export.run(config)
    assert (os.path.basename(first), os.path.basename(second)) == ("1", "2")
    assert os.path.exists(f"{first}/saved_model.pb")
    assert not [name for name in os.listdir(folder) if "tmp" in name]


def test_stages_that_do_not_belong_together_are_not_exported(stages, tmp_path):
    config = tokenizer_config(tmp_path / "other")
    other = build_tokenizer(config.model)
    saved.save_stage(other, config, config.workdir)
    with pytest.raises(InputError, match="belongs to the tokenizer with checksum"):
        export.run(
            configs.ExportCommand(tokenizer=config.workdir, language_model=stages[1], output=str(tmp_path / "out"))
        )
    assert not os.path.exists(tmp_path / "out")


def test_an_output_that_cannot_be_written_is_named(stages, tmp_path):
    (tmp_path / "file").write_bytes(b"mine")
    with pytest.raises(InputError, match="--output=.*file/out can't be written"):
        export.run(configs.ExportCommand(tokenizer=stages[0], output=str(tmp_path / "file" / "out")))


def test_a_tokenizer_without_a_language_model_is_exported_with_its_latents_as_features(stages, tmp_path):
    folder = export.run(configs.ExportCommand(tokenizer=stages[0], output=str(tmp_path)))
    model = tf.saved_model.load(folder)
    assert sorted(model.signatures) == ["decode", "encode", "reconstruct", "serving_default"]
    tokenizer = saved.load_tokenizer(stages[0])
    images = to_float(IMAGES)
    np.testing.assert_allclose(model(images), tokenizer.quantized_latents(images), atol=1e-6)


def test_hub_layer_of_the_folder_gives_the_features(exported, served):
    layer = hub.KerasLayer(exported[1])
    expected = served.signatures["features"](image_bytes=tf.constant(IMAGE_BYTES))["features"]
    np.testing.assert_allclose(layer(to_float(IMAGES)), expected, rtol=1e-4, atol=1e-5)


def test_archive_loads_as_a_tf_hub_handle_over_http(exported, served, tmp_path, monkeypatch):
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path))

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            """Keeps the test's output clean."""

        def do_GET(self):
            # The client asks for <handle>?tf-hub-format=compressed.
            self.path = self.path.split("?")[0]
            super().do_GET()

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=exported[0]))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        module = hub.load(f"http://127.0.0.1:{server.server_port}/hub.tar.gz")
    finally:
        server.shutdown()
    np.testing.assert_allclose(module(to_float(IMAGES)), served(to_float(IMAGES)), atol=1e-6)


def test_equal_exports_have_equal_archives_without_names_of_the_machine(exported, tmp_path, monkeypatch):
    write_archive(exported[1], str(tmp_path / "now.tar.gz"))
    monkeypatch.setattr("time.time", lambda: 0.0)
    write_archive(exported[1], str(tmp_path / "then.tar.gz"))
    assert (tmp_path / "now.tar.gz").read_bytes() == (tmp_path / "then.tar.gz").read_bytes()
    with tarfile.open(f"{exported[0]}/hub.tar.gz") as archive:
        members = archive.getmembers()
    names = [member.name for member in members]
    assert {"saved_model.pb", "variables", "assets.extra/tokenizer/config.json"} <= set(names)
    assert {(member.mtime, member.uname) for member in members} == {(0, "")}


def test_an_export_says_that_it_is_served_without_xla(exported):
    with open(f"{exported[1]}/assets.extra/serving.json") as file:
        assert json.load(file) == {"jit_compile": "off", "sampling_batch_size": 4}
