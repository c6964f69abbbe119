"""Compares linear probes of VIM and image GPT on the same images: `python -m benchmarks.linear_probe --tokenizer=D`.

Both have the same language model, trained alike: VIM on the tokens of the given image tokenizer, image GPT on those of
palette tokenizers. What is already trained isn't trained again, so a second call resumes where the first was stopped.
The page is `<output>/linear_probe.md`, with `linear_probe.png` next to it.
"""

import dataclasses
import os
import sys
import time

from vim_tf import config as configs
from vim_tf.cli import flags
from vim_tf.config.fields import check, check_given, check_not_negative, check_positive, setting

_CONFIGS = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "configs/digits")
VIM = "VIM"
_BITS = "language_model/validation_bits_per_token"


@dataclasses.dataclass(frozen=True)
class LinearProbeBenchmarkConfig:
    """`benchmarks.linear_probe`: what to compare and where the results go."""

    tokenizer: str = setting("", "trained image tokenizer: workdir or exported model")
    language_model: str = setting(
        "",
        "language model trained on its tokens, whose config image GPT's also use; empty = train unconditional ones, "
        "like the paper's, from language_model_flagfile for both",
    )
    data: configs.DataConfig = setting(configs.DataConfig(), "labelled images")
    grids: tuple[int, ...] = setting((4, 8), "image GPT: sides of the small images whose pixels are tokens")
    codebook_size: int = setting(512, "image GPT: colours of the palette")
    language_model_flagfile: str = setting(f"{_CONFIGS}/language_model.flags", "flags of the language models")
    linear_probe_flagfile: str = setting(f"{_CONFIGS}/linear_probe.flags", "flags of the probes")
    language_model_steps: int = setting(0, "training steps of the language models; 0 = those of their config")
    probe_steps: int = setting(0, "training steps of the probes; 0 = those of their flags")
    use_best: bool = setting(False, "probe the language models' best validation (<workdir>/best), not their last step")
    workdir: str = setting("runs/linear_probe", "folder of the trained stages")
    output: str = setting("docs/results", "folder for linear_probe.md and linear_probe.png")

    def __post_init__(self):
        check_given(self, "tokenizer", "grids", "workdir", "output")
        check(min(self.grids) > 0, "--grids must be positive numbers")
        check_positive(self, "codebook_size")
        check_not_negative(self, "language_model_steps", "probe_steps")
        check(
            not (self.language_model and self.language_model_steps),
            "--language_model_steps would train image GPT differently from --language_model: leave out one of them",
        )


@dataclasses.dataclass(frozen=True)
class Row:
    """One tokenizer with its language model.

    Attributes:
        result: EvaluationResult of its probe.
        tokenizer: str, task that trained it: tokenizer or palette.
        num_tokens: of an image.
        model: LanguageModelTrainConfig.
        num_parameters: of the language model.
        bits_per_token: of the validation split at the last step, or None if it wasn't recorded.
    """

    result: object
    tokenizer: str
    num_tokens: int
    model: configs.LanguageModelTrainConfig
    num_parameters: int
    bits_per_token: float | None


def palette_name(side):
    """Name of the row of a palette with side x side tokens."""
    return f"iGPT {side} x {side}"


def run(config):
    """Trains what isn't trained yet, probes it and writes the page.

    Args:
        config: LinearProbeBenchmarkConfig.

    Returns:
        dict from a row's name to its Row.
    """
    from benchmarks.pages import linear_probe as linear_probe_page
    from vim_tf.stages import saved

    begin = time.monotonic()
    image_tokenizer = saved.load_tokenizer(config.tokenizer)
    size = image_tokenizer.height, image_tokenizer.width
    rows = {VIM: _row(config, VIM, config.tokenizer, config.language_model)}
    for side in config.grids:
        name = palette_name(side)
        rows[name] = _row(config, name, _trained_palette(config, side, size), "")
    linear_probe_page.write(config.output, rows, time.monotonic() - begin)
    return rows


def folder_of(config, name):
    """The folder in which a row's stages are trained."""
    return f"{config.workdir}/{name.lower().replace(' ', '_')}"


