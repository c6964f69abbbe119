"""Bazel targets of pytest files."""

load("@rules_python//python:defs.bzl", "py_test")

# How long the files of a folder may take; the rest are medium, that is, 5 minutes.
_SIZES = {
    "beam": "large",
    "benchmarks": "large",
    "evaluation": "large",
    "pipelines": "enormous",
    "stages": "large",
}

# A pipeline needs the memory of several trainings.
_TAGS = {"pipelines": ["exclusive"]}

def python_tests(files, runner, deps):
    """One py_test for each file, named after it.

    Args:
      files: paths of the tests, below tests/.
      runner: path of the program that runs pytest on a file.
      deps: labels that every test needs.
    """
    for path in files:
        folder = path.split("/")[1]
        py_test(
            name = path[:-len(".py")],
            size = _SIZES.get(folder, "large" if folder.endswith(".py") else "medium"),
            srcs = [
                path,
                runner,
            ],
            args = [path],
            main = runner,
            tags = _TAGS.get(folder, []),
            deps = deps,
        )
