"""The import rules, checked in the source: nothing is imported here."""

import ast
import dataclasses
import functools
import graphlib
import pathlib

import pytest

from vim_tf import config as configs

ROOT = pathlib.Path(__file__).parents[1]
FILES = sorted([*ROOT.glob("vim_tf/**/*.py"), *ROOT.glob("pipelines/**/*.py")])


def module_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def is_command(path):
    return '\nif __name__ == "__main__":' in path.read_text(encoding="utf-8")


MODULES = {module_of(path): path for path in FILES}
COMMANDS = [module for module, path in MODULES.items() if path.parent.name == "vim_tf" and is_command(path)]
PIPELINE_COMMANDS = [module for module, path in MODULES.items() if path.parent.name == "pipelines" and is_command(path)]

# From the top down: a package imports what is below its level, and itself.
LEVELS = [
    ["pipelines"],
    COMMANDS,
    ["vim_tf.serving", "vim_tf.beam"],
    ["vim_tf.stages"],
    ["vim_tf.evaluation", "vim_tf.sampling"],
    ["vim_tf.data", "vim_tf.training", "vim_tf.interop"],
    ["vim_tf.config", "vim_tf.models", "vim_tf.losses", "vim_tf.devices", "vim_tf.cli"],
    ["vim_tf.storage", "vim_tf.ranges"],
    ["vim_tf.errors"],
    ["vim_tf"],
]
LEVEL = {unit: level for level, units in enumerate(LEVELS) for unit in units}
# Those of them that take configs: the stages, which a config describes, the build functions of data, and other
# projects' checkpoints, whose settings become our config.
SEE_CONFIGS = ["vim_tf.config", "vim_tf.data", "vim_tf.interop"]
LIBRARIES = [unit for units in LEVELS[LEVEL["vim_tf.serving"] :] for unit in units if unit != "vim_tf.stages"]
# Modules that answer before TensorFlow is loaded: every command's help and mistyped flags.
LIGHT = ["vim_tf", "vim_tf.config", "vim_tf.errors", "vim_tf.cli.flags", "vim_tf.cli.terminal", *COMMANDS]
LIGHT += ["pipelines", "pipelines.local.console", *PIPELINE_COMMANDS]
HEAVY = {"tensorflow", "keras", "tfx", "apache_beam", "numpy", "tensorflow_datasets", "matplotlib", "sklearn"}


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


def own_imports(module):
    """Modules of this project that a module imports."""
    return {name for name in imports_of(module) if top(name) in ("vim_tf", "pipelines")}


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_down(module):
    unit = unit_of(module)
    assert unit in LEVEL, f"{unit} is new: give it a level in this test and in CONTRIBUTING.md"
    others = {unit_of(name) for name in own_imports(module)} - {unit}
    assert {other for other in others if LEVEL[other] <= LEVEL[unit]} == set()


def test_every_unit_of_the_table_exists():
    assert set(LEVEL) == {unit_of(module) for module in MODULES}


@pytest.mark.parametrize("command", [*COMMANDS, *PIPELINE_COMMANDS])
def test_no_command_imports_another_of_its_package(command):
    siblings = {*(COMMANDS if command in COMMANDS else PIPELINE_COMMANDS)} - {command}
    assert own_imports(command) & siblings == set()


def test_no_module_imports_itself_in_a_circle():
    graph = {module: own_imports(module) & set(MODULES) for module in MODULES}
    assert set(graphlib.TopologicalSorter(graph).static_order()) == set(MODULES)


@pytest.mark.parametrize("module", [module for module in MODULES if unit_of(module) != "pipelines"])
def test_only_pipelines_import_tfx(module):
    assert not {"tfx", "ml_metadata"} & {top(name) for name in imports_of(module)}


@pytest.mark.parametrize("module", [module for module in MODULES if unit_of(module) != "pipelines"])
def test_only_the_beam_jobs_and_their_commands_import_beam(module):
    if unit_of(module) not in ("vim_tf.beam", "vim_tf.materialize", "vim_tf.measure_reference"):
        assert "apache_beam" not in {top(name) for name in imports_of(module)}


@pytest.mark.parametrize("module", [module for module in MODULES if unit_of(module) in LIBRARIES])
def test_library_modules_take_plain_arguments_instead_of_configs(module):
    if unit_of(module) not in SEE_CONFIGS:
        assert not {name for name in imports_of(module) if unit_of(name) == "vim_tf.config"}


def test_only_one_module_makes_digests():
    assert [module for module in MODULES if "hashlib" in imports_of(module)] == ["vim_tf.storage.digests"]


@pytest.mark.parametrize("call", ["np.load(", "np.savez"])
def test_only_one_module_reads_and_writes_files_of_arrays(call):
    assert [module for module, path in MODULES.items() if call in path.read_text()] == ["vim_tf.storage.npz"]


@pytest.mark.parametrize("module", LIGHT)
def test_what_answers_at_once_loads_no_tensorflow(module):
    """Directly, or through another module of ours that is imported with it."""
    reached, left = set(), {module}
    while left:
        name = left.pop()
        reached.add(name)
        imported = imports_of(name, inside_functions=False)
        assert not HEAVY & {top(other) for other in imported}, name
        parts = name.split(".")
        packages = {".".join(parts[:length]) for length in range(1, len(parts))}
        left |= ((imported | packages) & set(MODULES)) - reached


