"""The main file of every Bazel test, since a pytest file runs nothing by itself. `make test` doesn't use it."""

import sys

import pytest

if __name__ == "__main__":
    sys.exit(pytest.main(["-p", "no:cacheprovider", *sys.argv[1:]]))
