"""What may import what, read from the source: nothing is imported here."""

import ast
import dataclasses
import functools
import graphlib
import pathlib

import pytest

from vim_tf import config as configs

ROOT = pathlib.Path(__file__).parents[1]
FILES = sorted([*ROOT.glob("vim_tf/**/*.py"), *ROOT.glob("pipelines/**/*.py")])
ENTRY_MODULES = (
    "train",
    "encode_dataset",
    "materialize",
    "measure_reference",
    "reconstruct",
    "sample",
    "complete",
    "evaluate",
    "export",
    "import_weights",
)

# Units from the bottom to the top: one may import what lies below it, and itself.
LEVELS = [
    [
        "vim_tf",
        "vim_tf.config",
        "vim_tf.errors",
        "vim_tf.cli.flagfiles",
        "vim_tf.ranges",
        "vim_tf.cli.terminal",
        "vim_tf.losses.tf_gan",
    ],
    ["vim_tf.losses", "vim_tf.models", "vim_tf.data"],
    ["vim_tf.stages.saved", "vim_tf.training", "vim_tf.sampling"],
    ["vim_tf.evaluation", "vim_tf.serving", "vim_tf.interop"],
    [
        "vim_tf.beam",
        "vim_tf.sampling.jobs",
        "vim_tf.stages",
        "vim_tf.stages.language_model",
        "vim_tf.stages.linear_probe",
        "vim_tf.stages.probing",
        "vim_tf.stages.palette",
        "vim_tf.cli.flags",
        *(f"vim_tf.{name}" for name in ENTRY_MODULES),
    ],
    ["pipelines"],
]
LEVEL = {unit: level for level, units in enumerate(LEVELS) for unit in units}
# What answers before TensorFlow is loaded: every command's help and mistyped flags.
LIGHT = [
    "vim_tf",
    *(f"vim_tf.{name}" for name in ("config", "errors", "flagfiles", "flags", "ranges", "terminal", *ENTRY_MODULES)),
]
LIGHT += [f"pipelines{name}" for name in ("", ".local_runner", ".kubeflow_runner", ".status", ".console")]
HEAVY = {"tensorflow", "keras", "tfx", "apache_beam", "numpy", "tensorflow_datasets", "matplotlib", "sklearn"}


def module_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in FILES}


def unit_of(module):
    parts = module.split(".")
    return parts[0] if parts[0] == "pipelines" else ".".join(parts[:2])


@functools.cache
def tree_of(module):
    return ast.parse(MODULES[module].read_text())


def nodes(tree, into_functions):
    for child in ast.iter_child_nodes(tree):
        yield child
        if into_functions or not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from nodes(child, into_functions)


def imports_of(module, inside_functions=True):
    """Names of the modules that a module imports; of `from vim_tf import config`, vim_tf.config."""
    names = set()
    for node in nodes(tree_of(module), inside_functions):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} uses a relative import, which these tests don't read"
            full = {f"{node.module}.{alias.name}" for alias in node.names}
            inner = full & set(MODULES)
            names |= inner | ({node.module} if full - inner else set())
    return names


def top(name):
    return name.split(".")[0]


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_one_way(module):
    unit = unit_of(module)
    assert unit in LEVEL, f"{unit} is new: give it a level in this test and in the contracts"
    own = {unit_of(name) for name in imports_of(module) if top(name) in ("vim_tf", "pipelines")}
    assert {other for other in own - {unit} if LEVEL[other] > LEVEL[unit]} == set()


def test_units_of_one_level_do_not_import_each_other_in_a_circle():
    graph = {unit: set() for unit in LEVEL}
    for module in MODULES:
        own = {unit_of(name) for name in imports_of(module) if top(name) in ("vim_tf", "pipelines")}
        graph[unit_of(module)] |= own - {unit_of(module)}
    assert set(graphlib.TopologicalSorter(graph).static_order()) == set(graph)


def test_losses_models_and_data_do_not_know_each_other():
    for unit in LEVELS[1]:
        modules = [module for module in MODULES if unit_of(module) == unit]
        own = {unit_of(name) for module in modules for name in imports_of(module)}
        assert own & set(LEVELS[1]) <= {unit}


@pytest.mark.parametrize("module", [module for module in MODULES if unit_of(module) != "pipelines"])
def test_only_pipelines_import_tfx(module):
    assert not {"tfx", "ml_metadata"} & {top(name) for name in imports_of(module)}


@pytest.mark.parametrize("module", [module for module in MODULES if unit_of(module) != "pipelines"])
def test_only_the_beam_jobs_and_their_command_import_beam(module):
    if unit_of(module) not in ("vim_tf.beam", "vim_tf.materialize", "vim_tf.measure_reference"):
        assert "apache_beam" not in {top(name) for name in imports_of(module)}


@pytest.mark.parametrize("module", [module for module in MODULES if LEVEL[unit_of(module)] in (1, 2, 3)])
def test_library_modules_take_plain_arguments_instead_of_configs(module):
    """The stage on disk is a config; the names of the splits are no hyperparameter, and data has its build function.

    What another project's checkpoint says of its model becomes the config of ours.
    """
    if unit_of(module) not in ("vim_tf.stages.saved", "vim_tf.data", "vim_tf.interop"):
        assert "vim_tf.config" not in imports_of(module)