@pytest.mark.parametrize("module", [module for module in MODULES if unit_of(module) == "vim_tf.models"])
def test_models_import_no_tensorflow_so_that_they_run_on_other_backends(module):
    assert "tensorflow" not in {top(name) for name in imports_of(module, inside_functions=False)}


def test_tf_gan_is_imported_only_through_its_own_module():
    importers = {module for module in MODULES if "tensorflow_gan" in {top(name) for name in imports_of(module)}}
    assert importers <= {"vim_tf.losses.tf_gan"}


# ------------------------------------------------------------------------------------------ every field is read

# Modules and packages in which the code reads a section's fields.
READERS = {
    configs.DataConfig: ["vim_tf.data.sources"],
    configs.AugmentationConfig: ["vim_tf.data.augmentation"],
    configs.TransformerConfig: ["vim_tf.models.vit"],
    configs.ViTConfig: ["vim_tf.models.vit"],
    configs.CNNConfig: ["vim_tf.models.cnn"],
    configs.QuantizerConfig: [
        "vim_tf.models.tokenizer",
        "vim_tf.models.quantizers",
        "vim_tf.training.tokenizer_trainer",
        "vim_tf.training.codebook_monitor",
    ],
    configs.DiscriminatorConfig: ["vim_tf.models.discriminators", "vim_tf.stages"],
    configs.TokenizerModelConfig: ["vim_tf.models.tokenizer", "vim_tf.models.discriminators"],
    configs.TokenFacts: ["vim_tf.models.language_model", "vim_tf.stages"],
    configs.LanguageModelConfig: ["vim_tf.models.language_model"],
    configs.TokenizerLossConfig: ["vim_tf.training.tokenizer_trainer", "vim_tf.training.loss_terms", "vim_tf.stages"],
    configs.OptimizerConfig: ["vim_tf.training.optimizers", "vim_tf.stages"],
    configs.TrainingConfig: ["vim_tf.stages"],
    configs.AlarmConfig: ["vim_tf.stages"],
    configs.TokenizerTrainConfig: ["vim_tf.stages"],
    configs.LanguageModelAlarmConfig: ["vim_tf.stages"],
    configs.LanguageModelValidationConfig: ["vim_tf.stages"],
    configs.LanguageModelTrainConfig: ["vim_tf.stages"],
    configs.ProbeConfig: ["vim_tf.stages"],
    configs.ProbeFacts: ["vim_tf.stages"],
    configs.LinearProbeTrainConfig: ["vim_tf.stages"],
    configs.PaletteModelConfig: ["vim_tf.models.palette"],
    configs.ClusteringConfig: ["vim_tf.stages"],
    configs.PaletteTrainConfig: ["vim_tf.stages"],
    configs.SamplingConfig: ["vim_tf.sample", "vim_tf.sampling"],
    configs.EvaluationConfig: ["vim_tf.evaluate", "vim_tf.evaluation.feature_networks"],
    configs.EncodeCommand: ["vim_tf.encode_dataset"],
    configs.MaterializeCommand: ["vim_tf.materialize"],
    configs.MeasureReferenceCommand: ["vim_tf.measure_reference"],
    configs.ReconstructCommand: ["vim_tf.reconstruct"],
    configs.SampleCommand: ["vim_tf.sample"],
    configs.CompleteCommand: ["vim_tf.complete"],
    configs.EvaluateCommand: ["vim_tf.evaluate", "vim_tf.stages"],
    configs.ExportCommand: ["vim_tf.export"],
    configs.ImportWeightsCommand: ["vim_tf.import_weights"],
    configs.GateConfig: ["pipelines.components.gates"],
    configs.PipelineConfig: ["pipelines.local_runner", "pipelines.settings"],
    configs.KubeflowConfig: ["pipelines.kubeflow_runner", "pipelines.local_runner", "pipelines.settings"],
    configs.StatusCommand: ["pipelines.status"],
}
# Generic readers: a loop over names with getattr, a dict by field name, a whole section passed as keyword arguments.
READ_BY_STRING = {"vim_tf.models.tokenizer", "vim_tf.training.loss_terms", "pipelines.components.gates"}
READ_BY_STRING |= {module for module in MODULES if module.startswith("vim_tf.models.quantizers.")}


def names_read(unit):
    """Names that a module, or all modules of a package, read."""
    names = set()
    for module in [module for module in MODULES if module == unit or module.startswith(f"{unit}.")]:
        for node in ast.walk(tree_of(module)):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
                names.add(node.attr)
            elif isinstance(node, ast.Constant) and module in READ_BY_STRING:
                names.add(node.value)
    return names


def test_every_section_has_its_readers():
    sections = {value for value in vars(configs).values() if dataclasses.is_dataclass(value)}
    assert set(READERS) == sections


@pytest.mark.parametrize("section", READERS, ids=lambda section: section.__name__)
def test_every_field_is_read(section):
    fields = {field.name for field in dataclasses.fields(section)}
    assert fields - set().union(*map(names_read, READERS[section])) == set()
