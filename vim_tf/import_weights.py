"""Imports weights of other projects: `python -m vim_tf.import_weights --format=F --checkpoint=C --output=D`."""

import os

from vim_tf import config as configs
from vim_tf.cli import flags


def run(config):
    """Writes another project's tokenizer as a trained stage of ours, or a frozen network's weights as one file.

    Args:
        config: ImportWeightsCommand.

    Raises:
        InputError: the file can't be read safely or holds another model, or the output isn't empty.
    """
    if config.format == "lpips":
        from vim_tf.interop import lpips

        lpips.convert(config.checkpoint, config.heads, config.output)
        print(f"LPIPS weights, for --losses.perceptual_weights_file: {config.output}")
    elif config.format == "squeezenet":
        from vim_tf.interop import squeezenet

        squeezenet.convert(config.checkpoint, config.output)
        print(
            "SqueezeNet weights, for --losses.perceptual_weights_file and --evaluation.feature_network_path: "
            f"{config.output}"
        )
    elif config.format == "efficientnet_lite0":
        from vim_tf.interop import efficientnet

        efficientnet.convert(config.checkpoint, config.output)
        print(f"EfficientNet-Lite0 weights, for --evaluation.feature_network_path: {config.output}")
    else:
        _import_tokenizer(config)


def _import_tokenizer(config):
    import tensorflow as tf

    from vim_tf.errors import InputError
    from vim_tf.interop import conversion, enhancing_transformers, taming_transformers, torch_files
    from vim_tf.models.tokenizer import build_tokenizer
    from vim_tf.stages import saved
    from vim_tf.storage.files import check_writable

    if tf.io.gfile.exists(config.output) and (
        not tf.io.gfile.isdir(config.output) or tf.io.gfile.listdir(config.output)
    ):
        raise InputError(f"--output={config.output} already exists: choose a new folder")
    tensors = torch_files.read_state_dict(config.checkpoint)
    check_writable(os.path.dirname(config.output.rstrip("/")) or ".")
    if config.format == "enhancing_transformers":
        imported = enhancing_transformers.import_tokenizer(tensors)
    else:
        imported = taming_transformers.import_tokenizer(tensors, config.height, config.width)
    tokenizer = build_tokenizer(imported.model)
    conversion.assign(tokenizer, imported.weights)
    train_config = configs.TokenizerTrainConfig(workdir=config.output, model=imported.model, losses=imported.losses)
    saved.save_stage(tokenizer, train_config, config.output)
    if imported.left_out:
        print(f"Left out: {len(imported.left_out)} tensors of the losses (loss.*), which only training needs")
    model = imported.model
    print(
        f"Tokenizer for images of {model.height} x {model.width} pixels with {model.quantizer.codebook_size} codes of "
        f"{model.quantizer.codebook_dim} dimensions: {config.output}"
    )


def main():
    """Runs the command."""
    flags.main(run, lambda argv: configs.ImportWeightsCommand, "Imports weights trained by another project.")


if __name__ == "__main__":
    main()
