"""The specification for Kubeflow Pipelines v2: compiled here, checked against its own schema."""

import json
import pathlib
import sys

import pytest
import yaml

from pipelines import kubeflow_runner
from tests.pipelines import chain
from vim_tf import config as configs
from vim_tf.cli import flags
from vim_tf.errors import InputError

ROOT = pathlib.Path(__file__).resolve().parents[2]
IMAGE = "repository/vim_tf:0.1.0"
# TFX makes two tasks from a resolver of the last blessed model.
RESOLVERS = {f"BaselineResolver-{kind}-resolver" for kind in ("model", "model-blessing")}
COMPONENTS = {*chain.COMPONENTS} - {"BaselineResolver"}


def config(folder, *more, spec="pipeline.json"):
    arguments = [
        f"--flagfile={ROOT}/configs/digits/pipeline.flags",
        f"--tokenizer_flagfile={ROOT}/configs/digits/tokenizer.flags",
        f"--language_model_flagfile={ROOT}/configs/digits/language_model.flags",
        f"--image={IMAGE}",
        "--pipeline_root=gs://bucket/digits",
        f"--spec={folder}/{spec}",
        *more,
    ]
    return flags.parse(configs.KubeflowConfig, arguments)


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """Path of a specification with an accelerator for the trainings."""
    arguments = sys.argv
    folder = tmp_path_factory.mktemp("spec")
    try:
        kubeflow_runner.run(config(folder, "--accelerator=NVIDIA_L4", "--memory_limit=32"))
        yield folder / "pipeline.json"
    finally:
        sys.argv = arguments


@pytest.fixture
def job(compiled):
    return json.loads(compiled.read_text())


def containers(job):
    executors = job["pipelineSpec"]["deploymentSpec"]["executors"]
    return {
        name.removesuffix("_executor"): each["container"] for name, each in executors.items() if "container" in each
    }


def test_it_is_valid_by_its_own_schema(job):
    from google.protobuf import json_format
    from kfp.pipeline_spec import pipeline_spec_pb2

    parsed = json_format.ParseDict(job, pipeline_spec_pb2.PipelineJob())
    assert parsed.runtime_config.gcs_output_directory == "gs://bucket/digits/artifacts"
    spec = json_format.ParseDict(job["pipelineSpec"], pipeline_spec_pb2.PipelineSpec())
    assert spec.pipeline_info.name == "digits"
    assert set(spec.root.dag.tasks) == COMPONENTS | RESOLVERS
    deployment = json_format.ParseDict(
        job["pipelineSpec"]["deploymentSpec"], pipeline_spec_pb2.PipelineDeploymentConfig()
    )
    assert {spec.components[name].executor_label for name in spec.components} == set(deployment.executors)


def test_an_unknown_field_would_not_be_valid(job):
    from google.protobuf import json_format
    from kfp.pipeline_spec import pipeline_spec_pb2

    with pytest.raises(json_format.ParseError, match="unknown"):
        json_format.ParseDict(job["pipelineSpec"] | {"unknown": 1}, pipeline_spec_pb2.PipelineSpec())


def test_every_component_runs_in_the_image_and_its_executor_can_be_imported_there(job):
    from tfx.utils import import_utils

    found = containers(job)
    assert set(found) == COMPONENTS
    assert {container["image"] for container in found.values()} == {IMAGE}
    for container in found.values():
        path = container["args"][container["args"].index("--executor_class_path") + 1]
        assert import_utils.import_class_by_path(path)


def test_every_input_is_an_output_of_an_earlier_task(job):
    spec = job["pipelineSpec"]
    tasks = spec["root"]["dag"]["tasks"]
    inputs = [
        (name, artifact["taskOutputArtifact"])
        for name, task in tasks.items()
        for artifact in task.get("inputs", {}).get("artifacts", {}).values()
    ]
    assert len(inputs) > 20
    for name, source in inputs:
        producer = source["producerTask"]
        assert source["outputArtifactKey"] in spec["components"][producer]["outputDefinitions"]["artifacts"]
        # The platform orders its own resolvers by their inputs.
        assert name in RESOLVERS or producer in tasks[name]["dependentTasks"]


