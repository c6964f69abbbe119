"""Augmentation of training images by functions of (image, seed), so that a run can be repeated and resumed exactly."""

import tensorflow as tf

from vim_tf.data.images.fit import largest_crop
from vim_tf.data.images.pixels import round_to_uint8

_ALGORITHM = "philox"


def make_augment(crop, height, width, min_scale, max_scale, flip):
    """The augmentation with a given name, as `ImageSource.shuffled` takes it.

    Args:
        crop: "center" or "random_square".
        height, width: int, size of the model's images in pixels.
        min_scale, max_scale: float, at least 1, as in `RandomSquare`.
        flip: bool, whether half of the images are mirrored.

    Returns:
        Flip or RandomSquare; None where images don't vary.
    """
    if crop == "random_square":
        return RandomSquare(height, width, min_scale, max_scale, flip)
    return Flip() if flip else None


def build_augment(section, height, width):
    """`make_augment` with the values of an `AugmentationConfig`."""
    return make_augment(section.crop, height, width, section.min_scale, section.max_scale, section.flip)


class Flip:
    """Mirrors left and right with probability 1/2.

    Args of a call:
        image: uint8 [height, width, 3].
        seed: int64 [2].

    Returns:
        uint8 [height, width, 3].

    Attributes:
        takes_original: whether it takes the decoded image, or the one fitted to the model's size.
    """

    takes_original = False

    def __call__(self, image, seed):
        return _flip_if(_draw(seed, 1)[0], image)


class RandomSquare:
    """DALL-E's preprocessing for the discrete autoencoder, which Parti adopted for its ViT-VQGAN.

    1. The largest crop of the model's aspect ratio (of a square model: min(h, w) squared), at a random position.
    2. Resized by area, which averages what falls into each pixel, to a random scale of the model's size: its height is
       uniform over the integers from min_scale to max_scale times the model's height. Both limits are lowered to the
       height of the crop, so that it isn't enlarged, but not below the model's height: a crop smaller than that is
       enlarged to the model's size by bicubic interpolation, as in `fit_image`.
    3. A crop of the model's size at a random position, rounded to uint8.
    4. Mirrored with probability 1/2 if `flip`.

    Args:
        height, width: int, size of the model's images in pixels.
        min_scale, max_scale: float, at least 1.
        flip: bool.

    Args of a call:
        image: uint8 [h, w, 3].
        seed: int64 [2].

    Returns:
        uint8 [height, width, 3].

    Attributes:
        takes_original: whether it takes the decoded image, or the one fitted to the model's size.

    References:
        Ramesh et al., 2021, https://arxiv.org/abs/2102.12092, appendix A.2, listing 1; Yu et al., 2022,
        https://arxiv.org/abs/2206.10789, section 4.1.
    """

    takes_original = True

    def __init__(self, height, width, min_scale, max_scale, flip):
        self.height, self.width = height, width
        self.min_height, self.max_height = (int(scale * height + 0.5) for scale in (min_scale, max_scale))
        self.flip = flip

    def __call__(self, image, seed):
        draws = _draw(seed, 6)
        crop_height, crop_width, free_rows, free_columns = largest_crop(image, self.height, self.width)
        top, left = _below(draws[0], free_rows + 1), _below(draws[1], free_columns + 1)
        image = image[top : top + crop_height, left : left + crop_width]

        lowest, highest = (
            tf.maximum(tf.minimum(crop_height, limit), self.height) for limit in (self.min_height, self.max_height)
        )
        scaled_height = lowest + _below(draws[2], highest - lowest + 1)
        scaled_width = (2 * scaled_height * self.width + self.height) // (2 * self.height)
        size = tf.cast(tf.stack([scaled_height, scaled_width]), tf.int32)
        scaled = tf.cond(
            scaled_height > crop_height,
            lambda: tf.image.resize(image, size, "bicubic", antialias=True),
            lambda: tf.image.resize(image, size, "area"),
        )

        row, column = _below(draws[3], scaled_height - self.height + 1), _below(draws[4], scaled_width - self.width + 1)
        view = scaled[row : row + self.height, column : column + self.width]
        view = tf.ensure_shape(round_to_uint8(view), [self.height, self.width, 3])
        return _flip_if(draws[5], view) if self.flip else view


def _draw(seed, count):
    """int64 [count], not negative: all that is random about one image."""
    return tf.random.stateless_uniform([count], seed, 0, tf.int64.max, tf.int64, alg=_ALGORITHM)


def _below(draw, limit):
    """int64 [] in [0, limit); no value is more likely than another by more than limit / 2**63."""
    return draw % limit


def _flip_if(draw, image):
    return tf.cond(draw % 2 == 1, lambda: image[:, ::-1], lambda: image)
