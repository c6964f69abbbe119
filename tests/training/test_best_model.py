"""The best model of a training."""

import json
import pathlib

import pytest

from vim_tf.training.best_model import BestModel


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "best"


def best_model(folder, higher_is_better=True, weights="weights"):
    def save(path):
        pathlib.Path(path).mkdir()
        (pathlib.Path(path) / "model").write_text(weights)

    return BestModel(str(folder), "reconstruction/psnr", higher_is_better, save)


def offer(best, step, value):
    best.offer(step, {"reconstruction/psnr": value, "codebook/usage": 0.1})


def test_the_first_model_is_kept_with_its_value_and_step(folder):
    offer(best_model(folder), 5, 20.0)
    assert json.loads((folder / "best.json").read_text()) == {"metric": "reconstruction/psnr", "value": 20.0, "step": 5}
    assert (folder / "model").read_text() == "weights"


@pytest.mark.parametrize(("higher_is_better", "kept"), [(True, 25.0), (False, 15.0)])
def test_only_a_better_one_replaces_it(folder, higher_is_better, kept):
    for step, value in enumerate([20.0, 15.0, 25.0, 20.0]):
        offer(best_model(folder, higher_is_better, f"of step {step}"), step, value)
    found = best_model(folder, higher_is_better).best()
    assert found["value"] == kept
    assert (folder / "model").read_text() == f"of step {found['step']}"
    assert [path.name for path in folder.parent.iterdir()] == ["best"]


@pytest.mark.parametrize("higher_is_better", [True, False])
def test_of_equals_the_earlier_one_is_kept(folder, higher_is_better):
    for step in (1, 2):
        offer(best_model(folder, higher_is_better, f"of step {step}"), step, 20.0)
    assert best_model(folder, higher_is_better).best()["step"] == 1
    assert (folder / "model").read_text() == "of step 1"


def test_nan_never_counts_as_best(folder):
    offer(best_model(folder), 1, float("nan"))
    assert best_model(folder).best() is None
    offer(best_model(folder), 2, 20.0)
    offer(best_model(folder), 3, float("nan"))
    assert best_model(folder).best()["step"] == 2


def test_a_failure_while_saving_leaves_the_best_so_far(folder):
    offer(best_model(folder), 1, 20.0)

    def fail(path):
        pathlib.Path(path).mkdir()
        raise OSError("disk full")

    broken = best_model(folder)
    broken.save = fail
    with pytest.raises(OSError, match="disk full"):
        offer(broken, 2, 30.0)
    assert best_model(folder).best()["value"] == 20.0
    offer(best_model(folder), 3, 25.0)
    assert best_model(folder).best()["step"] == 3


def test_a_kill_between_the_two_renames_loses_nothing(folder):
    offer(best_model(folder), 1, 20.0)
    folder.rename(f"{folder}.tmp-before")
    assert best_model(folder).best()["value"] == 20.0


def test_a_model_that_is_best_by_another_metric_does_not_count(folder):
    offer(best_model(folder), 1, 20.0)
    other = best_model(folder)
    other.metric = "codebook/usage"
    assert other.best() is None
