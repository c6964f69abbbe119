"""The functions that TFX's Trainer runs, in one process and in two."""

import json
import os
import shutil

import pytest

from tests.pipelines import multi_worker_run_fn
from tests.testing import assert_equal_weights
from tests.training import workers

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("run_fns")


@pytest.fixture(scope="module")
def examples(folder):
    """Folder of an Examples artifact of digits at 8 x 8."""
    import apache_beam as beam
    from tfx.types import standard_artifacts

    from pipelines.components.image_example_gen import ImageExampleGen
    from vim_tf import config as configs
    from vim_tf.beam import jobs

    artifact = standard_artifacts.Examples()
    artifact.uri = str(folder / "examples")
    ImageExampleGen.test_call(
        examples=artifact,
        data=json.dumps(configs.to_dict(configs.DataConfig())),
        height=8,
        width=8,
        num_shards=1,
        span=0,
        version=0,
        input_fingerprint="",
        code_version="",
        beam_pipeline=beam.Pipeline(options=jobs.parse_options([])),
    )
    return artifact.uri


@pytest.fixture(scope="module")
def one(folder, examples):
    """Artifacts of one process."""
    from pipelines import run_fns

    artifacts = folder / "one"
    run_fns.train_tokenizer(multi_worker_run_fn.fn_args(examples, folder / "alone", "one", artifacts))
    return artifacts


def test_the_trainer_s_steps_are_trained(one):
    from vim_tf.stages import saved

    assert saved.load_config(str(one / "model_run")).training.total_steps == multi_worker_run_fn.STEPS


def test_of_two_workers_only_the_chief_writes_the_artifacts_and_they_train_like_one(folder, examples, one):
    from vim_tf.stages import saved

    statuses, errors = workers.run_two(multi_worker_run_fn.__file__, folder, examples, folder / "together")
    assert statuses == [0, 0], errors
    together = folder / "together"
    assert sorted(path.name for path in together.iterdir()) == ["training", "worker0"]
    assert_equal_weights(
        saved.load_tokenizer(str(one / "model_run")),
        saved.load_tokenizer(str(together / "worker0" / "model_run")),
        tolerance=1e-5,
    )


def test_a_warm_start_s_training_has_its_own_folder_whichever_artifact_provides_the_model(
    folder, examples, monkeypatch
):
    from pipelines import run_fns
    from vim_tf import train

    folders = []

    def stop(config):
        folders.append(os.path.dirname(config.workdir))
        raise KeyboardInterrupt

    monkeypatch.setattr(train, "run", stop)
    models = [None, folder / "model_a", folder / "model_b", folder / "other"]
    save_model(folder / "model_a", "a" * 64)
    shutil.copytree(folder / "model_a", folder / "model_b")
    save_model(folder / "other", "b" * 64)
    for model in models:
        arguments = multi_worker_run_fn.fn_args(examples, folder / "warm", "one", folder / "warm", model and str(model))
        with pytest.raises(KeyboardInterrupt):
            run_fns.train_tokenizer(arguments)
    assert folders[1] == folders[2]
    assert len(set(folders)) == 3


def save_model(path, checksum):
    """What a warm start reads from an exported model before the training: its language model's config."""
    from tests.testing import language_model_config, replace
    from vim_tf import config as configs

    config = replace(language_model_config("w", "t"), model={"tokens": configs.TokenFacts(checksum, 2, 2, 1, 32, 10)})
    stage = path / "assets.extra" / "language_model"
    stage.mkdir(parents=True)
    (stage / "config.json").write_text(json.dumps(configs.to_dict(config)))
