"""The metrics that a training records."""

import json

import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from vim_tf.training.recorder import Recorder, read_records


class FakeModel:
    resets = 0

    def reset_metrics(self):
        self.resets += 1


def recorder(workdir, start_step=0, every=2, **settings):
    made = Recorder(str(workdir), start_step, every, **settings)
    made.set_model(FakeModel())
    return made


def test_a_line_per_interval_with_readings_and_means_are_reset(tmp_path):
    made = recorder(tmp_path, readings={"tokenizer/learning_rate": lambda: tf.constant(0.25)})
    for batch in range(4):
        made.on_train_batch_end(batch, {"tokenizer/loss": float(batch)})
    lines = read_records(tmp_path / "metrics.jsonl")
    assert [(line["step"], line["tokenizer/loss"], line["tokenizer/learning_rate"]) for line in lines] == [
        (2, 1.0, 0.25),
        (4, 3.0, 0.25),
    ]
    assert made.model.resets == 2
    assert made.latest["tokenizer/loss"] == 3.0


def test_rates_are_amounts_per_second(tmp_path, monkeypatch):
    times = iter([10.0, 14.0])
    monkeypatch.setattr("vim_tf.training.recorder.time.monotonic", lambda: next(times))
    made = recorder(tmp_path, rates={"tokenizer/steps_per_second": 1, "tokenizer/images_per_second": 32})
    for batch in range(2):
        made.on_train_batch_end(batch, {})
    line = read_records(tmp_path / "metrics.jsonl")[0]
    assert (line["tokenizer/steps_per_second"], line["tokenizer/images_per_second"]) == (0.5, 16.0)


def test_lines_after_the_restored_step_are_cut(tmp_path):
    made = recorder(tmp_path)
    for batch in range(6):
        made.on_train_batch_end(batch, {"tokenizer/loss": 1.0})
    recorder(tmp_path, start_step=4)
    assert [line["step"] for line in read_records(tmp_path / "metrics.jsonl")] == [2, 4]


def test_the_last_value_of_a_metric_can_be_from_before_a_resume(tmp_path):
    made = recorder(tmp_path)
    for batch in range(4):
        made.on_train_batch_end(batch, {"tokenizer/loss": float(batch)})
    resumed = recorder(tmp_path, start_step=2)
    assert resumed.earlier("tokenizer/loss") == [(2, 1.0)]
    assert resumed.last("tokenizer/loss") == 1.0
    assert resumed.last("tokenizer/l1_loss") is None
    resumed.record(3, {"tokenizer/loss": 7.0})
    assert resumed.last("tokenizer/loss") == 7.0
    assert resumed.earlier("tokenizer/loss") == [(2, 1.0)]


def test_line_that_a_kill_cut_off_is_left_out(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text(json.dumps({"step": 1}) + "\n" + '{"step": 2, "los')
    assert read_records(path) == [{"step": 1}]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_metric_that_is_not_finite_stops_the_run_with_its_name_the_steps_and_what_to_do(tmp_path, value):
    made = recorder(tmp_path)
    made.on_train_batch_end(0, {"tokenizer/loss": 1.0, "tokenizer/gradient_norm": 1.0})
    message = "tokenizer/gradient_norm became NaN or infinite between steps 0 and 2. "
    with pytest.raises(
        FloatingPointError, match=f"{message}No checkpoint was written before: train in a workdir other than"
    ):
        made.on_train_batch_end(1, {"tokenizer/loss": 1.0, "tokenizer/gradient_norm": value})
    tf.train.Checkpoint(step=tf.Variable(1)).save(f"{tmp_path}/checkpoints/step")
    with pytest.raises(FloatingPointError, match=f"{message}The latest checkpoint in .*--initialize_from="):
        made.on_train_batch_end(1, {"tokenizer/loss": 1.0, "tokenizer/gradient_norm": value})
    assert read_records(tmp_path / "metrics.jsonl") == []


def test_metrics_that_cannot_be_written_fail_with_one_line_that_says_what_to_do(tmp_path):
    made = recorder(tmp_path)
    (tmp_path / "metrics.jsonl").unlink()
    (tmp_path / "metrics.jsonl").mkdir()
    with pytest.raises(OSError, match="metrics can't be written to .*free some space or make the path") as failure:
        made.record(2, {"tokenizer/loss": 1.0})
    assert "\n" not in str(failure.value)


def test_tensorboard_gets_every_metric_the_histogram_and_the_images(tmp_path):
    made = recorder(tmp_path, histograms={"codebook/counts": lambda: np.array([3.0, 0.0, 1.0])})
    for batch in range(2):
        made.on_train_batch_end(batch, {"tokenizer/l2_loss": 0.5, "tokenizer/generator_loss": 0.7})
    made.show(2, {"reconstruction/examples": np.full((4, 6, 3), 200, np.uint8)})
    events = EventAccumulator(f"{tmp_path}/tensorboard")
    events.Reload()
    values = {}
    for name in events.Tags()["tensors"]:
        event = events.Tensors(name)[-1]
        assert event.step == 2
        values[name] = tf.make_ndarray(event.tensor_proto)
    assert values["tokenizer/l2_loss"] == pytest.approx(0.5)
    assert values["tokenizer/generator_loss"] == pytest.approx(0.7)
    assert values["codebook/counts"][:, 2].sum() == 3
    width, height, png = values["reconstruction/examples"]
    assert (int(width), int(height)) == (6, 4)
    assert tf.io.decode_png(png).numpy().min() == 200
