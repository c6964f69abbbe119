"""`vim_tf.train`: a resumed run equals the uninterrupted one."""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import tensorflow as tf

from tests.testing import assert_equal_weights, language_model_config, replace, tokenizer_config
from vim_tf import config as configs
from vim_tf import train
from vim_tf.data.records import tokens as token_records
from vim_tf.errors import InputError
from vim_tf.stages import saved
from vim_tf.training.recorder import read_records


def checkpoint(workdir):
    """Every value of the latest checkpoint, by name."""
    path = tf.train.latest_checkpoint(f"{workdir}/checkpoints")
    reader = tf.train.load_checkpoint(path)
    names = [name for name, _ in tf.train.list_variables(path) if name != "_CHECKPOINTABLE_OBJECT_GRAPH"]
    return {name: reader.get_tensor(name) for name in names if not name.startswith("save_counter")}


def assert_same_checkpoint(first, second):
    one, other = checkpoint(first), checkpoint(second)
    assert one.keys() == other.keys()
    for name, value in one.items():
        np.testing.assert_array_equal(value, other[name], err_msg=name)


@pytest.fixture(scope="module")
def tokens(tmp_path_factory):
    """A folder of random tokens of a made-up tokenizer."""
    folder = str(tmp_path_factory.mktemp("tokens"))
    random = np.random.default_rng(0)
    splits = {}
    for split, count in (("train", 20), ("validation", 5)):
        name = token_records.shard_name(0, 1)
        with token_records.ShardWriter(f"{folder}/{split}/{name}", 16) as writer:
            for index in range(count):
                writer.write(random.integers(0, 16, (1, 4)), index % 3, b"key%d" % index)
        shard = {"file": name, "num_examples": count, "sha256": writer.sha256}
        splits[split] = {"num_examples": count, "shards": [shard]}
    manifest = token_records.Manifest(
        tokenizer_checksum="c0ffee",
        codebook_size=16,
        grid_height=2,
        grid_width=2,
        depth=1,
        views=1,
        num_classes=3,
        class_names=["a", "b", "c"],
        source="made up",
        splits=splits,
    )
    token_records.write_manifest(folder, manifest)
    return folder


@pytest.mark.slow
def test_tokenizer_resumed_after_2_steps_equals_4_steps_bit_for_bit(tmp_path):
    train.run(tokenizer_config(tmp_path / "whole", total_steps=4))
    # The schedule ends at total_steps, so the interrupted run must have had the same one.
    resumed = tokenizer_config(tmp_path / "resumed", total_steps=4)
    interrupted_after(2, resumed)
    train.run(resumed)
    assert_same_checkpoint(tmp_path / "whole", tmp_path / "resumed")
    whole, parts = (read_records(tmp_path / name / "metrics.jsonl") for name in ("whole", "resumed"))
    assert without_rates(parts) == without_rates(whole)
    assert [line["step"] for line in whole if "tokenizer/l2_loss" in line] == [2, 4]


@pytest.mark.slow
def test_two_steps_per_execution_are_two_executions_bit_for_bit(tmp_path):
    """R1 at every second step, restarts, an average, and a resume in between."""
    one_by_one = tokenizer_config(tmp_path / "single", total_steps=8, ema_decay=0.5, validate_every_steps=4)
    train.run(one_by_one)
    pairs = replace(one_by_one, workdir=str(tmp_path / "pairs"), training={"steps_per_execution": 2})
    interrupted_after(4, pairs)
    train.run(pairs)
    assert_same_checkpoint(tmp_path / "single", tmp_path / "pairs")
    single, paired = (read_records(tmp_path / name / "metrics.jsonl") for name in ("single", "pairs"))
    assert without_rates(paired) == without_rates(single)
    assert [line["step"] for line in paired] == [2, 4, 4, 6, 8, 8]


