"""Reconstructs images: `python -m vim_tf.reconstruct --tokenizer=D --images=a.png --output=O`."""

from vim_tf import config as configs
from vim_tf.cli import flags


def run(config):
    """Writes `<output>/<name>.png` for each image: what the tokenizer sees, its reconstruction and the error.

    Args:
        config: ReconstructCommand.

    Raises:
        InputError: a file is missing or can't be decoded, or two have the same name; nothing is written then.
    """
    import numpy as np
    import tensorflow as tf

    from vim_tf.data.images.pixels import encode_png, to_float, to_uint8
    from vim_tf.data.images.single import find_images, read_image, result_names
    from vim_tf.evaluation import pictures
    from vim_tf.stages import saved
    from vim_tf.storage.files import check_writable, write_whole

    tokenizer = saved.load_tokenizer(config.tokenizer)
    paths = find_images(config.images)
    names = result_names(paths)
    images = np.stack([read_image(path, tokenizer.height, tokenizer.width, config.max_pixels) for path in paths])
    check_writable(config.output)
    tokens = tokenizer.encode(to_float(tf.constant(images)))
    reconstructions = to_uint8(tokenizer.decode(tokens)).numpy()
    factor = pictures.enlargement(tokenizer.height, tokenizer.width, wanted=128)
    for name, image, reconstruction in zip(names, images, reconstructions, strict=True):
        rows = pictures.side_by_side(image[None], reconstruction[None])
        target = f"{config.output}/{name}.png"
        write_whole(target, encode_png(pictures.grid(rows, num_columns=3, factor=factor)))
        psnr = float(tf.image.psnr(image, reconstruction, max_val=255))
        print(f"{target}: input, reconstruction, error; {psnr:.1f} dB")


def main():
    """Runs the command."""
    flags.main(run, lambda argv: configs.ReconstructCommand, "Shows images next to their reconstructions.")


if __name__ == "__main__":
    main()
