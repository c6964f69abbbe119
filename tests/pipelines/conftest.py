"""What the tests of whole runs share."""

import sys

import pytest

from tests.pipelines import chain as chains


@pytest.fixture(scope="module")
def chain(tmp_path_factory):
    """The tiny pipeline, run once into the folder `pushed`."""
    arguments = sys.argv
    try:
        chain = chains.Chain(tmp_path_factory.mktemp("pipeline"))
        chain.first = chain.run("pushed")
        yield chain
    finally:
        sys.argv = arguments