def test_a_resume_between_the_ends_of_two_executions_is_refused_with_the_way_out(tmp_path, tokens):
    config = language_model_config(tmp_path, tokens, total_steps=6, log_every_steps=3, checkpoint_every_steps=3)
    interrupted_after(3, config)
    pairs = replace(config, training={"steps_per_execution": 2, "log_every_steps": 2, "checkpoint_every_steps": 2})
    with pytest.raises(InputError, match="from step 3, which isn't a multiple of training.steps_per_execution 2; use"):
        train.run(pairs)
    train.run(replace(pairs, training={"steps_per_execution": 3, "log_every_steps": 3, "checkpoint_every_steps": 3}))
    assert tf.train.latest_checkpoint(tmp_path / "checkpoints").endswith("ckpt-6")


def test_nan_within_an_execution_is_named_with_its_window_and_nothing_is_saved(tmp_path, tokens):
    config = language_model_config(
        tmp_path, tokens, steps_per_execution=2, log_every_steps=4, checkpoint_every_steps=2, total_steps=8
    )
    config = replace(config, optimizer={"learning_rate": 1e38, "final_learning_rate": 1e38, "epsilon": 1e-8})
    with pytest.raises(FloatingPointError, match="became NaN or infinite between steps 0 and 2"):
        train.run(config)
    assert tf.train.latest_checkpoint(tmp_path / "checkpoints") is None


def test_training_off_the_main_thread_is_the_same_training(tmp_path, tokens, capsys):
    train.run(language_model_config(tmp_path / "main", tokens))
    raised = []

    def work():
        try:
            train.run(language_model_config(tmp_path / "thread", tokens))
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert not raised
    assert_same_checkpoint(tmp_path / "main", tmp_path / "thread")
    assert capsys.readouterr().err.count("doesn't run in its process's main thread") == 1


def test_language_model_with_dropout_resumed_after_2_steps_equals_4_steps_bit_for_bit(tmp_path, tokens):
    train.run(language_model_config(tmp_path / "whole", tokens))
    resumed = language_model_config(tmp_path / "resumed", tokens)
    interrupted_after(2, resumed)
    train.run(resumed)
    assert_same_checkpoint(tmp_path / "whole", tmp_path / "resumed")


@pytest.mark.slow
def test_resumed_run_compares_its_first_validation_with_the_training_before_the_interruption(tmp_path, tokens):
    """Validation at step 3 is compared with the training bits of step 2, which the interrupted run has recorded."""
    train.run(language_model_config(tmp_path / "whole", tokens, validate_every_steps=3))
    resumed = language_model_config(tmp_path / "resumed", tokens, validate_every_steps=3)
    interrupted_after(2, resumed)
    train.run(resumed)
    whole, parts = (read_records(tmp_path / name / "metrics.jsonl") for name in ("whole", "resumed"))
    assert without_rates(parts) == without_rates(whole)
    assert [line["step"] for line in whole if "language_model/generalization_gap" in line] == [3, 4]


def without_rates(lines):
    return [{name: value for name, value in line.items() if not name.endswith("_per_second")} for line in lines]


def interrupted_after(step, config):
    """Trains and is stopped by an exception right after the checkpoint of a step."""
    from vim_tf.training import callbacks

    class Stop(Exception):
        pass

    original = callbacks.SaveOnSignal.on_step

    def stop(self, now, logs):
        if now == step:
            raise Stop

    callbacks.SaveOnSignal.on_step = stop
    try:
        with pytest.raises(Stop):
            train.run(config)
    finally:
        callbacks.SaveOnSignal.on_step = original


@pytest.mark.slow
def test_run_returns_its_last_metrics_with_validation(tmp_path, tokens):
    metrics = train.run(language_model_config(tmp_path, tokens))
    assert {"language_model/bits_per_token", "language_model/validation_bits_per_token"} <= metrics.keys()


@pytest.mark.slow
def test_run_under_mirrored_strategy_is_the_run_on_one_device(tmp_path):
    train.run(tokenizer_config(tmp_path / "one"))
    mirrored = replace(tokenizer_config(tmp_path / "mirrored"), strategy="mirrored")
    # Interrupted, so that it includes restoring onto replicas.
    interrupted_after(2, mirrored)
    train.run(mirrored)
    one, two = (saved.load_tokenizer(str(tmp_path / name)) for name in ("one", "mirrored"))
    assert_equal_weights(one, two, tolerance=1e-5)


