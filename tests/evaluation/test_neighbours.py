"""The nearest training images, on images with known distances."""

import numpy as np

from vim_tf.evaluation.neighbours import NearestImages


def test_the_nearest_images_are_below_their_sample_in_order(fakes):
    network = fakes.BrightnessNetwork()
    samples = fakes.flat_images([3, 12])
    nearest = NearestImages(network)
    nearest.add_samples(np.arange(2), samples, network.features(samples), num_samples=2)
    training = fakes.flat_images([0, 14, 3, 5, 11, 2, 9])
    batches = [{"image": training[start : start + 3]} for start in range(0, 7, 3)]
    picture = nearest.search(batches).pictures["generation/nearest"]
    levels = picture.image[9::18, 9::18, 0] // 17
    assert levels.tolist() == [[3, 12], [3, 11], [2, 14], [5, 9]]
    assert picture.row_labels == ("sample", "nearest 1", "nearest 2", "nearest 3")
    assert "7 training images" in picture.caption


def test_shown_samples_are_spread_over_all(fakes):
    network = fakes.BrightnessNetwork()
    nearest = NearestImages(network)
    samples = fakes.flat_images(np.arange(100) % 16)
    for start in range(0, 100, 30):
        part = samples[start : start + 30]
        nearest.add_samples(np.arange(start, start + len(part)), part, network.features(part), num_samples=100)
    picture = nearest.search([{"image": samples}]).pictures["generation/nearest"]
    expected = samples[np.linspace(0, 99, 12).round().astype(int), 0, 0, 0]
    assert picture.image[9, 9::18, 0].tolist() == expected.tolist()
