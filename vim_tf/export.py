"""Exports trained stages: `python -m vim_tf.export --tokenizer=D --language_model=D2 --output=E`."""

from vim_tf import config as configs
from vim_tf.cli import flags


def run(config):
    """Writes `<output>/<version>/`, a SavedModel, and `<output>/hub.tar.gz`, the same as a TF Hub archive.

    Args:
        config: ExportCommand.

    Returns:
        str, the SavedModel's folder.

    Raises:
        InputError: a stage is missing, or the two don't match.
    """
    from vim_tf.serving import hub, saved_model
    from vim_tf.storage.files import check_place

    check_place(config.output, names=("hub.tar.gz",))
    folder = f"{config.output}/{saved_model.next_version(config.output)}"
    saved_model.export(
        folder, config.tokenizer, config.language_model, config.sampling_batch_size, max_pixels=config.max_pixels
    )
    hub.write_archive(folder, f"{config.output}/hub.tar.gz")
    print(f"SavedModel: {folder}\nTF Hub archive: {config.output}/hub.tar.gz")
    return folder


def main():
    """Runs the command."""
    flags.main(run, lambda argv: configs.ExportCommand, "Exports trained stages as a SavedModel and a TF Hub archive.")


if __name__ == "__main__":
    main()
