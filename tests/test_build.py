"""What the globs of BUILD can't guarantee, and a build with Bazel if it is installed."""

import ast
import os
import pathlib
import re
import shutil
import subprocess
import sys
import types

import pytest

import vim_tf

ROOT = pathlib.Path(__file__).resolve().parents[1]
BUILD = (ROOT / "BUILD").read_text(encoding="utf-8")
# Rules that Bazel 4 has built in and Debian packages separately.
DEBIAN_RULES = {
    "rules_java": "/usr/share/bazel/rules/java",
    "rules_proto": "/usr/share/bazel/rules/proto",
    "platforms": "/usr/share/bazel/tools/platforms",
    "bazel_skylib": "/usr/share/bazel/tools/skylib",
}
DEBIAN_PACKAGES = "bazel-bootstrap bazel-rules-java bazel-rules-proto bazel-platforms bazel-skylib"
CC_RULES = (
    "cc_binary",
    "cc_import",
    "cc_library",
    "cc_test",
    "cc_toolchain",
    "cc_toolchain_suite",
    "objc_library",
)


def native(*rules):
    """A .bzl file that loads Bazel's own rules."""
    return "\n".join(f"{rule} = native.{rule}" for rule in rules)


# Repositories that Bazel reads but this build doesn't need: {name: {file: content}}.
STAND_INS = {
    "rules_python": {"python/defs.bzl": native("py_binary", "py_library", "py_test"), "python/BUILD": ""},
    "rules_cc": {"cc/defs.bzl": native(*CC_RULES), "cc/BUILD": ""},
    "remote_coverage_tools": {
        "BUILD": """
package(default_visibility = ["//visibility:public"])
filegroup(name = "coverage_report_generator")
filegroup(name = "lcov_merger")
"""
    },
}


def literal(name):
    """The value that BUILD gives a name."""
    for statement in ast.parse(BUILD).body:
        if isinstance(statement, ast.Assign) and statement.targets[0].id == name:
            return ast.literal_eval(statement.value)
    raise AssertionError(f"BUILD has no {name}")


def imported_packages(package):
    """Packages of vim_tf that the modules of a package import."""
    found = set()
    for path in (ROOT / "vim_tf" / package).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module == "vim_tf":
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module.startswith("vim_tf."):
                found.add(node.module.split(".")[1])
    return {name for name in found if (ROOT / "vim_tf" / name).is_dir()} - {package}


def test_every_package_is_a_library_that_depends_on_what_it_imports():
    packages = {path.parent.name for path in (ROOT / "vim_tf").glob("*/__init__.py")}
    assert {name: set(others) for name, others in literal("PACKAGES").items()} == {
        package: imported_packages(package) for package in packages
    }


def test_a_package_comes_after_those_that_it_imports():
    seen = set()
    for package, imported in literal("PACKAGES").items():
        assert set(imported) <= seen
        seen.add(package)


def test_every_command_of_the_pipelines_is_a_binary():
    commands = {
        path.stem for path in (ROOT / "pipelines").glob("*.py") if '\nif __name__ == "__main__":' in path.read_text()
    }
    (listed,) = re.findall(r"\) for command in \[\n(.*?)\]\]", BUILD, re.DOTALL)
    assert set(re.findall(r'"(\w+)"', listed)) == commands


def test_every_module_next_to_the_packages_is_a_command():
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "vim_tf").glob("*.py")}
    for path in modules - set(literal("BOTTOM")):
        assert '\nif __name__ == "__main__":' in (ROOT / path).read_text(encoding="utf-8"), path


def test_the_module_has_the_version_of_the_package():
    assert f'version = "{vim_tf.__version__}"' in (ROOT / "MODULE.bazel").read_text(encoding="utf-8")


@pytest.fixture
def bazel(tmp_path):
    """A copy of the checkout, and a function that builds in it without the network."""
    if not shutil.which("bazel") or not all(os.path.isdir(folder) for folder in DEBIAN_RULES.values()):
        pytest.skip(f"needs Bazel 4 as Debian packages it: apt install {DEBIAN_PACKAGES}")
    checkout, home = tmp_path / "checkout", tmp_path / "bazel"
    left_out = shutil.ignore_patterns(".*", "runs", "build", "data", "__pycache__", "bazel-*")
    shutil.copytree(
        ROOT, checkout, ignore=lambda folder, names: left_out(folder, names) if folder == str(ROOT) else ["__pycache__"]
    )
    (checkout / "WORKSPACE").write_text('workspace(name = "vim_tf")\n')
    repositories = dict(DEBIAN_RULES)
    for name, files in STAND_INS.items():
        repositories[name] = str(tmp_path / name)
        for path, content in {"WORKSPACE": "", "BUILD": "", **files}.items():
            (tmp_path / name / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name / path).write_text(content + "\n")
    startup = [f"--output_user_root={home}", "--batch"]
    overrides = [f"--override_repository={name}={folder}" for name, folder in repositories.items()]

    def build(*arguments):
        return subprocess.run(
            ["bazel", *startup, "build", *overrides, "--color=no", "--curses=no", *arguments],
            cwd=checkout,
            capture_output=True,
            text=True,
            timeout=600,
        )

    yield types.SimpleNamespace(checkout=checkout, build=build)
    # Bazel makes its folders read-only.
    subprocess.run(["chmod", "-R", "u+w", home], check=True)


@pytest.mark.system
def test_bazel_builds_every_target_and_a_command_runs(bazel):
    # Without links to the 100,000 files that tests may read.
    built = bazel.build("//...", "--nobuild_runfile_links")
    assert built.returncode == 0, built.stderr
    tests = list((ROOT / "tests").rglob("test_*.py"))
    assert int(re.search(r"Found (\d+) targets", built.stderr).group(1)) > len(tests)
    # Its runfiles are the files of the target's libraries, and no others.
    assert bazel.build("//:train").returncode == 0
    path = f"{os.path.dirname(sys.executable)}{os.pathsep}{os.environ['PATH']}"
    environment = {"PATH": path, "HOME": os.environ.get("HOME", "/")}
    program = bazel.checkout / "bazel-bin/train"
    shown = subprocess.run([program, "--help"], env=environment, capture_output=True, text=True, timeout=300)
    assert shown.returncode == 0, shown.stderr
    assert "--training.total_steps=" in shown.stdout
