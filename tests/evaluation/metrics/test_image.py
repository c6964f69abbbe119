"""PSNR, SSIM, l1 and l2 against hand-worked and independent values."""

import numpy as np
import pytest
from scipy.signal import convolve2d

from vim_tf.errors import InputError
from vim_tf.evaluation.metrics.image import ImageMetrics, ssim_filter_size


def measure(images, reconstructions):
    metrics = ImageMetrics()
    metrics.update(images, reconstructions)
    return metrics.result()


def random_images(seed, height=16, width=16, count=5):
    return np.random.default_rng(seed).integers(0, 256, [count, height, width, 3]).astype(np.uint8)


def independent_ssim(image, other, size=11):
    window = np.exp(-((np.arange(size) - size // 2) ** 2) / (2 * 1.5**2))
    window = np.outer(window, window) / window.sum() ** 2
    values = []
    for channel in range(3):
        x, y = image[..., channel] / 255, other[..., channel] / 255
        mean_x, mean_y, mean_xx, mean_yy, mean_xy = (
            convolve2d(array, window, "valid") for array in (x, y, x * x, y * y, x * y)
        )
        luminance = (2 * mean_x * mean_y + 0.01**2) / (mean_x**2 + mean_y**2 + 0.01**2)
        variances = mean_xx - mean_x**2 + mean_yy - mean_y**2
        values.append(np.mean(luminance * (2 * (mean_xy - mean_x * mean_y) + 0.03**2) / (variances + 0.03**2)))
    return np.mean(values)


def test_identical_images_score_the_limit_of_100_decibels():
    images = random_images(0)
    assert measure(images, images) == {"psnr": 100.0, "ssim": pytest.approx(1.0), "l1": 0.0, "l2": 0.0}


def test_a_constant_difference_has_known_values():
    images = np.full([2, 16, 16, 3], 100, np.uint8)
    result = measure(images, images + 51)
    assert result["l1"] == pytest.approx(0.2, rel=1e-6)
    assert result["l2"] == pytest.approx(0.04, rel=1e-6)
    assert result["psnr"] == pytest.approx(-10 * np.log10(0.04), rel=1e-6)


def test_psnr_is_the_mean_of_per_image_values():
    images = np.zeros([2, 16, 16, 3], np.uint8)
    others = np.stack([np.full([16, 16, 3], 51, np.uint8), np.full([16, 16, 3], 255, np.uint8)])
    assert measure(images, others)["psnr"] == pytest.approx((-10 * np.log10(0.04) + 0) / 2, rel=1e-6)


@pytest.mark.parametrize(("height", "width", "size"), [(16, 16, 11), (8, 8, 7), (24, 9, 9)])
def test_ssim_agrees_with_scipy(height, width, size):
    images, noise = random_images(1, height, width), random_images(2, height, width)
    others = (images * 0.7 + noise * 0.3).astype(np.uint8)
    expected = np.mean([independent_ssim(*pair, size) for pair in zip(images, others, strict=True)])
    assert ssim_filter_size(height, width) == size
    assert measure(images, others)["ssim"] == pytest.approx(expected, rel=1e-4)


def test_batches_of_unequal_size_equal_the_whole():
    images, others = random_images(3, count=7), random_images(4, count=7)
    metrics = ImageMetrics()
    for start, end in ((0, 4), (4, 6), (6, 7)):
        metrics.update(images[start:end], others[start:end])
    assert metrics.num_images == 7
    assert metrics.result() == pytest.approx(measure(images, others), rel=1e-6)


def test_small_images_state_their_ssim_window():
    metrics = ImageMetrics()
    metrics.update(random_images(0, 8, 8), random_images(1, 8, 8))
    assert metrics.conditions["ssim"]["filter_size"] == 7


def test_float_images_are_refused():
    with pytest.raises(ValueError, match="uint8"):
        measure(np.zeros([1, 16, 16, 3], np.float32), np.zeros([1, 16, 16, 3], np.float32))


def test_no_images_are_refused():
    with pytest.raises(InputError, match="empty"):
        ImageMetrics().result()
