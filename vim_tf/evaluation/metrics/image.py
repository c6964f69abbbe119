"""Measures how close reconstructed images are to their originals, image by image."""

import tensorflow as tf

from vim_tf.errors import InputError

MAX_PSNR = 100.0
_SSIM_FILTER_SIZE = 11


def ssim_filter_size(height, width):
    """Side of the Gaussian window of SSIM: 11 pixels as usual, or the largest odd size that fits a smaller image."""
    smaller = min(height, width, _SSIM_FILTER_SIZE)
    return smaller if smaller % 2 else smaller - 1


class ImageMetrics:
    """Mean PSNR, SSIM, l1, l2 and optionally LPIPS of image pairs, batch by batch.

    All are means over images, so batches of unequal size are weighted correctly. They are measured on what a viewer
    sees: 8-bit images.

    - psnr: dB, higher is better. An image that is identical to its original has an infinite PSNR; each image's value
      is limited to `MAX_PSNR` so that the mean stays a number. The mean of per-image values is above the PSNR of the
      mean error.
    - ssim: in [-1, 1], higher is better; mean over channels. Images under 11 pixels get a smaller window, see
      `conditions`, and such values aren't comparable with others.
    - l1, l2: mean absolute and mean squared difference of pixels in [0, 1], lower is better.
    - lpips: distance between VGG16 features, calibrated to human judgement, lower is better.

    Args:
        perceptual: `losses.perceptual.LPIPS`, or None.

    References:
        Wang et al., 2004, "Image quality assessment: from error visibility to structural similarity"; Zhang et al.,
        2018, https://arxiv.org/abs/1801.03924, for LPIPS.
    """

    def __init__(self, perceptual=None):
        self.num_images = 0
        self._perceptual = perceptual
        self._size = None
        self._sums = {"psnr": 0.0, "ssim": 0.0, "l1": 0.0, "l2": 0.0} | ({"lpips": 0.0} if perceptual else {})

    def update(self, images, reconstructions):
        """Takes in one batch.

        Args:
            images: uint8 [batch, height, width, 3].
            reconstructions: uint8, same shape.
        """
        images, reconstructions = tf.convert_to_tensor(images), tf.convert_to_tensor(reconstructions)
        if images.dtype != tf.uint8 or reconstructions.dtype != tf.uint8 or images.shape != reconstructions.shape:
            raise ValueError(
                f"image metrics need two uint8 batches of one shape, not {images.dtype.name} {images.shape} and "
                f"{reconstructions.dtype.name} {reconstructions.shape}"
            )
        self._size = tuple(images.shape[1:3])
        values = _per_image(images, reconstructions, ssim_filter_size(*self._size))
        if self._perceptual:
            values["lpips"] = _distance(self._perceptual, images, reconstructions)
        for name, value in values.items():
            self._sums[name] += float(tf.reduce_sum(tf.cast(value, tf.float64)))
        self.num_images += int(images.shape[0])

    def result(self):
        """Dict of the means over all images so far.

        Raises:
            InputError: there were no images.
        """
        if not self.num_images:
            raise InputError("there are no images to measure: the split is empty")
        return {name: total / self.num_images for name, total in self._sums.items()}

    @property
    def conditions(self):
        """For each metric, what its value depends on besides the images."""
        filter_size = ssim_filter_size(*self._size) if self._size else _SSIM_FILTER_SIZE
        found = {
            "psnr": {"limit_per_image_db": MAX_PSNR, "averaged": "per-image values"},
            "ssim": {"filter_size": filter_size, "filter_sigma": 1.5, "channels": "mean over RGB"},
            "l1": {"pixel_range": "[0, 1]"},
            "l2": {"pixel_range": "[0, 1]"},
        }
        return found | (
            {"lpips": {"network": "VGG16", "weights": self._perceptual.checksum}} if self._perceptual else {}
        )


@tf.function(reduce_retracing=True)
def _per_image(images, reconstructions, filter_size):
    """float32 [batch] for each metric; arguments as in `ImageMetrics.update`."""
    floats, other_floats = tf.cast(images, tf.float32) / 255.0, tf.cast(reconstructions, tf.float32) / 255.0
    difference = floats - other_floats
    return {
        "psnr": tf.minimum(tf.image.psnr(images, reconstructions, max_val=255), MAX_PSNR),
        "ssim": tf.image.ssim(images, reconstructions, max_val=255, filter_size=filter_size),
        "l1": tf.reduce_mean(tf.abs(difference), axis=[1, 2, 3]),
        "l2": tf.reduce_mean(tf.square(difference), axis=[1, 2, 3]),
    }


@tf.function(reduce_retracing=True)
def _distance(perceptual, images, reconstructions):
    """float32 [batch] of two uint8 batches."""
    return perceptual(tf.cast(images, tf.float32) / 255.0, tf.cast(reconstructions, tf.float32) / 255.0)
