"""Broken files through the library: each is named with a reason or gives the same pixels again; nothing crashes."""

import numpy as np
import pytest
import tensorflow as tf

from tests.fuzz import corpus, harness
from vim_tf.config import DataConfig
from vim_tf.data.images import examination


@pytest.mark.parametrize("name", corpus.controls())
def test_a_sound_file_is_what_pillow_shows_of_its_first_frame(name):
    data = corpus.controls()[name].data
    limit = DataConfig.max_pixels
    decode = examination.original_decoder(limit)
    decoded = examination.decode_once(lambda: data, lambda each: decode(tf.constant(each)).numpy(), limit)
    assert decoded.problem is None
    np.testing.assert_array_equal(decoded.value, corpus.seen_on_white(data))


def test_mutations_depend_on_the_seed_only_and_reach_every_format():
    files = [corpus.mutated(seed) for seed in range(600)]
    assert files == [corpus.mutated(seed) for seed in range(600)]
    assert {name for name, _, _ in files} == set(corpus.controls())


def check(folder, num_files, batch_size):
    outcomes = {}
    for first in range(0, num_files, batch_size):
        batch, memory = harness.run_batch("library", folder, first, min(batch_size, num_files - first))
        assert memory < harness.MEMORY_LIMIT, f"files {first} to {first + batch_size - 1} took {memory} bytes"
        outcomes |= batch
    print(harness.summary(outcomes))
    # A fuzzer whose files all fail, or none of them, tests little.
    share = np.mean(["problem" in outcome for outcome in outcomes.values()])
    assert 0.3 < share < 0.95


@pytest.mark.slow
def test_no_broken_file_crashes_the_library(tmp_path):
    check(tmp_path, 600, 600)


@pytest.mark.system
@pytest.mark.timeout(3600)
def test_no_broken_file_of_twenty_thousand_crashes_the_library(tmp_path):
    check(tmp_path, 20_000, 2_500)
