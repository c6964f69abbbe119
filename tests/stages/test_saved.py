"""Trained stages on disk: they load as they were saved, and those that don't belong together are refused."""

import dataclasses

import keras
import numpy as np
import pytest

from tests.testing import assert_equal_weights, language_model_config, replace, tokenizer_config
from vim_tf import config as configs
from vim_tf.errors import InputError
from vim_tf.models.language_model import build_language_model
from vim_tf.models.tokenizer import build_tokenizer
from vim_tf.stages import saved as saved_stages

IMAGES = np.random.default_rng(0).uniform(size=(2, 8, 8, 3)).astype("float32")


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A tokenizer and its folder."""
    folder = tmp_path_factory.mktemp("tokenizer")
    config = tokenizer_config(folder)
    keras.utils.set_random_seed(1)
    tokenizer = build_tokenizer(config.model)
    for weight in tokenizer.weights:
        weight.assign(np.random.default_rng(2).normal(size=weight.shape))
    saved_stages.save_stage(tokenizer, config, str(folder))
    return tokenizer, str(folder)


def save_language_model(folder, tokenizer_checksum):
    facts = configs.TokenFacts(tokenizer_checksum, 2, 2, 1, 32, 10)
    config = language_model_config(folder, "unused")
    config = replace(config, model={"tokens": facts})
    saved_stages.save_stage(build_language_model(config.model), config, str(folder))
    return str(folder)


def test_every_weight_comes_back(saved):
    tokenizer, folder = saved
    keras.utils.set_random_seed(99)
    assert_equal_weights(saved_stages.load_tokenizer(folder), tokenizer)


def test_reconstruction_of_a_loaded_tokenizer_is_the_same(saved):
    tokenizer, folder = saved
    np.testing.assert_array_equal(saved_stages.load_tokenizer(folder)(IMAGES).images, tokenizer(IMAGES).images)


def test_checksum_is_the_same_at_every_load_and_of_any_name(saved):
    tokenizer, folder = saved
    again = saved_stages.load_tokenizer(folder)
    assert again.checksum == saved_stages.checksum(tokenizer)
    assert len(again.checksum) == 64


def test_checksum_sees_a_changed_bit_of_a_weight(saved):
    _, folder = saved
    tokenizer = saved_stages.load_tokenizer(folder)
    before = saved_stages.checksum(tokenizer)
    codebook = tokenizer.quantizer.codebook.numpy()
    codebook[3, 1] = np.nextafter(codebook[3, 1], np.float32(10))
    tokenizer.quantizer.codebook.assign(codebook)
    assert saved_stages.checksum(tokenizer) != before


def test_checksum_sees_a_config_of_equal_weights(saved):
    tokenizer, _ = saved
    section = tokenizer_config("unused").model
    other = build_tokenizer(
        dataclasses.replace(section, quantizer=dataclasses.replace(section.quantizer, l2_normalize=False))
    )
    other.set_weights(tokenizer.get_weights())
    assert saved_stages.checksum(other) != saved_stages.checksum(tokenizer)


def test_language_model_of_another_tokenizer_is_refused_with_both_checksums(saved, tmp_path):
    _, folder = saved
    tokenizer = saved_stages.load_tokenizer(folder)
    path = save_language_model(tmp_path, "feedbeef")
    with pytest.raises(InputError, match=f"feedbeef.*{tokenizer.checksum}"):
        saved_stages.load_language_model(path, tokenizer)


def test_language_model_of_this_tokenizer_is_taken(saved, tmp_path):
    tokenizer = saved_stages.load_tokenizer(saved[1])
    loaded = saved_stages.load_language_model(save_language_model(tmp_path, tokenizer.checksum), tokenizer)
    assert (loaded.codebook_size, loaded.num_classes, loaded.num_tokens) == (32, 10, 4)


def test_stage_of_another_task_is_refused(saved, tmp_path):
    with pytest.raises(InputError, match="holds a tokenizer, where a language_model is needed"):
        saved_stages.load_language_model(saved[1])


def test_folder_that_is_not_a_stage_is_refused(tmp_path):
    with pytest.raises(InputError, match="there is no folder"):
        saved_stages.load_tokenizer(str(tmp_path / "missing"))
    with pytest.raises(InputError, match="holds no trained tokenizer"):
        saved_stages.load_tokenizer(str(tmp_path))


def test_broken_config_file_is_one_clear_error(tmp_path):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(InputError, match="config.json isn't the config"):
        saved_stages.load_tokenizer(str(tmp_path))


def test_stage_without_checkpoint_is_refused(tmp_path):
    saved_stages.prepare(tokenizer_config(tmp_path / "new"))
    with pytest.raises(InputError, match="no checkpoint: train the stage first"):
        saved_stages.load_tokenizer(str(tmp_path / "new"))


def test_resume_with_another_config_is_refused_and_names_the_fields(tmp_path):
    config = tokenizer_config(tmp_path / "run")
    saved_stages.prepare(config)
    other = replace(config, losses={"l2_weight": 3.0}, training={"batch_size": 16})
    with pytest.raises(InputError, match=r"losses.l2_weight was 1.0, now 3.0; training.batch_size was 8, now 16"):
        saved_stages.prepare(other)


def test_resume_can_change_total_steps_logging_checkpoints_and_strategy(tmp_path):
    config = tokenizer_config(tmp_path / "run")
    saved_stages.prepare(config)
    changed = replace(
        config, strategy="one", training={"total_steps": 9, "log_every_steps": 3, "checkpoint_every_steps": 1}
    )
    saved_stages.prepare(changed)
    assert saved_stages.load_config(str(tmp_path / "run")) == changed


def test_folder_with_other_files_is_not_trained_into(tmp_path):
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(InputError, match="not empty and holds no config.json"):
        saved_stages.prepare(tokenizer_config(tmp_path))


def test_new_model_starts_from_the_weights_of_a_trained_one(saved):
    tokenizer, folder = saved
    fresh = build_tokenizer(tokenizer_config("unused").model)
    saved_stages.initialize(fresh, folder, "tokenizer")
    assert_equal_weights(fresh, tokenizer)


def test_start_from_a_stage_of_another_form_is_refused_with_the_differences(saved):
    section = tokenizer_config("unused").model
    quantizer = dataclasses.replace(section.quantizer, codebook_size=64)
    fresh = build_tokenizer(dataclasses.replace(section, quantizer=quantizer))
    with pytest.raises(InputError, match="different form: quantizer is .*'codebook_size': 32.* there and .*64.* here"):
        saved_stages.initialize(fresh, saved[1], "tokenizer")
