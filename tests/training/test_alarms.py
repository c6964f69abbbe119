"""Reports of a training that goes on, but wrong."""

import pytest

from vim_tf.training.alarms import LowMetricAlarm


def lines_of(capsys, values, limit=0.1, steps=2, start_step=0, every=1):
    alarm = LowMetricAlarm(start_step, every, "codebook/window_usage", limit, steps, "most codes are dead")
    for batch, value in enumerate(values):
        alarm.on_train_batch_end(batch, {"codebook/window_usage": value})
    return [line for line in capsys.readouterr().err.splitlines() if line]


def test_a_metric_that_stays_low_is_reported_once_with_its_steps_and_meaning(capsys):
    assert lines_of(capsys, [0.5, 0.05, 0.04, 0.03, 0.03]) == [
        "Alarm: codebook/window_usage is 0.04 at step 3, under 0.1 since step 1: most codes are dead"
    ]


def test_recovery_is_reported_and_arms_the_alarm_again(capsys):
    lines = lines_of(capsys, [0.05, 0.05, 0.2, 0.05, 0.05])
    assert [line.split(",")[0] for line in lines] == [
        "Alarm: codebook/window_usage is 0.05 at step 2",
        "Alarm: codebook/window_usage is back at 0.2 at step 3",
        "Alarm: codebook/window_usage is 0.05 at step 5",
    ]


def test_a_short_dip_is_no_alarm(capsys):
    assert lines_of(capsys, [0.05, 0.2, 0.05, 0.2]) == []


@pytest.mark.parametrize("values", [[0.0, 0.0, 0.0]])
def test_a_limit_of_zero_is_off(capsys, values):
    assert lines_of(capsys, values, limit=0.0) == []


def test_steps_count_from_the_look_before(capsys):
    """Looks at steps 12 and 14 of a run resumed at 10: low since 10, four steps ago."""
    assert lines_of(capsys, [0.01] * 4, steps=4, start_step=10, every=2) == [
        "Alarm: codebook/window_usage is 0.01 at step 14, under 0.1 since step 10: most codes are dead"
    ]
