"""A request as one object: its parts, their order and how a sampler completes it."""

import numpy as np
import pytest
import tensorflow as tf

from vim_tf import config as configs
from vim_tf import ranges
from vim_tf.models.language_model import LanguageModel
from vim_tf.sampling.generate import Sampler
from vim_tf.sampling.requests import INPUTS, Request, checked_request, input_specs, request_specs


@pytest.fixture(scope="module")
def model():
    sizes = {"num_layers": 1, "num_heads": 1, "hidden_dim": 4, "mlp_dim": 4}
    model = LanguageModel(1, 3, 1, 7, num_classes=2, label_dropout=0.1, **sizes)
    model.build()
    return model


def test_the_inputs_are_those_that_exports_were_written_with_in_this_order():
    """Clients of a served model pass them by position or by name; a new one goes to the end."""
    expected = [("label", tf.int32), ("seed", tf.int32), ("temperature", tf.float32), ("top_k", tf.int32)]
    expected += [("top_p", tf.float32), ("guidance_scale", tf.float32)]
    assert [(spec.name, spec.dtype) for spec in input_specs().values()] == expected
    assert all(spec.shape.as_list() == [None] for spec in input_specs().values())


def test_the_specs_of_a_request_are_its_inputs_and_what_is_known():
    specs = request_specs(5)
    assert list(specs[:-2]) == list(input_specs().values())
    assert specs.known_tokens == tf.TensorSpec([None, 5], tf.int32, "known_tokens")
    assert specs.known == tf.TensorSpec([None, 5], tf.bool, "known")


def test_the_flags_the_request_and_the_checks_have_one_default():
    defaults = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "guidance_scale": 1.0}
    assert Request([0], [1])._asdict() == {"label": [0], "seed": [1], **defaults, "known_tokens": None, "known": None}
    for name, default in defaults.items():
        shown = getattr(configs.SamplingConfig(), name)
        assert (shown, type(shown)) == (default, type(default))
        ranges.SAMPLING[name].allowed.check(name, default)


def test_a_checked_request_has_arrays_of_one_value_for_each_sample(model):
    request = checked_request(model, Request([1, 0, 1], range(3), top_k=4, temperature=[1, 2, 0.5]))
    expected = {
        "label": [1, 0, 1],
        "seed": [0, 1, 2],
        "temperature": [1, 2, 0.5],
        "top_k": [4, 4, 4],
        "top_p": [1, 1, 1],
        "guidance_scale": [1, 1, 1],
        "known_tokens": np.zeros([3, 3]),
        "known": np.zeros([3, 3], bool),
    }
    for name, values in expected.items():
        np.testing.assert_array_equal(getattr(request, name), values)
    dtypes = {name: str(values.dtype) for name, values in request._asdict().items()}
    assert dtypes == INPUTS | {"known_tokens": "int32", "known": "bool"}


def test_tokens_that_are_not_kept_are_not_part_of_the_request(model):
    known = np.array([[True, False, True]])
    request = checked_request(model, Request([0], [0], known_tokens=[[6, 5, 4]], known=known))
    np.testing.assert_array_equal(request.known_tokens, [[6, 0, 4]])
    np.testing.assert_array_equal(request.known, known)


@pytest.mark.parametrize("method", ["sample", "check"])
def test_a_setting_that_does_not_exist_is_refused(model, method):
    with pytest.raises(TypeError, match="unexpected keyword argument 'topk'"):
        getattr(Sampler(model, 1), method)([0], [0], topk=3)
