"""The locks, setup.py, the Makefile and the CI script are consistent."""

import ast
import importlib.metadata
import os
import pathlib
import re
import shutil
import stat
import subprocess
import sys

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import vim_tf

ROOT = pathlib.Path(__file__).resolve().parents[1]
LOCKS = [
    "requirements.lock",
    "requirements/installer.lock",
    "requirements/test.lock",
    "requirements/cuda.lock",
    "requirements/jax.lock",
    "requirements/docs.lock",
    "requirements/judges.lock",
]
INPUTS = [
    ("requirements/requirements.in", "requirements.lock"),
    ("requirements/overrides.txt", "requirements.lock"),
    ("requirements/installer.in", "requirements/installer.lock"),
    ("requirements/test.in", "requirements/test.lock"),
    ("requirements/cuda.in", "requirements/cuda.lock"),
    ("requirements/jax.in", "requirements/jax.lock"),
    ("requirements/docs.in", "requirements/docs.lock"),
    ("requirements/judges.in", "requirements/judges.lock"),
]
# What a machine without an environment needs for `make setup`.
SETUP_FILES = [
    "Makefile",
    "setup.py",
    "pyproject.toml",
    "requirements.lock",
    "requirements/installer.lock",
    "requirements/test.lock",
    "requirements/cuda.lock",
    "requirements/docs.lock",
    "vim_tf/__init__.py",
]


def read(path):
    return (ROOT / path).read_text(encoding="utf-8")


def entries(path):
    """{canonical package name: its whole entry, including hashes} of a requirements file."""
    joined = read(path).replace("\\\n", " ")
    lines = [line.strip() for line in joined.splitlines()]
    return {canonicalize_name(re.split(r"[=<>!~ ]", line)[0]): line for line in lines if line and line[0] != "#"}


def versions(path):
    """{canonical package name: pinned version}; an entry that is not `name==version` has version None."""
    pins = {name: re.match(r"[A-Za-z0-9._-]+==([^\s;]+)(\s|$)", entry) for name, entry in entries(path).items()}
    return {name: pin and pin.group(1) for name, pin in pins.items()}


def install_requires():
    for node in ast.parse(read("setup.py")).body:
        if isinstance(node, ast.Assign) and node.targets[0].id == "INSTALL_REQUIRES":
            return [Requirement(text) for text in ast.literal_eval(node.value)]
    raise AssertionError("setup.py has no INSTALL_REQUIRES")


