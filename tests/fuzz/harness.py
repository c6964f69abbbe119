"""Runs each worker of the fuzz test in its own process, so that a crash fails a test instead of ending all of them."""

import json
import os
import pathlib
import subprocess
import sys

from tests.fuzz import corpus, worker

ROOT = pathlib.Path(__file__).parents[2]
# Bytes that a batch may take over the sound files, of which each has a thousandth of the limit's pixels: some decoders
# at a time, each with several copies of the largest image, and what the allocator keeps.
MEMORY_LIMIT = 64 * 4 * worker.MAX_PIXELS


def run_batch(kind, folder, first, count, *arguments):
    """Outcomes of the files of some seeds.

    Args:
        kind: library or signatures.
        folder: path for what the process writes.
        first, count: int, the seeds.
        arguments: further ones of the worker.

    Returns:
        (dict from seed to outcome, bytes of memory that the files took over the controls').
    """
    output = folder / f"{kind}-{first}.jsonl"
    command = [sys.executable, "-m", "tests.fuzz.worker", kind, str(output), str(first), str(count), *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", cwd=ROOT, env=environment)
    lines = [json.loads(line) for line in output.read_text().splitlines()] if output.exists() else []
    outcomes = {line["seed"]: line["outcomes"] for line in lines if "outcomes" in line}
    if done.returncode:
        seed = first + len(outcomes)
        raise AssertionError(
            f"status {done.returncode} with file {seed}, {corpus.mutated(seed)[:2]}, after {len(lines)} lines: "
            f"{done.stderr[-3000:]}"
        )
    assert list(outcomes) == list(range(first, first + count))
    for seed, (once, again) in outcomes.items():
        assert once == again, f"two calls differ on file {seed}, {corpus.mutated(seed)[:2]}"
    for seed, (outcome, _) in outcomes.items():
        if "problem" in outcome:
            reason = outcome["problem"]
            assert reason.strip() and reason.isprintable(), f"{reason!r} of file {seed} is no reason in one line"
    return {seed: once for seed, (once, _) in outcomes.items()}, lines[-1]["peak"] - lines[0]["peak"]


def summary(outcomes):
    """One line of counts."""
    named = sum("problem" in outcome for outcome in outcomes.values())
    return f"{len(outcomes)} files: {named} named with a reason, {len(outcomes) - named} decoded"
