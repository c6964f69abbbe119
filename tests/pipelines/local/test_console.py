"""The runner's output."""

import logging

from pipelines.local import console


def test_warnings_are_shown_except_those_of_every_run():
    def record(message):
        return logging.LogRecord("absl", logging.WARNING, "launcher.py", 1, message, (), None)

    assert console._is_shown(record("something is wrong"))
    assert not console._is_shown(record(console.HARMLESS[0]))


def test_the_metric_table_is_aligned_and_says_what_is_not_finite():
    assert console.metric_table({"b/long": 0.5, "a/b": None}) == ["  a/b     not finite", "  b/long  0.5"]
