"""Times processes that take turns on one machine. Standard library only, since PyTorch's process reads it too."""

import dataclasses
import json
import os
import statistics
import subprocess
import sys
import time


@dataclasses.dataclass(frozen=True)
class Round:
    """A few calls of one operation, one after the other.

    Attributes:
        wall: float, seconds per call, median.
        cpu: float, seconds of processor time per call over all threads, median.
        foreign: float in [0, 1], share of the machine's processors that other processes used meanwhile.
    """

    wall: float
    cpu: float
    foreign: float


@dataclasses.dataclass(frozen=True)
class Ratio:
    """How many times as long as another an operation takes, over rounds in which they took turns."""

    median: float
    smallest: float
    largest: float

    def __str__(self):
        return f"{self.median:.2f} ({self.smallest:.2f} to {self.largest:.2f})"


def median(rounds, attribute="wall"):
    """Median over rounds of `wall`, `cpu` or `foreign`."""
    return statistics.median(getattr(each, attribute) for each in rounds)


def ratio(numerators, denominators, attribute="wall"):
    """Ratio of two operations, taken round by round, since what disturbs a round disturbs both."""
    quotients = [
        getattr(one, attribute) / getattr(other, attribute) for one, other in zip(numerators, denominators, strict=True)
    ]
    return Ratio(statistics.median(quotients), min(quotients), max(quotients))


def serve(operations, facts):
    """Runs operations as standard input asks for them, until it ends. Called by the process that is measured.

    Args:
        operations: dict from name to function without arguments; it returns when its work is done.
        facts: dict that JSON can hold, sent once at the beginning.
    """
    # What libraries print to standard output must not get between the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    print(json.dumps(facts), file=answers, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        measured = measure(operations[request["operation"]], request["calls"])
        print(json.dumps(dataclasses.asdict(measured)), file=answers, flush=True)


def measure(operation, calls):
    """One Round of an operation; a first call, which fills the caches, is not counted."""
    operation()
    wall, cpu = [], []
    busy, begin, own = busy_seconds(), time.perf_counter(), time.process_time()
    for _ in range(calls):
        wall_before, cpu_before = time.perf_counter(), time.process_time()
        operation()
        wall.append(time.perf_counter() - wall_before)
        cpu.append(time.process_time() - cpu_before)
    others = busy_seconds() - busy - (time.process_time() - own)
    capacity = (time.perf_counter() - begin) * os.cpu_count()
    return Round(statistics.median(wall), statistics.median(cpu), max(0.0, others / capacity))


def busy_seconds():
    """Total processor time that the machine has spent so far: float, seconds. Linux only."""
    with open("/proc/stat") as file:
        user, nice, system, _, _, interrupts, soft_interrupts, stolen = map(int, file.readline().split()[1:9])
    ticks = user + nice + system + interrupts + soft_interrupts + stolen
    return ticks / os.sysconf("SC_CLK_TCK")


class Worker:
    """A process that `serve`s; a context manager.

    Args:
        command: list of str.
        environment: dict of variables set in addition to this process's.

    Attributes:
        facts: what the process sent at the beginning.
    """

    def __init__(self, command, environment):
        self._command = command
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | environment,
        )
        self.facts = self._answer()

    def run(self, operation, calls):
        """A Round of an operation, measured in the process."""
        print(json.dumps({"operation": operation, "calls": calls}), file=self._process.stdin, flush=True)
        return Round(**self._answer())

    def _answer(self):
        line = self._process.stdout.readline()
        if not line:
            status = self._process.wait()
            raise RuntimeError(f"{' '.join(self._command)} exited with status {status} before it answered")
        return json.loads(line)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self._process.stdin.close()
        self._process.wait()


def take_turns(turns, calls, rounds, max_foreign, patience):
    """Rounds of operations of several processes, one after the other while the other processes wait.

    A turn disturbed by other programs is repeated with all its operations, at most `patience` times.

    Args:
        turns: dict from a name to (Worker, name of its operation).
        calls: int, measured calls of an operation in a round.
        rounds: int.
        max_foreign: float in [0, 1], share of the machine that other programs may take in a round that counts.
        patience: int, disturbed rounds to repeat.

    Returns:
        dict from the turn's name to its list of Rounds, and the number of disturbed rounds among them.
    """
    results, disturbed = {name: [] for name in turns}, 0
    while len(next(iter(results.values()))) < rounds:
        measured = {name: worker.run(operation, calls) for name, (worker, operation) in turns.items()}
        if max(each.foreign for each in measured.values()) > max_foreign:
            if patience > 0:
                patience -= 1
                continue
            disturbed += 1
        for name, each in measured.items():
            results[name].append(each)
    return results, disturbed
