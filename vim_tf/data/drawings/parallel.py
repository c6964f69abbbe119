"""Calls functions in worker processes that load no TensorFlow.

multiprocessing would either fork a process with TensorFlow's threads, or import the user's main module again. So each
worker runs this module as a program: `python -m vim_tf.data.drawings.parallel`. It reads pickled calls from standard
input and writes pickled answers to standard output.
"""

import concurrent.futures
import os
import pathlib
import pickle
import queue
import signal
import subprocess
import sys

_ROOT = str(pathlib.Path(__file__).parents[3])


def call_all(function, arguments, workers=None):
    """Yields function(*each) for each of `arguments`, in order.

    Args:
        function: a function at the top of a module; its package must load no TensorFlow.
        arguments: list of tuples.
        workers: int, number of processes; None = one for each CPU available to this process.

    Raises:
        Exception: what the function raised.
    """
    count = min(workers or len(os.sched_getaffinity(0)), len(arguments))
    started = [_start() for _ in range(count)]
    free = queue.SimpleQueue()
    for worker in started:
        free.put(worker)

    def call(each):
        worker = free.get()
        try:
            return _ask(worker, function, each)
        finally:
            free.put(worker)

    pool = concurrent.futures.ThreadPoolExecutor(max(count, 1))
    try:
        yield from pool.map(call, arguments)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for worker in started:
            worker.kill()
        pool.shutdown()
        for worker in started:
            worker.communicate()


def _start():
    # The same search path as this process, regardless of where it was started.
    paths = os.pathsep.join([_ROOT, *filter(None, sys.path)])
    return subprocess.Popen(
        [sys.executable, "-m", "vim_tf.data.drawings.parallel"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": paths},
    )


def _ask(worker, function, arguments):
    try:
        pickle.dump((function, arguments), worker.stdin)
        worker.stdin.flush()
        is_answer, value = pickle.load(worker.stdout)
    except (EOFError, OSError, pickle.UnpicklingError) as error:
        raise RuntimeError(f"a drawing process ended before it answered, with status {worker.wait()}") from error
    if not is_answer:
        raise value
    return value


def _serve():
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that asks ends this one
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a library prints isn't an answer
    while True:
        try:
            function, arguments = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        try:
            answer = (True, function(*arguments))
        except Exception as error:
            answer = (False, error)
        pickle.dump(answer, answers)
        answers.flush()


if __name__ == "__main__":
    _serve()
