"""Trains one stage: `python -m vim_tf.train --flagfile=configs/digits/tokenizer.flags --workdir=D`."""

from vim_tf import config as configs
from vim_tf.cli import flags


def run(config):
    """Trains a stage to its last step, resuming from the workdir's latest checkpoint.

    Args:
        config: TokenizerTrainConfig, PaletteTrainConfig, LanguageModelTrainConfig or LinearProbeTrainConfig.

    Returns:
        dict from metric name to float, the last recorded values.

    Raises:
        InputError: unusable data, tokens or workdir.
        FloatingPointError: a metric became NaN or infinite.
    """
    # TensorFlow takes seconds to import, which a mistyped flag should not cost.
    from vim_tf.stages import training

    return training.run(config)


def main():
    """Runs the command."""

    def select(argv):
        return configs.TRAIN_CONFIGS[flags.choose("task", configs.TRAIN_CONFIGS, "tokenizer", argv)]

    flags.main(run, select, "Trains one stage of vim_tf; --task=<stage> --help shows another stage's flags.")


if __name__ == "__main__":
    main()
