"""What an evaluation opens and checks before its first long step, and how it prints its values."""

import io

import keras
import numpy as np
import pytest

from tests.testing import save_untrained_language_model, save_untrained_tokenizer
from vim_tf import config as configs
from vim_tf import evaluate
from vim_tf.cli import flags
from vim_tf.errors import InputError
from vim_tf.evaluation.results import EvaluationResult, read_metrics, write_metrics
from vim_tf.stages import saved

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def stages(tmp_path_factory):
    """Flags of an untrained tokenizer and language model for 8 x 8 digits."""
    root = tmp_path_factory.mktemp("stages")
    keras.utils.set_random_seed(0)
    tokenizer = save_untrained_tokenizer(root / "tokenizer")
    language_model = save_untrained_language_model(root / "language_model", tokenizer)
    return [f"--tokenizer={tokenizer}", f"--language_model={language_model}", "--sampling.jit_compile=false"]


@pytest.fixture
def no_pass(monkeypatch):
    """Fails if anything is trained or measured."""

    def long_step(*args, **kwargs):
        pytest.fail("a long step was taken before everything was checked")

    for function in (
        "vim_tf.evaluation.feature_networks.trained_classifier",
        "vim_tf.evaluation.reconstruction.ReconstructionEvaluator.run",
        "vim_tf.evaluation.generation.RealEvaluator.run",
        "vim_tf.evaluation.generation.GenerationEvaluator.run",
        "vim_tf.stages.probing.measure",
    ):
        monkeypatch.setattr(function, long_step)


def run(*argv):
    return evaluate.run(flags.parse(configs.EvaluateCommand, list(argv)))


def npz(path, **arrays):
    content = io.BytesIO()
    np.savez(content, **arrays)
    path.write_bytes(content.getvalue())
    return path


def refused(stages, tmp_path, *argv):
    with pytest.raises(InputError) as refusal:
        run(*stages, *argv, f"--output={tmp_path}/out")
    assert "\n" not in str(refusal.value)
    assert not (tmp_path / "out" / "metrics.json").exists()
    return str(refusal.value)


def test_a_reference_file_is_opened_before_anything_is_measured(stages, no_pass, tmp_path):
    broken = npz(tmp_path / "nan.npz", mu=np.full(64, np.nan), sigma=np.eye(64))
    assert "mu holds NaN or infinity" in refused(stages, tmp_path, f"--reference={broken}")
    assert "nowhere.npz can't be read" in refused(stages, tmp_path, f"--reference={tmp_path}/nowhere.npz")


def test_a_reference_of_other_features_is_refused_before_the_first_pass(stages, monkeypatch, tmp_path):
    """The required number of features is known once the small classifier exists."""
    monkeypatch.setattr("vim_tf.evaluation.generation.RealEvaluator.run", lambda self: pytest.fail("a pass"))
    other = npz(tmp_path / "other.npz", mu=np.zeros(3), sigma=np.eye(3))
    message = refused(stages, tmp_path, f"--reference={other}", "--evaluation.feature_steps=2")
    assert "holds moments of 3 features; the feature network has 64" in message


def test_a_language_model_of_another_tokenizer_is_refused_before_the_first_pass(stages, no_pass, tmp_path):
    keras.utils.set_random_seed(1)
    other = save_untrained_tokenizer(tmp_path / "other")
    mixed = [f"--tokenizer={other}", *stages[1:]]
    assert "belongs to the tokenizer with checksum" in refused(mixed, tmp_path)
    kind = "--evaluation.kind=reconstruction,linear_probe"
    assert "belongs to the tokenizer with checksum" in refused(mixed, tmp_path, kind)


