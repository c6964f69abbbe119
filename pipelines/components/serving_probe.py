"""Calls every signature of a SavedModel in a process that has nothing but TensorFlow.

It is run as a script, `python -I serving_probe.py <folder> <facts as JSON>`, and imports nothing from this project:
anything that a served model needs besides TensorFlow would be missing here too. The last line of its
output is a JSON object with `signatures`, the names called, or with `failure`, one line that says what is wrong.
"""

import json
import sys

# What a model server doesn't have; importing one of these fails in this process.
ABSENT = ("keras", "tf_keras", "vim_tf", "pipelines", "tfx", "apache_beam", "tensorflow_hub", "tensorflow_datasets")
NUM_ROWS = 2
# The default signature, which is a copy of another one.
DEFAULT = "serving_default"


class Failure(Exception):
    """The model can't be served; the message is one line."""


def probe(folder, facts):
    """Loads a SavedModel, calls every signature and checks the outputs.

    Args:
        folder: str.
        facts: dict with the ints `height`, `width`, `grid_height`, `grid_width`, `depth`, `codebook_size`,
            `num_classes` and `feature_dim`, which say what outputs must look like, and `settings`, the default of each
            setting of a sample by its name.

    Returns:
        list of str, the signatures' names, sorted.

    Raises:
        Failure: a signature fails, or returns a wrong output.
    """
    import tensorflow as tf

    try:
        signatures = tf.saved_model.load(folder).signatures
    except Exception as error:  # any failure to load is an answer
        raise Failure(f"it can't be loaded: {_first_line(error)}") from error
    if not signatures:
        raise Failure("it has no signatures")
    inputs = {name: _inputs(tf, name, function, facts) for name, function in signatures.items()}
    outputs = {name: _call(function, name, inputs[name]) for name, function in signatures.items()}
    for name in sorted(outputs):
        for output, value in sorted(outputs[name].items()):
            _check_output(tf, f"signature {name}, output {output}", output, value, facts)
    _check_agreement(signatures, inputs, outputs, facts)
    _check_refusals(tf, signatures, inputs, facts)
    return sorted(signatures)


def _inputs(tf, name, function, facts):
    """NUM_ROWS rows for each input of a signature, by the names that `vim_tf.serving.signatures` gives them."""
    images = tf.random.stateless_uniform((NUM_ROWS, facts["height"], facts["width"], 3), (0, 0), 0, 256, tf.int32)
    files = tf.stack([tf.io.encode_png(tf.cast(image, tf.uint8)) for image in images])
    length = facts["grid_height"] * facts["grid_width"] * facts["depth"]
    rows = tf.range(NUM_ROWS)
    known = {
        "image_bytes": files,
        "examples": tf.stack([_example(tf, file.numpy()) for file in files]),
        "tokens": tf.random.stateless_uniform((NUM_ROWS, length), (0, 1), 0, facts["codebook_size"], tf.int32),
        "label": rows % max(facts["num_classes"], 1),
        "seed": rows,
        **{name: tf.fill([NUM_ROWS], default) for name, default in facts["settings"].items()},
        "keep_rows": rows % (facts["grid_height"] + 1),
    }
    arguments = {}
    for argument, spec in function.structured_input_signature[1].items():
        if argument not in known:
            raise Failure(f"signature {name} has an input {argument}, for which the check has no value")
        if spec.dtype != known[argument].dtype or not spec.shape.is_compatible_with(known[argument].shape):
            raise Failure(f"signature {name}: input {argument} is {spec.dtype.name} {spec.shape}, which is wrong")
        arguments[argument] = known[argument]
    return arguments


def _example(tf, file):
    feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=[file]))
    return tf.train.Example(features=tf.train.Features(feature={"image": feature})).SerializeToString()


def _call(function, name, arguments):
    try:
        return function(**arguments)
    except Exception as error:  # any error of a signature is an answer
        raise Failure(f"signature {name} fails: {_first_line(error)}") from error


def _check_output(tf, subject, name, value, facts):
    length = facts["grid_height"] * facts["grid_width"] * facts["depth"]
    expected = {
        "tokens": (tf.int32, (NUM_ROWS, length)),
        "images": (tf.uint8, (NUM_ROWS, facts["height"], facts["width"], 3)),
        "features": (tf.float32, (NUM_ROWS, facts["feature_dim"])),
    }
    if name in expected:
        dtype, shape = expected[name]
        if value.dtype != dtype or tuple(value.shape) != shape:
            raise Failure(f"{subject} is {value.dtype.name} {tuple(value.shape)}, not {dtype.name} {shape}")
    elif not value.shape.rank or value.shape[0] != NUM_ROWS:
        raise Failure(f"{subject} has shape {tuple(value.shape)}, not the batch of {NUM_ROWS} first")
    if value.dtype.is_floating and not tf.reduce_all(tf.math.is_finite(value)):
        raise Failure(f"{subject} is not finite")
    if name == "tokens" and not tf.reduce_all((value >= 0) & (value < facts["codebook_size"])):
        raise Failure(f"{subject} is outside [0, {facts['codebook_size']})")


def _check_agreement(signatures, inputs, outputs, facts):
    """Checks the signatures' outputs against each other."""
    if {"encode", "decode", "reconstruct"} <= set(signatures):
        decoded = _call(signatures["decode"], "decode", {"tokens": outputs["encode"]["tokens"]})["images"].numpy()
        # One grey level, since two graphs may round differently.
        if abs(decoded.astype(int) - outputs["reconstruct"]["images"].numpy().astype(int)).max() > 1:
            raise Failure("signature reconstruct gives other images than encode and decode do")
    for name, value in outputs.get(DEFAULT, {}).items():
        # The same inputs twice: equal seeds must give equal samples.
        named = next((each for each in ("generate", "encode") if each in signatures), DEFAULT)
        if named != DEFAULT and inputs[named].keys() == inputs[DEFAULT].keys():
            if (value.numpy() != outputs[named][name].numpy()).any():
                raise Failure(f"signature {DEFAULT} and {named} give different {name} for the same inputs")
    if {"complete", "encode"} <= set(signatures):
        for row, kept in enumerate(inputs["complete"]["keep_rows"].numpy()):
            count = kept * facts["grid_width"] * facts["depth"]
            completed, known = (outputs[name]["tokens"].numpy()[row, :count] for name in ("complete", "encode"))
            if (completed != known).any():
                raise Failure("signature complete changes the rows of the image that it must keep")


def _check_refusals(tf, signatures, inputs, facts):
    """A wrong request must be refused, and never get an image."""
    wrong = {
        "generate": {"label": tf.fill([NUM_ROWS], max(facts["num_classes"], 1))},
        "decode": {"tokens": tf.fill(inputs["decode"]["tokens"].shape, facts["codebook_size"])}
        if "decode" in signatures
        else {},
        "encode": {"image_bytes": tf.constant(["no image"] * NUM_ROWS)},
    }
    for name, arguments in wrong.items():
        if name not in signatures:
            continue
        try:
            signatures[name](**{**inputs[name], **arguments})
        except tf.errors.InvalidArgumentError:
            continue
        raise Failure(f"signature {name} accepts a wrong {', '.join(arguments)} instead of refusing it")


def _first_line(error):
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def main():
    for name in ABSENT:
        sys.modules[name] = None
    try:
        answer = {"signatures": probe(sys.argv[1], json.loads(sys.argv[2]))}
    except Failure as failure:
        answer = {"failure": str(failure)}
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
