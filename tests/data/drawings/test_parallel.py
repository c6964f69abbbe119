"""Calls in worker processes."""

import math
import operator
import os
import subprocess
import sys

import pytest

from vim_tf.data.drawings import parallel


def test_answers_come_in_the_order_of_the_arguments():
    assert list(parallel.call_all(operator.mul, [(number, 3) for number in range(50)])) == list(range(0, 150, 3))


def test_calls_run_in_other_processes_as_many_as_asked_for():
    first = set(parallel.call_all(os.getpid, [()] * 20, workers=1))
    second = set(parallel.call_all(os.getpid, [()] * 20, workers=2))
    assert len(first) == 1 and 1 <= len(second) <= 2
    assert os.getpid() not in first | second


def test_no_call_starts_no_process():
    assert list(parallel.call_all(os.getpid, [])) == []


def test_what_a_call_raises_is_raised_here():
    with pytest.raises(ValueError, match="math domain error"):
        list(parallel.call_all(math.sqrt, [(4.0,), (-1.0,)]))


def test_a_process_that_dies_is_named():
    with pytest.raises(RuntimeError, match="ended before it answered, with status 7"):
        list(parallel.call_all(os._exit, [(7,)]))


def test_what_a_call_prints_is_not_its_answer(capfd):
    assert list(parallel.call_all(print, [("hello",), ("there",)])) == [None, None]
    printed = capfd.readouterr()
    assert (printed.out, sorted(printed.err.split())) == ("", ["hello", "there"])


def test_it_works_in_a_program_that_has_no_main_module_to_import():
    program = "from vim_tf.data.drawings import parallel\nprint(*parallel.call_all(abs, [(-3,), (4,)]))"
    done = subprocess.run([sys.executable], input=program, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "3 4\n"


def test_workers_load_no_tensorflow():
    (loaded,) = parallel.call_all(eval, [("'tensorflow' in __import__('sys').modules",)])
    assert loaded is False


def test_drawing_loads_no_tensorflow():
    program = (
        "import sys\nfrom vim_tf.data.drawings import avatars, parallel\n"
        "avatars.draw('train', 0, 1, 8, 8)\nprint('tensorflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "False\n"