def test_weights_and_classifiers_are_opened_before_the_first_pass(stages, no_pass, tmp_path):
    missing = f"--evaluation.lpips_weights_file={tmp_path}/none.npz"
    assert "none.npz" in refused(stages, tmp_path, missing)
    rejection = [f"--sampling.classifier={tmp_path}/none.keras", "--sampling.rejection_candidates=2"]
    assert "none.keras can't be loaded as a classifier" in refused(stages, tmp_path, *rejection)
    inputs = keras.layers.Input([8, 8, 3])
    keras.Model(inputs, keras.layers.Dense(3)(keras.layers.Flatten()(inputs))).save(tmp_path / "three.keras")
    rejection = [f"--sampling.classifier={tmp_path}/three.keras", "--sampling.rejection_candidates=2"]
    assert "has 3 classes and doesn't know label 9" in refused(stages, tmp_path, *rejection)


def test_seeds_without_room_and_guidance_without_labels_are_refused_before_the_first_pass(stages, no_pass, tmp_path):
    assert "seed 2147483648 is out of range" in refused(stages, tmp_path, "--evaluation.seed=2147483600")


def test_what_a_probe_needs_is_checked_before_the_first_pass(stages, no_pass, tmp_path):
    (tmp_path / "out" / "linear_probe").mkdir(parents=True)
    (tmp_path / "out" / "linear_probe" / "mine.txt").write_text("mine")
    kind = "--evaluation.kind=reconstruction,linear_probe"
    assert "linear_probe is not empty and holds no config.json" in refused(stages, tmp_path, kind)


def test_a_folder_at_the_path_of_a_result_is_refused_before_the_first_pass(stages, no_pass, tmp_path):
    (tmp_path / "out" / "report.html").mkdir(parents=True)
    assert "holds a folder report.html where a file would be written" in refused(stages, tmp_path)
    (tmp_path / "file").write_text("mine")
    folder = f"--reference_folder={tmp_path}/file/folder"
    (tmp_path / "out" / "report.html").rmdir()
    assert "--reference_folder=" in refused(stages, tmp_path, folder)


def test_a_reference_that_no_network_can_judge_is_not_left_unread(stages, no_pass, tmp_path, monkeypatch):
    monkeypatch.setattr("vim_tf.evaluation.feature_networks.build_feature_network", lambda *args: None)
    moments = npz(tmp_path / "moments.npz", mu=np.zeros(3), sigma=np.eye(3))
    assert "needs a feature network" in refused(stages, tmp_path, f"--reference={moments}")


def test_a_metric_that_is_not_finite_is_named_as_undefined(stages, tmp_path, monkeypatch, capsys, caplog):
    result = EvaluationResult({"reconstruction/psnr": float("nan"), "reconstruction/l1": 0.5})
    monkeypatch.setattr("vim_tf.evaluation.reconstruction.ReconstructionEvaluator.run", lambda *args: result)
    argv = [*stages, "--evaluation.kind=reconstruction", "--evaluation.feature_steps=2", f"--output={tmp_path}"]
    evaluate.show(flags.parse(configs.EvaluateCommand, argv))
    assert "reconstruction/psnr                  undefined" in capsys.readouterr().out
    assert read_metrics(f"{tmp_path}/metrics.json")[0]["reconstruction/psnr"] is None
    assert "reconstruction/psnr is undefined for these images (nan)" in caplog.text


def test_a_comparison_is_printed_with_a_head(tmp_path, capsys):
    for name, value in (("first", 20.5), ("a_second_longer_one", 21.0)):
        write_metrics(f"{tmp_path}/{name}/metrics.json", {"reconstruction/psnr": value, "codebook/usage": 1.0}, {})
    compared = f"--compare={tmp_path}/first,{tmp_path}/a_second_longer_one"
    evaluate.show(flags.parse(configs.EvaluateCommand, [compared, f"--output={tmp_path}/c"]))
    assert capsys.readouterr().out.splitlines()[:3] == [
        f"{'':36s} {'first':>19s}  a_second_longer_one",
        f"{'reconstruction/psnr':36s} {'20.50':>19s}  {'21.00':>19s}",
        f"{'codebook/usage':36s} {'1.000':>19s}  {'1.000':>19s}",
    ]


def test_the_untrained_stages_belong_together(stages):
    """The precondition of the refusals above."""
    tokenizer = saved.load_tokenizer(stages[0].partition("=")[2])
    assert saved.load_language_model(stages[1].partition("=")[2], tokenizer).num_classes == 10