def test_parameters_have_the_flagfiles_values_as_defaults_and_reach_their_components(job):
    parameters = job["pipelineSpec"]["root"]["inputDefinitions"]["parameters"]
    defaults = {name: parameter["defaultValue"] for name, parameter in parameters.items()}
    assert json.loads(defaults.pop("gates"))["min_reconstruction_psnr"] == 24
    assert json.loads(defaults.pop("tokenizer-train-args")) == {"splits": ["train"], "num_steps": 1500}
    assert json.loads(defaults.pop("language-model-train-args")) == {"splits": ["train"], "num_steps": 3200}
    assert json.loads(defaults.pop("evaluation"))["samples_per_label"] == 50
    assert json.loads(defaults.pop("sampling"))["temperature"] == 1
    assert defaults == {"num-shards": 2}
    tasks = job["pipelineSpec"]["root"]["dag"]["tasks"]
    used = {
        (task, parameter["componentInputParameter"])
        for task in tasks
        for parameter in tasks[task].get("inputs", {}).get("parameters", {}).values()
        if "componentInputParameter" in parameter
    }
    assert used == {
        ("ImageExampleGen", "num-shards"),
        ("TokenizerTrainer", "tokenizer-train-args"),
        ("LanguageModelTrainer", "language-model-train-args"),
        ("GenerativeEvaluator", "evaluation"),
        ("GenerativeEvaluator", "sampling"),
        ("GenerativeEvaluator", "gates"),
    }


def test_every_setting_of_the_flagfiles_is_in_the_specification(job):
    tokenizer, language_model = (
        json.loads(
            job["pipelineSpec"]["root"]["dag"]["tasks"][name]["inputs"]["parameters"]["custom_config"]["runtimeValue"][
                "constant"
            ]
        )
        for name in ("TokenizerTrainer", "LanguageModelTrainer")
    )
    expected = flags.parse(
        configs.TokenizerTrainConfig, [f"--flagfile={ROOT}/configs/digits/tokenizer.flags", "--workdir=pipeline"]
    )
    assert configs.from_dict(configs.TokenizerTrainConfig, tokenizer["config"]) == expected
    assert language_model["config"]["model"]["hidden_dim"] == 128
    assert tokenizer["training_folder"] == "gs://bucket/digits/training"


def test_only_the_trainings_get_the_accelerator(job):
    found = {name: container.get("resources") for name, container in containers(job).items()}
    trainers = {"TokenizerTrainer", "LanguageModelTrainer"}
    assert {name for name, resources in found.items() if resources} == trainers
    for name in trainers:
        assert found[name]["accelerator"] == {"type": "NVIDIA_L4", "count": "1"}
        assert found[name]["memoryLimit"] == 32


def test_yaml_holds_the_same_specification(job, tmp_path):
    kubeflow_runner.run(config(tmp_path, "--accelerator=NVIDIA_L4", "--memory_limit=32", spec="pipeline.yaml"))
    assert yaml.safe_load((tmp_path / "pipeline.yaml").read_text()) == job["pipelineSpec"]


def test_a_warm_start_adds_its_resolver(tmp_path):
    compiled = kubeflow_runner.run(config(tmp_path, "--warm_start"))
    task = compiled["pipelineSpec"]["root"]["dag"]["tasks"]["TokenizerTrainer"]
    source = task["inputs"]["artifacts"]["base_model"]["taskOutputArtifact"]
    assert source["producerTask"] == "WarmStartResolver-model-resolver"


@pytest.mark.parametrize("flag", ["--from_node=Pusher", "--to_node=Pusher"])
def test_what_only_the_local_runner_does_is_refused(tmp_path, flag):
    with pytest.raises(InputError, match="is for the local runner only"):
        config(tmp_path, flag)


@pytest.mark.parametrize("path", sorted(ROOT.glob("configs/*/pipeline.flags")), ids=lambda path: path.parent.name)
def test_every_shipped_pipeline_is_accepted(path):
    parsed = flags.parse(configs.KubeflowConfig, [f"--flagfile={path}", "--pipeline_root=gs://bucket/p"])
    assert parsed.name == path.parent.name


def test_a_spec_of_another_form_is_refused(tmp_path):
    with pytest.raises(InputError, match="must end in .json or .yaml"):
        config(tmp_path, spec="pipeline.txt")
