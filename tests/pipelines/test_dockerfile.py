"""The image of the Kubeflow specification holds what the locks and the runner say."""

import json
import pathlib
import re

import setuptools

import vim_tf
from vim_tf import config as configs

ROOT = pathlib.Path(__file__).resolve().parents[2]
TEXT = (ROOT / "pipelines/Dockerfile").read_text()
LINES = [line for line in TEXT.splitlines() if line and not line.startswith("#")]


def commands(name):
    return [line.removeprefix(f"{name} ") for line in LINES if line.startswith(f"{name} ")]


def test_the_python_is_that_of_setup_py_and_the_locks():
    (base,) = commands("FROM")
    version = re.fullmatch(r"python:(\d+\.\d+)-\w+", base).group(1)
    major, minor = map(int, version.split("."))
    assert f'python_requires=">={version},<{major}.{minor + 1}"' in (ROOT / "setup.py").read_text()
    assert f"--python-version {version}" in (ROOT / "requirements/requirements.in").read_text()


def test_what_is_copied_is_there_and_not_ignored():
    ignored = (ROOT / "pipelines/Dockerfile.dockerignore").read_text().splitlines()
    for copied in commands("COPY"):
        for source in copied.split()[:-1]:
            assert (ROOT / source).exists(), source
            assert f"!{source}" in ignored, source


def test_every_package_of_the_project_is_copied():
    packages = {name.split(".")[0] for name in setuptools.find_packages(ROOT, include=["vim_tf*", "pipelines*"])}
    assert packages <= {copied.split()[0] for copied in commands("COPY")}


def test_the_lock_is_installed_whole_with_its_hashes_and_nothing_is_resolved():
    installs = [command for command in commands("RUN") if "pip install" in command]
    (lock,) = [command for command in installs if command.endswith("-r requirements.lock")]
    assert {"--require-hashes", "--no-deps", "--no-build-isolation"} <= set(lock.split())
    for command in installs:
        assert "--require-hashes" in command or "--no-deps" in command, command


def test_the_lock_has_what_the_containers_start_with():
    lock = (ROOT / "requirements.lock").read_text()
    for package in ("tfx", "kfp-pipeline-spec"):
        assert re.search(rf"^{package}==", lock, re.MULTILINE), package


def test_it_starts_what_the_specification_starts():
    from tfx.orchestration.kubeflow.v2.kubeflow_v2_dag_runner import KUBEFLOW_TFX_CMD

    (entrypoint,) = commands("ENTRYPOINT")
    assert tuple(json.loads(entrypoint)) == KUBEFLOW_TFX_CMD


def test_the_image_that_the_runner_names_is_the_one_that_is_built():
    image = configs.KubeflowConfig.__dataclass_fields__["image"].default
    assert image == f"vim_tf:{vim_tf.__version__}"
    assert f"-t {image} " in TEXT
    assert f'org.opencontainers.image.version="{vim_tf.__version__}"' in TEXT