@pytest.mark.parametrize("module", LIGHT)
def test_what_answers_at_once_loads_no_tensorflow(module):
    """Directly, or through another module of ours that is imported with it."""
    reached, left = set(), {module}
    while left:
        name = left.pop()
        reached.add(name)
        imported = imports_of(name, inside_functions=False)
        assert not HEAVY & {top(other) for other in imported}, name
        left |= (imported & set(MODULES)) - reached


@pytest.mark.parametrize("module", [module for module in MODULES if unit_of(module) == "vim_tf.models"])
def test_models_import_no_tensorflow_so_that_they_run_on_other_backends(module):
    assert "tensorflow" not in {top(name) for name in imports_of(module, inside_functions=False)}


def test_tf_gan_is_imported_through_its_own_module_only():
    importers = {module for module in MODULES if "tensorflow_gan" in {top(name) for name in imports_of(module)}}
    assert importers <= {"vim_tf.losses.tf_gan"}


# ------------------------------------------------------------------------------------------ every field is read

# Files in which the code reads a section's fields.
READERS = {
    configs.DataConfig: ["vim_tf.data.sources"],
    configs.AugmentationConfig: ["vim_tf.data.augmentation"],
    configs.TransformerConfig: ["vim_tf.models.vit"],
    configs.ViTConfig: ["vim_tf.models.vit"],
    configs.CNNConfig: ["vim_tf.models.cnn"],
    configs.QuantizerConfig: [
        "vim_tf.models.tokenizer",
        "vim_tf.training.tokenizer_trainer",
        "vim_tf.training.codebook_monitor",
    ],
    configs.DiscriminatorConfig: ["vim_tf.models.discriminators", "vim_tf.stages"],
    configs.TokenizerModelConfig: ["vim_tf.models.tokenizer", "vim_tf.models.discriminators"],
    configs.TokenFacts: ["vim_tf.models.language_model", "vim_tf.stages.saved"],
    configs.LanguageModelConfig: ["vim_tf.models.language_model"],
    configs.TokenizerLossConfig: ["vim_tf.training.tokenizer_trainer", "vim_tf.stages"],
    configs.OptimizerConfig: ["vim_tf.training.optimizers", "vim_tf.stages"],
    configs.TrainingConfig: ["vim_tf.train", "vim_tf.stages"],
    configs.AlarmConfig: ["vim_tf.train", "vim_tf.stages"],
    configs.TokenizerTrainConfig: ["vim_tf.train", "vim_tf.stages"],
    configs.LanguageModelAlarmConfig: ["vim_tf.stages"],
    configs.LanguageModelValidationConfig: ["vim_tf.stages"],
    configs.LanguageModelTrainConfig: ["vim_tf.train", "vim_tf.stages", "vim_tf.stages.language_model"],
    configs.ProbeConfig: ["vim_tf.stages", "vim_tf.stages.linear_probe"],
    configs.ProbeFacts: ["vim_tf.stages", "vim_tf.stages.linear_probe"],
    configs.LinearProbeTrainConfig: ["vim_tf.train", "vim_tf.stages", "vim_tf.stages.linear_probe"],
    configs.PaletteModelConfig: ["vim_tf.models.palette"],
    configs.ClusteringConfig: ["vim_tf.stages.palette"],
    configs.PaletteTrainConfig: ["vim_tf.train", "vim_tf.stages.palette", "vim_tf.stages.saved"],
    configs.SamplingConfig: ["vim_tf.sample", "vim_tf.sampling.generate"],
    configs.EvaluationConfig: ["vim_tf.evaluate", "vim_tf.evaluation.feature_networks"],
    configs.EncodeConfig: ["vim_tf.encode_dataset"],
    configs.MaterializeConfig: ["vim_tf.materialize"],
    configs.MeasureReferenceConfig: ["vim_tf.measure_reference"],
    configs.ReconstructConfig: ["vim_tf.reconstruct"],
    configs.SampleConfig: ["vim_tf.sample"],
    configs.CompleteConfig: ["vim_tf.complete"],
    configs.EvaluateConfig: ["vim_tf.evaluate", "vim_tf.stages.probing"],
    configs.ExportConfig: ["vim_tf.export"],
    configs.ImportWeightsConfig: ["vim_tf.import_weights"],
    configs.GateConfig: ["pipelines.components.gates"],
    configs.PipelineConfig: ["pipelines.local_runner", "pipelines.settings"],
    configs.KubeflowConfig: ["pipelines.kubeflow_runner", "pipelines.local_runner", "pipelines.settings"],
    configs.StatusConfig: ["pipelines.status"],
}
# Generic readers: a loop over names with getattr, a dict by field name, a whole section passed as keyword arguments.
READ_BY_STRING = {"vim_tf.models.tokenizer", "pipelines.components.gates"}
READ_AS_PARAMETERS = {"vim_tf.sampling.generate"}


def names_read(module):
    names = set()
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
            names.add(node.attr)
        elif isinstance(node, ast.Constant) and module in READ_BY_STRING:
            names.add(node.value)
        elif isinstance(node, ast.arg) and module in READ_AS_PARAMETERS:
            names.add(node.arg)
    return names


def test_every_section_has_its_readers():
    sections = {value for value in vars(configs).values() if dataclasses.is_dataclass(value)}
    assert set(READERS) == sections


@pytest.mark.parametrize("section", READERS, ids=lambda section: section.__name__)
def test_every_field_is_read(section):
    fields = {field.name for field in dataclasses.fields(section)}
    assert fields - set().union(*map(names_read, READERS[section])) == set()
