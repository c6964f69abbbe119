"""Completes images: `python -m vim_tf.complete --tokenizer=D --language_model=D2 --images=a.png --output=O`."""

import re

from vim_tf import config as configs
from vim_tf.cli import flags
from vim_tf.errors import InputError


def run(config):
    """Writes `<output>/<name>_variant<i>.png`, and `grid.png` with a row per image: image, kept part, completions.

    Args:
        config: CompleteCommand.

    Returns:
        uint8 [images, variants, height, width, 3].

    Raises:
        InputError: unusable stages, images, labels, rows or canvas; nothing is written then.
    """
    import numpy as np

    from vim_tf.data.images.single import find_images, read_image, result_names
    from vim_tf.sampling.canvas import decode_canvas, fill_canvas
    from vim_tf.sampling.requests import label_name
    from vim_tf.sampling.samplers import build_sampler
    from vim_tf.stages import saved
    from vim_tf.storage.files import check_writable

    tokenizer = saved.load_tokenizer(config.tokenizer)
    language_model = saved.load_language_model(config.language_model, tokenizer)
    keep_rows = _keep_rows(config, tokenizer)
    canvas = _canvas(config, tokenizer)
    paths = find_images(config.images)
    names = result_names(paths)
    labels = _labels(config, language_model, len(paths))
    num_samples = len(paths) * config.num_variants
    sampler = build_sampler(language_model, config.sampling, tokenizer)
    _check_request(config, sampler, labels, canvas, _stride(tokenizer), tokenizer)
    images = np.stack([read_image(path, tokenizer.height, tokenizer.width, config.max_pixels) for path in paths])
    check_writable(config.output, names=("grid.png",))
    tokens, known = _start(tokenizer, images, keep_rows, canvas, config.num_variants)
    grid, stride = (tokenizer.grid_height, tokenizer.grid_width), _stride(tokenizer)
    draw = _draw_window(config, sampler, np.repeat(labels, config.num_variants), num_samples)
    tokens = fill_canvas(tokens, known, *grid, stride, draw)
    size = config.sampling.batch_size
    completed = np.concatenate(
        [
            decode_canvas(tokens[start : start + size], *grid, stride, tokenizer.decode)
            for start in range(0, num_samples, size)
        ]
    )
    completed = np.round(np.clip(completed, 0, 1) * 255).astype(np.uint8)
    completed = completed.reshape(len(images), config.num_variants, *completed.shape[1:])
    kept_height = keep_rows * tokenizer.height // tokenizer.grid_height
    row_names = [
        f"{name}: {label_name(label, language_model.class_names)}" if language_model.num_classes else name
        for name, label in zip(names, labels, strict=True)
    ]
    _write(config, names, row_names, images, kept_height, completed)
    return completed


def _keep_rows(config, tokenizer):
    if config.keep_rows > tokenizer.grid_height:
        raise InputError(f"--keep_rows={config.keep_rows}: this tokenizer has {tokenizer.grid_height} rows of tokens")
    return config.keep_rows if config.keep_rows >= 0 else tokenizer.grid_height // 2


def _labels(config, language_model, num_images):
    """int32 [images]."""
    import numpy as np

    from vim_tf.sampling.requests import checked_labels

    if language_model.num_classes and not config.labels:
        raise InputError(
            f"--labels is needed: this language model completes images of a label from 0 to "
            f"{language_model.num_classes - 1}"
        )
    if len(config.labels) not in (0, 1, num_images):
        raise InputError(
            f"{len(config.labels)} --labels don't match {num_images} images: give one for each, or one for all"
        )
    return np.broadcast_to(checked_labels(language_model, config.labels or (0,)), [num_images])


