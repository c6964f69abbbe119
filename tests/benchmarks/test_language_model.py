"""The language model's speed benchmark: its arithmetic, and a run on a tiny shape."""

import pytest

from benchmarks import cache_memory, language_model_speed
from benchmarks.language_model_speed import LanguageModelSpeedConfig, train_flops
from vim_tf import config as configs
from vim_tf.errors import InputError


def test_flops_of_a_step_by_hand():
    """One token: 4 products of 2 x 2, 2 of 2 x 3, a score and a mixture of 2; 5 logits from 2. Times 6 and 7 images."""
    config = LanguageModelSpeedConfig(
        lengths=(1,),
        peer_lengths=(1,),
        train_length=1,
        batch_size=7,
        num_layers=1,
        hidden_dim=2,
        mlp_dim=3,
        codebook_size=5,
    )
    assert train_flops(config) == 6 * 7 * (4 * 4 + 2 * 6 + 2 * 2 + 10)


def test_unusable_settings_are_refused():
    with pytest.raises(InputError, match="train_length"):
        LanguageModelSpeedConfig(train_length=100)
    with pytest.raises(InputError, match="peer_lengths"):
        LanguageModelSpeedConfig(peer_lengths=(100,))


@pytest.mark.slow
def test_a_run_prints_training_and_sampling(capsys):
    config = LanguageModelSpeedConfig(
        lengths=(16,),
        peer_lengths=(16,),
        train_length=16,
        batch_size=2,
        num_layers=1,
        num_heads=2,
        hidden_dim=16,
        mlp_dim=16,
        codebook_size=8,
        rounds=1,
        max_foreign=1.0,
        product_size=64,
    )
    results = language_model_speed.run(config)
    assert {"train_16/ours", "sample_16/ours", "sample_guided_16/ours", "sample_whole_cache_16/ours"} <= set(results)
    lines = capsys.readouterr().out
    assert "training step, 16 tokens" in lines and "sampling 16 tokens" in lines


def test_the_cache_is_as_large_as_computed():
    config = cache_memory.CacheMemoryConfig(
        model=configs.LanguageModelConfig(num_layers=3, num_heads=2, hidden_dim=8, mlp_dim=4),
        grid_height=2,
        grid_width=5,
        codebook_size=7,
        num_classes=2,
        memory_gib=1.0,
    )
    results = cache_memory.run(config)
    assert results["cache_bytes"] == results["measured_bytes"] == 2 * 3 * 10 * 8 * 4
    assert results["batch_size"] == (2**30 - results["weight_bytes"]) // 1920