@pytest.mark.slow
def test_fine_tuning_starts_from_the_other_runs_weights_and_a_fresh_discriminator(tmp_path):
    """While the discriminator warms up, it learns, and the tokenizer trains as if there were none."""
    train.run(tokenizer_config(tmp_path / "first"))
    first = str(tmp_path / "first")
    warming = replace(
        tokenizer_config(tmp_path / "warming", total_steps=2),
        initialize_from=first,
        losses={"adversarial_start_step": 2},
    )
    without = replace(
        tokenizer_config(tmp_path / "without", total_steps=2), initialize_from=first, losses={"adversarial_weight": 0.0}
    )
    for config in (warming, without):
        train.run(config)
    before, one, other = (saved.load_tokenizer(str(tmp_path / name)) for name in ("first", "warming", "without"))
    assert_equal_weights(one, other, tolerance=1e-6)
    moved = np.abs(np.asarray(one.encoder.embedding.kernel) - np.asarray(before.encoder.embedding.kernel)).max()
    assert 1e-4 < moved < 0.1
    judges = [
        {name: value for name, value in checkpoint(tmp_path / run).items() if name.startswith("discriminator/")}
        for run in ("first", "warming")
    ]
    assert judges[0].keys() == judges[1].keys()
    assert any(not np.array_equal(value, judges[1][name]) for name, value in judges[0].items())


@pytest.mark.slow
def test_fine_tuning_resumes_from_its_own_checkpoint_once_there_is_one(tmp_path):
    train.run(tokenizer_config(tmp_path / "first"))
    whole = replace(tokenizer_config(tmp_path / "whole"), initialize_from=str(tmp_path / "first"))
    train.run(whole)
    parts = replace(whole, workdir=str(tmp_path / "parts"))
    interrupted_after(2, parts)
    # The stage that it started from need not exist any longer.
    train.run(replace(parts, initialize_from=""))
    assert_same_checkpoint(tmp_path / "whole", tmp_path / "parts")


@pytest.mark.slow
def test_average_of_the_weights_is_what_other_commands_load(tmp_path):
    config = tokenizer_config(tmp_path, ema_decay=0.9)
    train.run(config)
    values = checkpoint(tmp_path)
    loaded = saved.load_tokenizer(str(tmp_path))
    averages = {name: value for name, value in values.items() if name.startswith("ema/")}
    assert len(averages) == len(loaded.weights)
    name = "quantizer/codebook"
    stored, weight = (
        next(value for path, value in values.items() if path.startswith(f"{group}/") and "codebook" in path)
        for group in ("ema", "model")
    )
    np.testing.assert_array_equal(loaded.quantizer.codebook, stored, err_msg=name)
    assert not np.array_equal(stored, weight)


def test_batch_that_replicas_can_not_share_is_refused(tmp_path):
    config = replace(tokenizer_config(tmp_path, batch_size=4), strategy="mirrored")
    with pytest.raises(InputError, match="training.batch_size 4 can't be divided into 2 replicas and groups"):
        train.run(config)


@pytest.mark.slow
def test_finished_run_called_again_trains_no_further(tmp_path, tokens):
    config = language_model_config(tmp_path, tokens)
    train.run(config)
    before = checkpoint(tmp_path)
    train.run(config)
    after = checkpoint(tmp_path)
    for name, value in before.items():
        np.testing.assert_array_equal(value, after[name], err_msg=name)


