"""A training that test_multi_worker.py runs in several processes: `python multi_worker_training.py WORKDIR [STEP]`.

TF_CONFIG says which worker the process is. At STEP the last worker sends itself SIGTERM.
"""

import os
import pathlib
import signal
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]


def config(workdir, strategy):
    """Six steps of the tiny tokenizer, with all that depends on the whole batch: restarts, clipping, an average."""
    from tests.testing import replace, tokenizer_config

    tiny = tokenizer_config(
        workdir, total_steps=6, log_every_steps=1, validate_every_steps=3, checkpoint_every_steps=100, ema_decay=0.5
    )
    return replace(tiny, strategy=strategy, optimizer={"clip_norm": 0.05})


def terminate_last_worker(step):
    """Makes the worker that isn't the chief send itself SIGTERM at a step."""
    import json

    from vim_tf.training.recorder import Recorder

    on_step = Recorder.on_step

    def signalling(self, now, logs):
        on_step(self, now, logs)
        if now == step:
            os.kill(os.getpid(), signal.SIGTERM)

    if json.loads(os.environ["TF_CONFIG"])["task"]["index"] > 0:
        Recorder.on_step = signalling


def main():
    sys.path.insert(0, str(ROOT))
    from vim_tf import train
    from vim_tf.cli import terminal

    terminal.quiet_libraries()
    workdir, *step = sys.argv[1:]
    if step:
        terminate_last_worker(int(step[0]))
    train.run(config(workdir, "multi_worker"))


if __name__ == "__main__":
    main()
