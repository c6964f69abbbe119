"""A Trainer's work, run by test_run_fns.py in several processes: `python multi_worker_run_fn.py EXAMPLES FOLDER`.

TF_CONFIG says which worker the process is. Each gets its own artifacts, which shows who writes them.
"""

import json
import os
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
STEPS = 3


def fn_args(examples, folder, strategy, artifacts, base_model=None):
    """What TFX would pass for the tiny tokenizer; `artifacts` is the folder of the outputs."""
    from tfx.components.trainer.fn_args_utils import FnArgs

    from tests.testing import replace, tokenizer_config
    from vim_tf import config as configs

    # The Trainer sets the steps.
    config = replace(tokenizer_config("pipeline", total_steps=1), strategy=strategy)
    return FnArgs(
        train_files=[f"{examples}/Split-train/*"],
        serving_model_dir=f"{artifacts}/model/Format-Serving",
        model_run_dir=f"{artifacts}/model_run",
        train_steps=STEPS,
        base_model=base_model,
        custom_config={
            "config": configs.to_dict(config),
            "training_folder": f"{folder}/training",
            "code_version": "1",
            "files": "",
        },
    )


def main():
    sys.path.insert(0, str(ROOT))
    from vim_tf.cli import terminal

    terminal.quiet_libraries()
    examples, folder = sys.argv[1:]
    index = json.loads(os.environ["TF_CONFIG"])["task"]["index"]
    from pipelines import run_fns

    run_fns.train_tokenizer(fn_args(examples, folder, "multi_worker", f"{folder}/worker{index}"))


if __name__ == "__main__":
    main()
