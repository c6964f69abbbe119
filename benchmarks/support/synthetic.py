"""Makes images and a tokenizer, and runs processes while measuring their time and memory."""

import dataclasses
import json
import os
import subprocess
import sys
import time

from vim_tf import config as configs
from vim_tf.config.fields import check, check_positive, setting

CORRUPT_EVERY = 100
_SAMPLE_SECONDS = 0.1


@dataclasses.dataclass(frozen=True)
class SyntheticConfig:
    """Images to make, and the size of the untrained tokenizer that encodes them."""

    images: int = setting(400, "JPEG files to make, one in a hundred of them corrupt")
    min_side: int = setting(64, "smallest height and width of a file in pixels")
    max_side: int = setting(512, "largest height and width of a file in pixels")
    image_size: int = setting(64, "height and width of the tokenizer's images in pixels")
    patch_size: int = setting(8, "height and width of a patch in pixels")
    num_layers: int = setting(4, "blocks of the tokenizer's encoder")
    hidden_dim: int = setting(128, "width of the tokenizer's encoder")
    batch_size: int = setting(64, "images per step")
    num_shards: int = setting(8, "files per split")

    def __post_init__(self):
        check_positive(self, *(field.name for field in dataclasses.fields(SyntheticConfig)))
        check(self.min_side <= self.max_side, "min_side must not be above max_side")


def is_corrupt(number):
    """Whether the image with this number can't be decoded; the first such number is 37."""
    return number % CORRUPT_EVERY == 37


def num_corrupt(count):
    """Corrupt images among the first `count`."""
    return sum(map(is_corrupt, range(count)))


def write_jpegs(folder, config, count):
    """Writes images of ten classes, <folder>/<class>/<number>.jpg, each a function of its number.

    A corrupt one is empty, text, or a truncated JPEG.

    Args:
        folder: str.
        config: SyntheticConfig.
        count: int.
    """
    import io

    import numpy as np
    from PIL import Image

    for number in range(count):
        random = np.random.default_rng(number)
        width, height = (int(side) for side in random.integers(config.min_side, config.max_side + 1, 2))
        coarse = Image.fromarray(random.integers(0, 256, (8, 8, 3), dtype=np.uint8))
        buffer = io.BytesIO()
        coarse.resize((width, height), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
        content = buffer.getvalue()
        if is_corrupt(number):
            content = (b"", b"this is no image", content[: len(content) // 2])[number // CORRUPT_EVERY % 3]
        os.makedirs(f"{folder}/{number % 10}", exist_ok=True)
        with open(f"{folder}/{number % 10}/{number:06d}.jpg", "wb") as file:
            file.write(content)


def write_tokenizer(folder, config):
    """Writes an untrained tokenizer as a trained stage."""
    from vim_tf.models.tokenizer import build_tokenizer
    from vim_tf.stages import saved

    encoder = configs.TransformerConfig(
        num_layers=config.num_layers,
        num_heads=max(1, config.hidden_dim // 64),
        hidden_dim=config.hidden_dim,
        mlp_dim=4 * config.hidden_dim,
    )
    model = configs.TokenizerModelConfig(
        height=config.image_size,
        width=config.image_size,
        patch_size=config.patch_size,
        encoder=encoder,
        decoder=dataclasses.replace(encoder, num_layers=1),
    )
    stage = configs.TokenizerTrainConfig(workdir=folder, model=model)
    saved.save_stage(build_tokenizer(model), stage, folder)


def bare_rate(tokenizer, paths, batch_size):
    """Images per second from file to tokens without a job: tf.data decodes and fits, the tokenizer encodes.

    Args:
        tokenizer: ViTVQGAN.
        paths: list of str, all readable.
        batch_size: int.

    Returns:
        float; reading and tracing of the first batch are not counted.
    """
    import tensorflow as tf

    from vim_tf.data.images.fit import decode_and_fit
    from vim_tf.data.records.encode import encoded_examples

    def load(path):
        image = decode_and_fit(tf.io.read_file(path), tokenizer.height, tokenizer.width)
        return {"image": image, "label": tf.constant(0, tf.int64), "key": path}

    def encode(some):
        files = tf.data.Dataset.from_tensor_slices(some)
        batches = files.map(load, num_parallel_calls=tf.data.AUTOTUNE).batch(batch_size).prefetch(tf.data.AUTOTUNE)
        return sum(1 for _ in encoded_examples(tokenizer, batches))

    encode(paths[:batch_size])
    begin = time.perf_counter()
    return encode(paths) / (time.perf_counter() - begin)


def rate_between(images, short, long):
    """Images per second of what a longer job did beyond a shorter one: float; NaN if it took no longer.

    Args:
        images: int, difference between the jobs.
        short, long: float, seconds of the jobs.
    """
    return images / (long - short) if long > short else float("nan")


def good_paths(folder, count):
    """Paths of the readable images that `write_jpegs` wrote."""
    return [f"{folder}/{number % 10}/{number:06d}.jpg" for number in range(count) if not is_corrupt(number)]


def run_measured(module, arguments, threads=0):
    """Runs a module in a separate process, and measures it with all its children.

    Args:
        module: str, whose last line of output is JSON.
        arguments: list of str.
        threads: int, cores that TensorFlow may use in each process; 0 = all.

    Returns:
        (value of the last line, wall seconds, peak total memory of all its processes in bytes).

    Raises:
        RuntimeError: it failed.
    """
    begin, peak = time.perf_counter(), 0
    process = _start(module, arguments, threads)
    # What it prints fits into the pipe's buffer.
    while process.poll() is None:
        peak = max(peak, tree_bytes(process.pid))
        time.sleep(_SAMPLE_SECONDS)
    seconds = time.perf_counter() - begin
    return json.loads(_last_line(process, module, arguments)), seconds, peak


def run_quiet(module, arguments, threads=0):
    """Runs a module in a separate process; arguments and errors as in `run_measured`."""
    process = _start(module, arguments, threads)
    process.wait()
    _last_line(process, module, arguments)


def _start(module, arguments, threads):
    limits = {"TF_NUM_INTRAOP_THREADS": str(threads), "TF_NUM_INTEROP_THREADS": str(threads)} if threads else {}
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | limits)


def _last_line(process, module, arguments):
    lines = process.stdout.read().splitlines()
    process.stdout.close()
    if process.returncode or not lines:
        raise RuntimeError(f"python -m {module} {' '.join(arguments)} exited with status {process.returncode}")
    return lines[-1]


def tree_bytes(pid):
    """Unshared memory of a process and its descendants: int, bytes. Linux only."""
    children, sizes = {}, {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat") as file:
                parent = int(file.read().rpartition(")")[2].split()[1])
            with open(f"/proc/{name}/statm") as file:
                _, resident, shared, *_ = map(int, file.read().split())
        except (FileNotFoundError, ProcessLookupError):  # it has just ended
            continue
        children.setdefault(parent, []).append(int(name))
        sizes[int(name)] = (resident - shared) * os.sysconf("SC_PAGE_SIZE")
    total, left = 0, [pid]
    while left:
        each = left.pop()
        total += sizes.get(each, 0)
        left += children.get(each, [])
    return total
