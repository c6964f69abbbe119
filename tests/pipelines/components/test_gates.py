"""The gates that keep a model from being pushed."""

import dataclasses

import pytest

from pipelines.components import gates
from vim_tf.config import GateConfig
from vim_tf.evaluation.metrics.names import METRICS


def missed(metrics, limits, baseline=None, conditions=None):
    blessed = None if baseline is None else (baseline, conditions or {})
    return gates.missed_gates((metrics, {}), limits, blessed)


def test_every_gate_of_the_config_has_a_metric():
    known = gates.GATES | gates.BASELINE_GATES
    assert set(known) == {field.name for field in dataclasses.fields(GateConfig)}
    assert set(known.values()) <= set(METRICS)


def test_a_value_at_the_limit_passes():
    metrics = {"reconstruction/psnr": 24.0, "generation/frechet_distance": 3.0}
    assert missed(metrics, {"min_reconstruction_psnr": 24.0, "max_generation_frechet_distance": 3.0}) == []


def test_a_value_on_the_wrong_side_is_named_with_its_limit():
    metrics = {"reconstruction/psnr": 23.5, "generation/frechet_distance": 3.5}
    assert missed(metrics, {"min_reconstruction_psnr": 24.0, "max_generation_frechet_distance": 3.0}) == [
        "reconstruction/psnr is 23.5, below --gates.min_reconstruction_psnr=24",
        "generation/frechet_distance is 3.5, above --gates.max_generation_frechet_distance=3",
    ]


def test_a_limit_of_zero_is_off():
    assert missed({"reconstruction/psnr": -1.0}, {"min_reconstruction_psnr": 0.0}) == []
    assert (
        missed({"reconstruction/psnr": 1.0}, {"max_reconstruction_psnr_loss": 0.0}, {"reconstruction/psnr": 9.0}) == []
    )


def test_a_metric_that_is_missing_or_not_finite_misses_its_gate():
    expected = ["codebook/usage was not measured, and --gates.min_codebook_usage is 0.8"]
    assert missed({}, {"min_codebook_usage": 0.8}) == expected
    assert missed({"codebook/usage": None}, {"min_codebook_usage": 0.8}) == expected


@pytest.mark.parametrize(
    ("gate", "metric", "last", "worst", "worse"),
    [
        ("max_reconstruction_psnr_loss", "reconstruction/psnr", 25.0, 24.5, 24.49),
        ("max_generation_frechet_distance_rise", "generation/frechet_distance", 2.0, 3.0, 3.01),
    ],
)
def test_a_model_may_be_worse_than_the_last_blessed_one_up_to_the_limit(gate, metric, last, worst, worse):
    limits = {gate: 0.5}
    assert missed({metric: worst}, limits, {metric: last}) == []
    assert missed({metric: worse}, limits, {metric: last}) == [
        f"{metric} is {worse:.4g}, the last blessed model's {last:.4g}: worse than --gates.{gate}=0.5 allows"
    ]


def test_the_first_model_has_nothing_to_be_worse_than():
    assert missed({"reconstruction/psnr": 1.0}, {"max_reconstruction_psnr_loss": 0.5}) == []


def test_what_was_measured_differently_is_not_compared():
    metric, limits = "reconstruction/psnr", {"max_reconstruction_psnr_loss": 0.5}
    conditions = {metric: {"measured": {"num_images": 360}}}
    assert missed({metric: 30.0}, limits, {metric: 25.0}, conditions) == [
        "reconstruction/psnr can't be compared with the last blessed model's: measured.num_images is not stated "
        "against 360"
    ]


def test_a_metric_that_the_last_blessed_model_lacks_misses_its_gate():
    assert missed({"reconstruction/psnr": 30.0}, {"max_reconstruction_psnr_loss": 0.5}, {}) == [
        "reconstruction/psnr of the last blessed model was not measured, and --gates.max_reconstruction_psnr_loss is "
        "0.5"
    ]


def test_only_set_gates_ask_for_the_last_blessed_model():
    assert not gates.needs_baseline({"min_codebook_usage": 0.5, "max_generation_fid_rise": 0.0})
    assert gates.needs_baseline({"max_generation_fid_rise": 0.1})
