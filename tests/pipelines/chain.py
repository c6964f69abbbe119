"""A pipeline small enough for tests: 8 px images of two classes, a few steps of training."""

import contextlib
import dataclasses
import io
import os

import numpy as np
import PIL.Image

from pipelines import local_runner
from vim_tf import config as configs
from vim_tf.cli import flags

# In execution order.
COMPONENTS = [
    "ImageExampleGen",
    "StatisticsGen",
    "SchemaGen",
    "ExampleValidator",
    "AnomalyCheck",
    "TokenizerTrainer",
    "TokenMaterializer",
    "LanguageModelTrainer",
    "ServingCheck",
    "BaselineResolver",
    "GenerativeEvaluator",
    "Pusher",
    "HubPusher",
]
TOTAL_STEPS = 8
CHECKPOINT_EVERY_STEPS = 4

TOKENIZER_FLAGS = f"""
--task=tokenizer
--model.height=8
--model.width=8
--model.patch_size=4
--model.encoder.num_layers=1
--model.encoder.num_heads=2
--model.encoder.hidden_dim=16
--model.encoder.mlp_dim=16
--model.decoder.num_layers=1
--model.decoder.num_heads=2
--model.decoder.hidden_dim=16
--model.decoder.mlp_dim=16
--model.quantizer.codebook_size=16
--model.quantizer.codebook_dim=4
--losses.adversarial_weight=0
--losses.perceptual_weight=0
--optimizer.warmup_steps=1
--training.total_steps={TOTAL_STEPS}
--training.batch_size=8
--training.log_every_steps=4
--training.validate_every_steps=0
--training.checkpoint_every_steps={CHECKPOINT_EVERY_STEPS}
"""
LANGUAGE_MODEL_FLAGS = f"""
--task=language_model
--model.num_layers=1
--model.num_heads=2
--model.hidden_dim=16
--model.mlp_dim=16
--optimizer.warmup_steps=1
--optimizer.decay_start_step=0
--training.total_steps={TOTAL_STEPS}
--training.batch_size=8
--training.log_every_steps=4
--training.validate_every_steps=0
--training.keep_best_metric=
--training.checkpoint_every_steps={CHECKPOINT_EVERY_STEPS}
"""
PIPELINE_FLAGS = """
--name=tiny
--evaluation.samples_per_label=4
--evaluation.feature_steps=4
--evaluation.batch_size=8
--sampling.batch_size=8
--sampling.jit_compile=false
--export_sampling_batch_size=2
--num_shards=2
"""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The result of a run of the pipeline.

    Attributes:
        status: exit status as the command would leave with.
        output, errors: str, what was printed.
    """

    status: int
    output: str
    errors: str


class Chain:
    """Images and flagfiles in a folder, and runs of the pipeline on them in this process."""

    def __init__(self, folder):
        self.folder = str(folder)
        self.source = f"folder:{self.folder}/images/{{split}}"
        write_images(f"{self.folder}/images/train", 12, seed=0)
        write_images(f"{self.folder}/images/validation", 6, seed=1)
        for name, text in (
            ("tokenizer", TOKENIZER_FLAGS),
            ("language_model", LANGUAGE_MODEL_FLAGS),
            ("pipeline", PIPELINE_FLAGS),
        ):
            with open(f"{self.folder}/{name}.flags", "w") as file:
                file.write(text)

    def output(self, name):
        """Output folder of that name."""
        return f"{self.folder}/{name}"

    @classmethod
    def of(cls, folder):
        """The chain of a folder that has its images and flagfiles already."""
        chain = cls.__new__(cls)
        chain.folder = str(folder)
        chain.source = f"folder:{chain.folder}/images/{{split}}"
        return chain

    def arguments(self, output, *more_flags):
        """Command line of a run; `output` is a name."""
        return [
            f"--flagfile={self.folder}/pipeline.flags",
            f"--output={self.output(output)}",
            f"--data.source={self.source}",
            f"--tokenizer_flagfile={self.folder}/tokenizer.flags",
            f"--language_model_flagfile={self.folder}/language_model.flags",
            *more_flags,
        ]

    def run(self, output, *more_flags):
        """Runs the pipeline; `output` is a name."""
        status, out, err = 0, io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                local_runner.run(flags.parse(configs.PipelineConfig, self.arguments(output, *more_flags)))
            except SystemExit as stop:
                status = stop.code
        return Outcome(status, out.getvalue(), err.getvalue())


def write_images(folder, num_per_class, seed):
    """PNG files of noise, dark in class `dark` and light in class `light`."""
    random = np.random.default_rng(seed)
    for name, low in (("dark", 0), ("light", 128)):
        os.makedirs(f"{folder}/{name}")
        for index in range(num_per_class):
            pixels = random.integers(low, low + 128, (8, 8, 3), dtype=np.uint8)
            PIL.Image.fromarray(pixels).save(f"{folder}/{name}/{index}.png")


def execution_states(output):
    """States of all executions in a pipeline's metadata store.

    Returns:
        dict from component id to the list of its executions' states, oldest first.
    """
    from ml_metadata.metadata_store import metadata_store
    from ml_metadata.proto import metadata_store_pb2

    connection = metadata_store_pb2.ConnectionConfig()
    connection.sqlite.filename_uri = os.path.join(output, "metadata", "metadata.sqlite")
    store = metadata_store.MetadataStore(connection)
    states = {}
    for node in store.get_contexts_by_type("node"):
        executions = sorted(store.get_executions_by_context(node.id), key=lambda execution: execution.id)
        names = [metadata_store_pb2.Execution.State.Name(each.last_known_state) for each in executions]
        states[node.name.rpartition(".")[2]] = names
    return states
