"""What keeps a model from being pushed."""

import dataclasses

from pipelines import gates
from vim_tf.config import GateConfig


def test_every_gate_of_the_config_has_a_metric():
    assert set(gates.GATES) == {field.name for field in dataclasses.fields(GateConfig)}


def test_a_value_at_the_limit_passes():
    metrics = {"reconstruction/psnr": 24.0, "generation/frechet_distance": 3.0}
    assert gates.missed_gates(metrics, {"min_reconstruction_psnr": 24.0, "max_generation_frechet_distance": 3.0}) == []


def test_a_value_on_the_wrong_side_is_named_with_its_limit():
    metrics = {"reconstruction/psnr": 23.5, "generation/frechet_distance": 3.5}
    assert gates.missed_gates(metrics, {"min_reconstruction_psnr": 24.0, "max_generation_frechet_distance": 3.0}) == [
        "reconstruction/psnr is 23.5, below --gates.min_reconstruction_psnr=24",
        "generation/frechet_distance is 3.5, above --gates.max_generation_frechet_distance=3",
    ]


def test_a_limit_of_zero_is_off():
    assert gates.missed_gates({"reconstruction/psnr": -1.0}, {"min_reconstruction_psnr": 0.0}) == []


def test_a_metric_that_is_missing_or_not_finite_misses_its_gate():
    missed = ["codebook/usage was not measured, and --gates.min_codebook_usage is 0.8"]
    assert gates.missed_gates({}, {"min_codebook_usage": 0.8}) == missed
    assert gates.missed_gates({"codebook/usage": None}, {"min_codebook_usage": 0.8}) == missed
