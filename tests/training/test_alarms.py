"""Alarms: one line for the user when a training continues but is going wrong."""

import pytest

from vim_tf.training.alarms import Gap, GapAlarm, LowMetric, LowMetricAlarm


def lines_of(capsys, values, limit=0.1, steps=2, start_step=0, every=1, earlier=()):
    metric = LowMetric("codebook/window_usage", limit, steps, "most codes are dead")
    alarm = LowMetricAlarm(metric, start_step, every, earlier)
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


def test_a_short_dip_raises_no_alarm(capsys):
    assert lines_of(capsys, [0.05, 0.2, 0.05, 0.2]) == []


@pytest.mark.parametrize("values", [[0.0, 0.0, 0.0]])
def test_a_limit_of_zero_is_off(capsys, values):
    assert lines_of(capsys, values, limit=0.0) == []


def test_steps_count_from_the_previous_check(capsys):
    """Checks at steps 12 and 14 of a run resumed at 10: low since 10, four steps ago."""
    assert lines_of(capsys, [0.01] * 4, steps=4, start_step=10, every=2) == [
        "Alarm: codebook/window_usage is 0.01 at step 14, under 0.1 since step 10: most codes are dead"
    ]


@pytest.mark.parametrize(
    ("earlier", "since"),
    [
        ([], 4),
        ([(2, 0.5), (4, 0.01)], 2),
        ([(2, 0.01), (4, 0.5)], 4),
        ([(2, 0.01), (4, 0.02)], 0),
    ],
)
def test_a_resumed_run_counts_the_steps_before_it(capsys, earlier, since):
    lines = lines_of(capsys, [0.03] * 4, steps=4, start_step=4, every=2, earlier=earlier)
    step = max(6, since + 4)
    assert lines == [
        f"Alarm: codebook/window_usage is 0.03 at step {step}, under 0.1 since step {since}: most codes are dead"
    ]


def gap_of(recorded, limit=0.5):
    names = ("language_model/generalization_gap", "language_model/bits_per_token", "language_model/validation_bits")
    return GapAlarm(Gap(*names, limit, "the model overfits"), recorded.get)


def validated(gap, step, bits):
    return gap.of(step, {"language_model/validation_bits": bits})


def test_the_gap_is_validation_less_the_latest_training():
    recorded = {}
    gap = gap_of(recorded)
    assert validated(gap, 1, 3.0) == {}
    recorded["language_model/bits_per_token"] = 2.75
    assert validated(gap, 2, 3.0) == {"language_model/generalization_gap": 0.25}
    recorded["language_model/bits_per_token"] = 3.5
    assert validated(gap, 3, 3.0) == {"language_model/generalization_gap": -0.5}


def test_a_gap_over_the_limit_is_reported_once(capsys):
    gap = gap_of({"language_model/bits_per_token": 2.0})
    for step, bits in enumerate([2.5, 2.625, 2.75, 2.25, 3.0]):
        validated(gap, 10 * step, bits)
    assert capsys.readouterr().err == (
        "\nAlarm: language_model/generalization_gap is 0.625 at step 10, over 0.5: the model overfits\n"
    )


def test_a_gap_without_a_limit_is_measured_without_an_alarm(capsys):
    gap = gap_of({"language_model/bits_per_token": 2.0}, limit=0.0)
    assert validated(gap, 1, 9.0) == {"language_model/generalization_gap": 7.0}
    assert capsys.readouterr().err == ""