@pytest.mark.slow
def test_run_stopped_after_its_last_step_has_its_last_validation_when_called_again(tmp_path, tokens, monkeypatch):
    from vim_tf.training import callbacks

    def config(name):
        best = {"keep_best_metric": "language_model/validation_bits_per_token"}
        return language_model_config(tmp_path / name, tokens, validate_every_steps=3, **best)

    class Stop(BaseException):
        """Like a kill in the middle of the last validation."""

    validate = callbacks.Validator.validate

    def stop(self, step):
        if step == 4:
            raise Stop
        return validate(self, step)

    train.run(config("whole"))
    with monkeypatch.context() as patched, pytest.raises(Stop):
        patched.setattr(callbacks.Validator, "validate", stop)
        train.run(config("stopped"))
    train.run(config("stopped"))
    whole, parts = (read_records(tmp_path / name / "metrics.jsonl") for name in ("whole", "stopped"))
    assert without_rates(parts) == without_rates(whole)
    whole, parts = ((tmp_path / name / "best" / "best.json").read_text() for name in ("whole", "stopped"))
    assert parts == whole
    # Called again, and with a step before what is trained, it adds nothing.
    before = (tmp_path / "stopped" / "metrics.jsonl").read_text()
    train.run(config("stopped"))
    train.run(replace(config("stopped"), training={"total_steps": 3}))
    assert (tmp_path / "stopped" / "metrics.jsonl").read_text() == before


@pytest.mark.slow
def test_only_the_set_number_of_checkpoints_is_kept(tmp_path, tokens):
    config = language_model_config(tmp_path, tokens, total_steps=5, checkpoint_every_steps=1, keep_checkpoints=2)
    train.run(config)
    assert len(tf.train.get_checkpoint_state(f"{tmp_path}/checkpoints").all_model_checkpoint_paths) == 2


@pytest.mark.slow
def test_config_json_records_what_the_tokens_say(tmp_path, tokens):
    train.run(language_model_config(tmp_path, tokens))
    facts = json.loads((tmp_path / "config.json").read_text())["model"]["tokens"]
    assert facts == {
        "tokenizer_checksum": "c0ffee",
        "grid_height": 2,
        "grid_width": 2,
        "depth": 1,
        "codebook_size": 16,
        "num_classes": 3,
        "class_names": ["a", "b", "c"],
    }


@pytest.mark.slow
def test_resume_on_tokens_of_another_tokenizer_is_refused_with_both_checksums(tmp_path, tokens):
    config = language_model_config(tmp_path / "run", tokens)
    train.run(config)
    other = tmp_path / "tokens"
    tf.io.gfile.makedirs(str(other))
    for split in configs.SPLITS:
        (other / split).symlink_to(f"{tokens}/{split}")
    manifest = json.loads(open(f"{tokens}/manifest.json").read()) | {"tokenizer_checksum": "decaf"}
    (other / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(InputError, match="c0ffee.*decaf"):
        train.run(replace(config, tokens=str(other)))


COMMAND = """
import sys
sys.path.insert(0, {root!r})
from tests.testing import tokenizer_config
from vim_tf.cli import flags
from vim_tf import train
sys.argv = ["train"]
config = tokenizer_config({workdir!r}, total_steps=400, checkpoint_every_steps=20, log_every_steps=1)
flags.parse = lambda config_class, argv: config
train.main()
"""


def start_training(workdir):
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    code = COMMAND.format(root=root, workdir=str(workdir))
    return subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


def wait_for_step(workdir, step, process):
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        lines = read_records(f"{workdir}/metrics.jsonl")
        if lines and lines[-1]["step"] >= step:
            return
        assert process.poll() is None, "the training ended by itself"
        time.sleep(0.02)
    raise AssertionError(f"no step {step} after 300 s")


@pytest.mark.slow
def test_training_killed_and_terminated_in_between_ends_with_the_weights_of_an_undisturbed_one(tmp_path):
    undisturbed = start_training(tmp_path / "undisturbed")
    assert undisturbed.wait(600) == 0

    killed = start_training(tmp_path / "disturbed")
    wait_for_step(tmp_path / "disturbed", 50, killed)
    killed.send_signal(signal.SIGKILL)
    assert killed.wait(60) == -signal.SIGKILL

    terminated = start_training(tmp_path / "disturbed")
    wait_for_step(tmp_path / "disturbed", 110, terminated)
    terminated.send_signal(signal.SIGTERM)
    assert terminated.wait(60) == 143

    assert start_training(tmp_path / "disturbed").wait(600) == 0
    assert_same_checkpoint(tmp_path / "undisturbed", tmp_path / "disturbed")