def _trained_palette(config, side, size):
    """Path of a palette tokenizer with side x side tokens."""
    from vim_tf import train

    height, width = size
    palette = configs.PaletteTrainConfig(
        workdir=f"{folder_of(config, palette_name(side))}/tokenizer",
        data=config.data,
        model=configs.PaletteModelConfig(height, width, side, side, config.codebook_size),
    )
    train.run(palette)
    return palette.workdir


def _row(config, name, tokenizer, language_model):
    """Trains a row's language model, unless one is given, and its probe; returns its Row."""
    import keras

    from vim_tf import train
    from vim_tf.stages import probing, saved
    from vim_tf.training.recorder import read_records

    print(f"== {name}", file=sys.stderr, flush=True)
    if not language_model:
        model = language_model_config(config, name, tokenizer)
        _encode(config, tokenizer, model.tokens)
        train.run(model)
        language_model = model.workdir
        keras.utils.clear_session()
    bits = [record[_BITS] for record in read_records(f"{language_model}/metrics.jsonl") if _BITS in record]
    probed = f"{language_model}/best" if config.use_best else language_model
    result = probing.measure(probe_config(config, name, tokenizer, probed))
    loaded = saved.load_tokenizer(tokenizer)
    trained = saved.load_language_model(probed, loaded)
    row = Row(
        result=result,
        tokenizer=saved.load_config(tokenizer, "tokenizer").task,
        num_tokens=trained.num_tokens,
        model=saved.load_config(probed, "language_model"),
        num_parameters=trained.count_params(),
        bits_per_token=bits[-1] if bits else None,
    )
    keras.utils.clear_session()
    return row


def language_model_config(config, name, tokenizer):
    """The LanguageModelTrainConfig of a row: that of the given language model, or else of the flagfile.

    Args:
        config: LinearProbeBenchmarkConfig.
        name: str, of the row.
        tokenizer: str, its tokenizer.
    """
    folder = folder_of(config, name)
    paths = [f"--tokens={folder}/tokens", f"--workdir={folder}/language_model"]
    if config.language_model:
        from vim_tf.stages import saved

        given = saved.load_config(config.language_model, "language_model")
        model = dataclasses.replace(
            given,
            workdir=f"{folder}/language_model",
            tokens=f"{folder}/tokens",
            tokenizer="",
            initialize_from="",
            data=configs.DataConfig(source=""),
            model=dataclasses.replace(given.model, tokens=configs.TokenFacts()),
        )
    else:
        argv = [f"--flagfile={config.language_model_flagfile}", "--nomodel.class_conditional", *paths]
        model = flags.parse(configs.LanguageModelTrainConfig, argv)
    if config.language_model_steps:
        model = dataclasses.replace(
            model, training=dataclasses.replace(model.training, total_steps=config.language_model_steps)
        )
    return model


def probe_config(config, name, tokenizer, language_model):
    """The LinearProbeTrainConfig of a row; pixels are probed only once, in VIM's row."""
    argv = [f"--flagfile={config.linear_probe_flagfile}"] if config.linear_probe_flagfile else []
    argv += [
        f"--tokenizer={tokenizer}",
        f"--language_model={language_model}",
        f"--workdir={folder_of(config, name)}/{'probe_of_best' if config.use_best else 'probe'}",
        f"--probe.features={'pixels,' if name == VIM else ''}latents,blocks",
    ]
    if config.probe_steps:
        argv.append(f"--training.total_steps={config.probe_steps}")
    return dataclasses.replace(flags.parse(configs.LinearProbeTrainConfig, argv), data=config.data)


def _encode(config, tokenizer, tokens):
    """Writes the images' tokens, unless they exist."""
    import tensorflow as tf

    from vim_tf import encode_dataset
    from vim_tf.data.records.tokens import MANIFEST_NAME

    if not tf.io.gfile.exists(f"{tokens}/{MANIFEST_NAME}"):
        encode_dataset.run(configs.EncodeCommand(tokenizer=tokenizer, data=config.data, output=tokens))


def main():
    """Runs the command."""
    flags.main(run, lambda argv: LinearProbeBenchmarkConfig, "Compares linear probes of VIM and image GPT.")


if __name__ == "__main__":
    main()
