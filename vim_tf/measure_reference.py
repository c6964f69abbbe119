"""Measures real images on any Beam runner: `python -m vim_tf.measure_reference --data.source=S --output=F.npz`.

`vim_tf.evaluate` measures its reference by itself, in one process; this is for sets too large for one machine, such as
ImageNet's training split. Give its file to `vim_tf.evaluate --reference=F.npz`.
"""

import os

from vim_tf import config as configs
from vim_tf.cli import flags
from vim_tf.errors import InputError


def run(config):
    """Writes the statistics of a split.

    Args:
        config: MeasureReferenceCommand.

    Returns:
        int, number of images.

    Raises:
        InputError: unusable images, feature network or Beam flags.
    """
    import numpy as np
    import tensorflow as tf

    from vim_tf.beam import features, jobs
    from vim_tf.data.sources import plan_shards
    from vim_tf.evaluation import conditions
    from vim_tf.evaluation.feature_networks import load_feature_network
    from vim_tf.storage import npz
    from vim_tf.storage.files import check_writable

    if tf.io.gfile.isdir(config.output):
        raise InputError(f"--output={config.output} is a folder: give a file name, such as reference.npz")
    check_writable(os.path.dirname(config.output) or ".")
    plan = plan_shards(config.data, (config.split,), config.height, config.width, config.num_shards)
    options = jobs.parse_options(config.beam_args, len(plan.shards))
    section = config.evaluation
    settings = features.FeatureSettings(
        section.feature_network,
        section.feature_network_path,
        config.height,
        config.width,
        section.batch_size,
        section.kept_features,
        section.seed,
        config.data.max_pixels,
    )
    # Loaded here too, so that a mistake is reported at once, and not by every worker.
    network = load_feature_network(settings.kind, settings.place)
    network.activations(np.zeros([1, config.height, config.width, 3], np.uint8))
    facts = conditions.images_of(config.data.name or config.data.source, config.split, config.height, config.width)
    pipeline = jobs.make_pipeline(options)
    limit = config.data.max_unreadable_fraction
    features.measure(pipeline, plan, settings, config.output, facts, limit)
    jobs.run(pipeline)
    folder = features.work_folder(config.output)
    jobs.check_finished(folder, ())
    tf.io.gfile.rmtree(folder)
    count = int(npz.read(config.output)["num_images"])
    print(f"{config.split}: statistics of {count} images in {config.output}", flush=True)
    return count


def main():
    """Runs the command."""
    flags.main(
        run,
        lambda argv: configs.MeasureReferenceCommand,
        "Measures real images through a feature network, on any Beam runner.",
    )


if __name__ == "__main__":
    main()
