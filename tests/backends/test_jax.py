"""The models on Keras' JAX backend, in a separate environment, compute the same as on TensorFlow.

JAX needs NumPy 2 and TensorFlow's environment here NumPy 1, so the two can't share one.
"""

import hashlib
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import pytest

from tests.backends import model_values

ROOT = pathlib.Path(__file__).resolve().parents[2]
LOCK = ROOT / "requirements" / "jax.lock"
# An installation and two processes that load a framework, which is slow on a busy machine.
pytestmark = [pytest.mark.system, pytest.mark.timeout(1800)]


def run(*command, **environment):
    return subprocess.run(
        command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, timeout=1500, check=False
    )


@pytest.fixture(scope="module")
def jax_python():
    """Interpreter of an environment with the lock's packages; it is made once for each version of the lock."""
    name = f"vim_tf-{os.getuid()}-jax-{hashlib.sha256(LOCK.read_bytes()).hexdigest()[:16]}"
    folder = pathlib.Path(tempfile.gettempdir(), name)
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        pytest.skip(f"{folder} is another user's")
    python, stamp = folder / "bin" / "python", folder / "finished"
    if not stamp.exists():
        install = [str(python), "-m", "pip", "install", "--no-deps", "--require-hashes", "--quiet", "-r", str(LOCK)]
        for command in ([sys.executable, "-m", "venv", "--clear", str(folder)], install):
            done = run(*command)
            if done.returncode:
                pytest.skip(f"JAX can't be installed here: {(done.stderr.strip() or 'no message').splitlines()[-1]}")
        stamp.touch()
    return str(python)


@pytest.fixture(scope="module")
def values(jax_python, tmp_path_factory):
    """Every array on TensorFlow, and on JAX from the weights that TensorFlow wrote."""
    folder = tmp_path_factory.mktemp("models")
    ours = model_values.write(folder)
    # Compiled code runs only once, so optimizing it isn't worth the time.
    environment = {"KERAS_BACKEND": "jax", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1", "PYTHONPATH": str(ROOT)}
    done = run(jax_python, "-m", "tests.backends.model_values", f"--folder={folder}", **environment)
    assert done.returncode == 0, done.stderr
    with np.load(folder / "jax.npz") as arrays:
        return ours, dict(arrays)


def of_case(arrays, name):
    return {key.split("/", 1)[1]: array for key, array in arrays.items() if key.split("/")[0] == name}


@pytest.mark.parametrize("name", model_values.CASES)
def test_a_models_values_and_gradients_are_those_on_tensorflow(values, name):
    expected, found = (of_case(arrays, name) for arrays in values)
    assert expected and set(found) == set(expected)
    for key, array in expected.items():
        assert found[key].dtype == array.dtype, key
        if array.dtype.kind == "i":
            np.testing.assert_array_equal(found[key], array, err_msg=key)
        else:
            # An element that is small compared with the others is a sum whose terms cancel: it has their rounding.
            tolerance = 1e-4 * max(0.1, float(np.abs(array).max()))
            np.testing.assert_allclose(found[key], array, rtol=0, atol=tolerance, err_msg=key)


def test_step_by_step_on_jax_equals_the_whole_pass(values):
    found = of_case(values[1], "language_model")
    for name in ("step", "packed_step"):
        np.testing.assert_allclose(found[name], found["logits"], rtol=1e-4, atol=1e-4)


def test_dropout_on_jax_keeps_the_share_that_it_says(values):
    found = of_case(values[1], "draws")
    assert abs(found["kept"] - 0.75) < 0.015 and abs(found["below_half"] - 0.5) < 0.02
