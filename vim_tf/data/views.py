"""Fixed views of an image whose tokens are stored: a replacement for random augmentation that is encoded only once."""

import tensorflow as tf

from vim_tf.data.images.fit import resize_to_cover


def make_views(kind, height, width, scale):
    """The views with a given name, as `ImageSource.ordered` takes them.

    Args:
        kind: "center", "flips" or "ten_crop".
        height, width: int, size of the model's images in pixels.
        scale: float, at least 1, as in `TenCrop`.

    Returns:
        Flips or TenCrop; None for "center", where the image itself is the only view.
    """
    return {"center": lambda: None, "flips": Flips, "ten_crop": lambda: TenCrop(height, width, scale)}[kind]()


class Flips:
    """An image and, after it, its mirror image.

    Args of a call:
        image: uint8 [height, width, 3].

    Returns:
        uint8 [2, height, width, 3].

    Attributes:
        num_views: int.
        takes_original: whether it takes the decoded image, or the one fitted to the model's size.
    """

    num_views = 2
    takes_original = False

    def __call__(self, image):
        return _with_mirrors(image[None])


class TenCrop:
    """Five crops of the model's size out of a slightly larger image, and their mirror images.

    1. The whole image is resized, antialiased bicubic, as small as it can be while it covers `scale` times the
       model's size: for a square model its shorter side becomes that. Rounded to uint8.
    2. Crops of the model's size, in this order: centre, top left, top right, bottom left, bottom right.
    3. Their mirror images in the same order.

    Args:
        height, width: int, size of the model's images in pixels.
        scale: float, at least 1.

    Args of a call:
        image: uint8 [h, w, 3].

    Returns:
        uint8 [10, height, width, 3].

    Attributes:
        num_views: int.
        takes_original: whether it takes the decoded image, or the one fitted to the model's size.
    """

    num_views = 10
    takes_original = True

    def __init__(self, height, width, scale):
        self.height, self.width = height, width
        self.covered = [int(scale * size + 0.5) for size in (height, width)]

    def __call__(self, image):
        scaled = resize_to_cover(image, *self.covered)
        shape = tf.shape(scaled)
        bottom, right = shape[0] - self.height, shape[1] - self.width
        corners = [(bottom // 2, right // 2), (0, 0), (0, right), (bottom, 0), (bottom, right)]
        crops = [scaled[top : top + self.height, left : left + self.width] for top, left in corners]
        return _with_mirrors(tf.ensure_shape(tf.stack(crops), [5, self.height, self.width, 3]))


def _with_mirrors(views):
    """uint8 [n, height, width, 3] to [2 * n, height, width, 3]."""
    return tf.concat([views, views[:, :, ::-1]], axis=0)