def _canvas(config, tokenizer):
    """Rows and columns of tokens."""
    shape = []
    for name in ("height", "width"):
        model_size, num_patches = getattr(tokenizer, name), getattr(tokenizer, f"grid_{name}")
        size = getattr(config, name) or model_size
        patch = model_size // num_patches
        if size % patch or size < model_size:
            raise InputError(
                f"--{name}={size} must be a multiple of {patch}, a patch, and at least {model_size}, the model's {name}"
            )
        shape.append(size // patch)
    return tuple(shape)


def _stride(tokenizer):
    """Rows and columns between windows, which overlap by half."""
    return max(tokenizer.grid_height // 2, 1), max(tokenizer.grid_width // 2, 1)


def _start(tokenizer, images, keep_rows, canvas, num_variants):
    """Canvases with the images' tokens at their top left, and which of them are kept."""
    import numpy as np

    from vim_tf.data.images.pixels import to_float

    grid_height, grid_width = tokenizer.grid_height, tokenizer.grid_width
    encoded = np.asarray(tokenizer.encode(to_float(images)))
    tokens = np.zeros([len(images), *canvas, tokenizer.depth], np.int32)
    tokens[:, :grid_height, :grid_width] = encoded.reshape(len(images), grid_height, grid_width, tokenizer.depth)
    known = np.zeros([len(images), *canvas], bool)
    known[:, :keep_rows, :grid_width] = True
    return np.repeat(tokens, num_variants, axis=0), np.repeat(known, num_variants, axis=0)


def _check_request(config, sampler, labels, canvas, stride, tokenizer):
    """Refuses what the sampler would refuse, including the seeds of the last window."""
    import numpy as np

    from vim_tf.sampling.canvas import window_starts
    from vim_tf.sampling.samplers import sampler_settings

    grid = (tokenizer.grid_height, tokenizer.grid_width)
    num_windows = np.prod([len(window_starts(*sizes)) for sizes in zip(canvas, grid, stride, strict=True)])
    labels = np.repeat(labels, config.num_variants)
    for number in (0, num_windows - 1):
        seeds = config.seed + number * len(labels) + np.arange(len(labels))
        sampler.check(labels, seeds, **sampler_settings(config.sampling))


def _draw_window(config, sampler, labels, num_samples):
    """Function as `fill_canvas` takes it; each window has its own seeds, the first those of `vim_tf.sample`."""
    import numpy as np

    from vim_tf.sampling.samplers import sampler_settings

    settings = sampler_settings(config.sampling)

    def draw(number, tokens, known):
        seeds = config.seed + number * num_samples + np.arange(num_samples)
        return sampler.sample(labels, seeds, known_tokens=tokens, known=known, **settings)

    return draw


def _write(config, names, row_names, images, kept_height, completed):
    import numpy as np

    from vim_tf.data.images.pixels import encode_png
    from vim_tf.evaluation import pictures
    from vim_tf.storage.files import write_whole

    _remove_stale(config, names)
    height, width = completed.shape[2:4]
    rows = []
    for name, image, variants in zip(names, images, completed, strict=True):
        for index, variant in enumerate(variants):
            write_whole(f"{config.output}/{name}_variant{index}.png", encode_png(variant))
        whole = np.full([height, width, 3], pictures.GAP_COLOR, np.uint8)
        whole[: image.shape[0], : image.shape[1]] = image
        kept = np.full_like(whole, pictures.GAP_COLOR)
        kept[:kept_height, : image.shape[1]] = image[:kept_height]
        rows += [whole, kept, *variants]
    factor = pictures.enlargement(height, width)
    grid = pictures.grid(np.stack(rows), num_columns=config.num_variants + 2, factor=factor)
    grid = pictures.with_row_labels(grid, row_names)
    write_whole(f"{config.output}/grid.png", encode_png(grid))
    print(f"{config.output}/grid.png: image, kept part, {config.num_variants} completions of {', '.join(row_names)}")


def _remove_stale(config, names):
    """Removes completions of these images that an earlier call with more variants wrote."""
    from vim_tf.storage.files import remove_files

    remove_files(
        config.output,
        "|".join(f"{re.escape(name)}_variant[0-9]+[.]png" for name in names),
        keep={f"{name}_variant{index}.png" for name in names for index in range(config.num_variants)},
    )


def main():
    """Runs the command."""
    flags.main(run, lambda argv: configs.CompleteCommand, "Draws the rest of images, or larger canvases around them.")


if __name__ == "__main__":
    main()