def run_make(*arguments, folder=ROOT, path=None):
    environment = {
        name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")
    }
    if path:
        environment["PATH"] = f"{path}{os.pathsep}{environment['PATH']}"
    return subprocess.run(["make", *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=60)


def commands_of(target):
    """Every command that a target would run on a machine that has nothing installed yet."""
    done = run_make("--dry-run", "--always-make", target)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def checkout(tmp_path):
    """A checkout with the files that set-up reads, and no environment."""
    for name in SETUP_FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def mark_as_set_up(checkout):
    """Leaves the stamps that a finished set-up would leave."""
    planned = run_make("--dry-run", "setup-test", folder=checkout).stdout
    stamps = re.findall(r"^touch (\S+)$", planned, re.MULTILINE)
    assert len(stamps) == 3
    for stamp in stamps:
        (checkout / stamp).parent.mkdir(parents=True, exist_ok=True)
        (checkout / stamp).touch()


@pytest.mark.parametrize("lock", LOCKS)
def test_every_package_of_a_lock_is_pinned_and_hashed(lock):
    assert None not in versions(lock).values()
    assert [name for name, entry in entries(lock).items() if not re.search(r"--hash=sha256:[0-9a-f]{64}", entry)] == []


@pytest.mark.parametrize("path", [*LOCKS, *(source for source, _ in INPUTS)])
def test_locks_and_their_inputs_name_no_host_and_no_index(path):
    assert re.findall(r"://|\S+ @ |--\S*index\S*|--find-links|--trusted-host", "\n".join(entries(path).values())) == []


@pytest.mark.parametrize(("source", "lock"), INPUTS)
def test_what_the_inputs_ask_for_is_what_the_lock_has(source, lock):
    wanted = versions(source)
    assert None not in wanted.values()
    locked = versions(lock)
    assert {name: locked.get(name) for name in wanted} == wanted


@pytest.mark.parametrize("lock", ["requirements/test.lock", "requirements/cuda.lock"])
def test_no_package_is_in_a_lock_and_in_the_main_lock_that_it_adds_to(lock):
    assert set(versions(lock)) & set(versions("requirements.lock")) == set()


def test_the_cuda_lock_is_all_that_tensorflow_asks_for_on_a_gpu_in_the_versions_that_it_takes():
    asked = [Requirement(text) for text in importlib.metadata.requires("tensorflow") if "and-cuda" in text]
    locked = versions("requirements/cuda.lock")
    assert asked and set(locked) == {canonicalize_name(item.name) for item in asked}
    assert [str(item) for item in asked if locked[canonicalize_name(item.name)] not in item.specifier] == []


def test_the_cuda_parts_are_of_one_release():
    """Compiler, runtime and linker; the other libraries each have their own version numbers."""
    parts = ("cuda-cupti", "cuda-nvcc", "cuda-nvrtc", "cuda-runtime", "nvjitlink", "cublas")
    locked = versions("requirements/cuda.lock")
    assert {".".join(locked[f"nvidia-{part}-cu12"].split(".")[:2]) for part in parts} == {"12.9"}


def test_the_jax_lock_has_the_keras_of_the_main_lock():
    assert versions("requirements/jax.lock")["keras"] == versions("requirements.lock")["keras"]


def test_the_installer_lock_agrees_with_the_main_lock():
    main = versions("requirements.lock")
    installer = versions("requirements/installer.lock")
    assert {name: main[name] for name in installer if name in main} == {
        name: version for name, version in installer.items() if name != "uv"
    }


@pytest.mark.parametrize("lock", LOCKS)
def test_pytorch_is_in_no_lock(lock):
    assert {"torch", "torchvision"} & set(versions(lock)) == set()


def test_the_lock_satisfies_what_setup_py_asks_for():
    locked = versions("requirements.lock")
    unmet = [str(item) for item in install_requires() if locked.get(canonicalize_name(item.name)) not in item.specifier]
    assert unmet == []


def test_setup_py_asks_for_no_pipeline_package():
    pipeline_only = {
        "tfx",
        "apache-beam",
        "ml-metadata",
        "tfx-bsl",
        "tensorflow-data-validation",
        "tensorflow-transform",
    }
    assert {canonicalize_name(item.name) for item in install_requires()} & pipeline_only == set()


def test_setup_py_takes_its_version_from_the_package():
    done = subprocess.run(
        [sys.executable, "setup.py", "--version"], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.split() == [vim_tf.__version__], done.stderr


def run_ci(checkout, apt_works):
    """What `.ci/run` prints on a machine whose apt-get and make only say how they were called."""
    (checkout / ".ci").mkdir()
    shutil.copy(ROOT / ".ci/run", checkout / ".ci/run")
    programs = checkout / "programs"
    programs.mkdir()
    for name in ("bash", "dirname"):
        (programs / name).symlink_to(shutil.which(name))
    # Its own output is hidden, so it leaves a file.
    answers = {"make": 'echo "make $*"', "apt-get": f'echo "$*" >> "{checkout}/apt"; exit {0 if apt_works else 1}'}
    for name, command in answers.items():
        (programs / name).write_text(f"#!/bin/sh\n{command}\n")
        (programs / name).chmod(0o755)
    done = subprocess.run(
        [checkout / ".ci/run"], env={"PATH": str(programs)}, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_ci_gets_a_browser_and_bazel_and_runs_the_second_and_the_third_level(checkout):
    assert run_ci(checkout, apt_works=True) == ["make test", "make test-system"]
    assert " chromium" in (checkout / "apt").read_text()
    assert " bazel-bootstrap" in (checkout / "apt").read_text()
    assert os.stat(ROOT / ".ci/run").st_mode & stat.S_IXUSR


def test_ci_runs_both_levels_where_nothing_can_be_installed(checkout):
    lines = [f"No {name} here: the tests that need it are skipped." for name in ("chromium", "bazel")]
    assert run_ci(checkout, apt_works=False) == [*lines, "make test", "make test-system"]


def test_make_demo_sets_up_without_the_test_lock_and_runs_the_digits_pipeline():
    commands = commands_of("demo")
    assert "requirements.lock" in commands and "test.lock" not in commands
    assert "-m pipelines.local_runner --flagfile=configs/digits/pipeline.flags" in commands
    assert (ROOT / "configs/digits/pipeline.flags").exists()


def test_make_test_sets_up_with_the_test_lock_lints_and_runs_pytest():
    commands = commands_of("test")
    order = ["requirements/test.lock", "ruff check", "ruff format --check", "-m pytest"]
    assert sorted(order, key=commands.index) == order


@pytest.mark.parametrize(
    ("target", "marks"), [("test-fast", "not slow and not system"), ("test", "not system"), ("test-system", "system")]
)
def test_each_level_of_tests_sets_up_and_runs_its_marks(target, marks):
    commands = commands_of(target)
    assert f'-m "{marks}"' in commands
    assert commands.index("requirements/test.lock") < commands.index("-m pytest")


def test_the_parts_of_make_test_are_all_tests():
    parts = re.search(r"for part in (.*); do", commands_of("test"))[1].replace('"', "").split()
    there = {f"tests/{path.relative_to(ROOT / 'tests').parts[0]}" for path in (ROOT / "tests").rglob("test_*.py")}
    assert there <= set(parts)
    assert sorted(set(parts)) == sorted(parts)


def test_only_make_setup_cuda_installs_the_libraries_of_gpus():
    assert "requirements/cuda.lock" in commands_of("setup-cuda")
    assert all("cuda.lock" not in commands_of(target) for target in ("demo", "test"))


def test_a_second_call_sets_nothing_up(checkout):
    mark_as_set_up(checkout)
    assert run_make("--question", "setup-test", folder=checkout).returncode == 0


@pytest.mark.parametrize("changed", ["requirements.lock", "requirements/test.lock", "setup.py"])
def test_a_changed_lock_or_setup_py_sets_up_again(checkout, changed):
    mark_as_set_up(checkout)
    with open(checkout / changed, "a", encoding="utf-8") as file:
        file.write("# changed\n")
    assert run_make("--question", "setup-test", folder=checkout).returncode == 1


def test_without_python_3_11_set_up_stops_with_one_clear_line(checkout):
    programs = checkout / "programs"
    programs.mkdir()
    for name in ("python3.11", "python3"):
        (programs / name).write_text("#!/bin/sh\nexit 1\n")
        (programs / name).chmod(0o755)
    done = run_make("setup", folder=checkout, path=programs)
    assert done.returncode == 2
    assert done.stderr.splitlines()[0].startswith("Error: Python 3.11 is needed")
    assert not (checkout / ".venv").exists()


def test_set_up_does_not_touch_a_folder_that_is_not_a_virtual_environment(checkout):
    (checkout / ".venv").mkdir()
    (checkout / ".venv" / "precious.txt").touch()
    done = run_make("setup", folder=checkout)
    assert done.returncode == 2
    assert done.stderr.startswith("Error: .venv exists but")
    assert (checkout / ".venv" / "precious.txt").exists()


def test_files_that_are_not_modules_are_packaged(tmp_path):
    """Built, since what `package_data` leaves out is missing only once the package is installed."""
    shutil.copytree(ROOT / "vim_tf", tmp_path / "vim_tf", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.py", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    build = [sys.executable, "setup.py", "--quiet", "build_py", "--build-lib", "built"]
    subprocess.run(build, cwd=tmp_path, check=True, capture_output=True, timeout=120)

    def files(folder):
        return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}

    assert files(tmp_path / "built" / "vim_tf") == files(tmp_path / "vim_tf")
