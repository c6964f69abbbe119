"""A worker process of the fuzz test: `python -m tests.fuzz.worker library|signatures OUTPUT FIRST COUNT [MODEL]`.

It reads the files of the corpus with the seeds FIRST to FIRST + COUNT - 1 and writes a line of JSON for each as soon as
it is done, so that the missing line shows on which file the process died. The first line is written before
any file is read, the last one has the seed -1; both say how much memory was taken up to then.
"""

import hashlib
import json
import resource
import sys

HEIGHT, WIDTH = 16, 24
# The sound files have a thousandth of it, so that wrong sizes are often on either side.
MAX_PIXELS = 1_000_000


def main():
    kind, output, first, count, *model = sys.argv[1:]
    read = {"library": _library, "signatures": _signatures}[kind](*model)
    from tests.fuzz import corpus

    for control in corpus.controls().values():
        read(control.data)  # so that everything is loaded by now
    with open(output, "w", buffering=1) as file:
        file.write(json.dumps({"seed": None, "peak": _peak()}) + "\n")
        for seed in range(int(first), int(first) + int(count)):
            outcomes = []
            for value in (0x55, 0xAA):
                _soil_memory(value)
                outcomes.append(read(corpus.mutated(seed)[2]))
            file.write(json.dumps({"seed": seed, "outcomes": outcomes}) + "\n")
        file.write(json.dumps({"seed": -1, "peak": _peak()}) + "\n")


def outcome_of(pixels, is_converted=False):
    """Facts about a file that was read: a dict.

    Args:
        pixels: uint8 array.
        is_converted: bool, whether Pillow had to read it.
    """
    digest = hashlib.blake2b(repr(pixels.shape).encode() + pixels.tobytes(), digest_size=16).hexdigest()
    return {"pixels": digest, "converted": is_converted}


def _library():
    """Reader of a file through what image sources use."""
    import tensorflow as tf

    from vim_tf.data.images import examination

    decode = examination.compiled_decoder(HEIGHT, WIDTH, MAX_PIXELS)

    def read(data):
        decoded = examination.decode_once(lambda: data, lambda each: decode(tf.constant(each)).numpy(), MAX_PIXELS)
        if decoded.problem is not None:
            return {"problem": decoded.problem}
        return outcome_of(decoded.value, decoded.is_converted)

    return read


def _signatures(model):
    """Reader of a file through a request of three rows to an exported signature, in a process without the library."""
    sys.modules["keras"] = sys.modules["vim_tf"] = None
    import tensorflow as tf

    from tests.fuzz import corpus

    encode = tf.saved_model.load(model).signatures["encode"]
    sound = corpus.controls()["png"].data
    expected = encode(image_bytes=tf.constant([sound]))["tokens"].numpy()[0]

    def read(data):
        try:
            tokens = encode(image_bytes=tf.constant([sound, data, sound]))["tokens"].numpy()
        except tf.errors.InvalidArgumentError as error:
            before, mark, reason = error.message.partition("[row 1 of image_bytes: ")
            assert mark, f"the error doesn't name the row: {error.message}"
            return {"problem": reason.partition("]")[0]}
        assert (tokens[[0, 2]] == expected).all()
        return outcome_of(tokens[1].reshape(HEIGHT, WIDTH, 3).astype("uint8"))

    return read


def _soil_memory(value):
    """Fills freed memory with a byte, which shows if a decoder doesn't write all pixels."""
    for size in (500, 1440, 1920, 4000, 20_000):
        parts = [bytes([value]) * size for _ in range(8)]
        del parts


def _peak():
    """Largest memory of this process so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main()
