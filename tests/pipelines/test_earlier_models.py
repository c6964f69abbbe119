"""Runs of the whole pipeline after an earlier one: warm starts, comparisons with the last blessed model, removal."""

import os
import re

import pytest

from tests.pipelines import chain as chains

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def warm(chain):
    """A second training in `pushed`, which starts from the first one's tokenizer, and the same once more."""
    more = ("--warm_start", "--tokenizer_overrides=training.total_steps=12,optimizer.learning_rate=1e-4")
    return chain.run("pushed", *more), chain.run("pushed", *more, "--keep_runs=1")


def test_a_warm_start_begins_with_the_last_blessed_tokenizer(chain, warm):
    from pipelines import status
    from pipelines.local import store
    from vim_tf.stages import saved

    output = chain.output("pushed")
    assert [run.status for run in warm] == [0, 0]
    config = saved.load_config(f"{output}/tokenizer")
    assert config.training.total_steps == 12
    contents = store.read(store.open_store(output))
    pushed = [each for each in contents.artifacts.values() if each.key == "pushed_model"]
    first, second = [each for each in pushed if each.properties["pushed"]]
    start = contents.maker(second.id, "TokenizerTrainer").earlier_models
    assert start[0] in contents.ancestors(first.id)
    assert config.initialize_from.startswith(contents.artifacts[start[0]].uri)
    assert f"the tokenizer of model {start[0]}" in "\n".join(status.explain(contents, "last"))


def test_the_evaluation_gets_the_last_blessed_model_to_compare_with(chain, warm):
    from pipelines.local import store

    contents = store.read(store.open_store(chain.output("pushed")))
    blessings = [each for each in contents.artifacts.values() if each.type == "ModelBlessing"]
    compared = [each for each in blessings if "baseline_model" in each.properties]
    assert len(compared) == 1
    (baseline,) = contents.executions[compared[0].producer].earlier_models
    assert contents.artifacts[baseline].uri == compared[0].properties["baseline_model"]
    # The model before it, not the one that is judged.
    assert compared[0].properties["current_model_id"] > baseline


def test_with_earlier_models_about_a_second_run_is_still_served_from_the_cache(chain, warm):
    states = chains.execution_states(chain.output("pushed"))
    resolvers = {"BaselineResolver": "COMPLETE", "WarmStartResolver": "COMPLETE"}
    assert {name: state[-1] for name, state in states.items()} == dict.fromkeys(chains.COMPONENTS, "CACHED") | resolvers


def test_old_artifacts_are_removed_and_what_the_pushed_model_is_made_of_stays(chain, warm):
    from pipelines.local import store

    output = chain.output("pushed")
    assert "as --keep_runs asks." in warm[1].output
    contents = store.read(store.open_store(output))
    pushed = [each for each in contents.artifacts.values() if each.key == "pushed_model" and each.state == "LIVE"][-1]
    assert pushed.properties["pushed_version"] == max(chains.versions(output))
    for each in contents.ancestors(pushed.id):
        assert contents.artifacts[each].state == "LIVE"
        assert os.path.isdir(contents.artifacts[each].uri)
    deleted = [each for each in contents.artifacts.values() if each.state == "DELETED"]
    assert {"Examples", "ModelRun", "ModelEvaluation", "PushedModel"} <= {each.type for each in deleted}
    assert not [each.uri for each in deleted if os.path.exists(each.uri)]


def test_what_was_removed_is_not_served_from_the_cache_but_made_again(chain, warm):
    again = chain.run("pushed")
    assert again.status == 0
    states = chains.execution_states(chain.output("pushed"))
    # The images are the same in all runs; the first training's outputs are gone.
    assert [states[name][-1] for name in ("ImageExampleGen", "TokenizerTrainer")] == ["CACHED", "COMPLETE"]


def test_a_model_worse_than_the_last_blessed_one_is_not_pushed_and_the_report_says_by_which_gate(chain, warm):
    output = chain.output("pushed")
    before = chains.versions(output)
    untrained = "--tokenizer_overrides=optimizer.learning_rate=1e-9,optimizer.final_learning_rate=1e-9"
    refused = chain.run("pushed", untrained, "--gates.max_reconstruction_psnr_loss=0.01")
    assert refused.status == 1
    said = re.search(r"reconstruction/psnr is \S+ after \S+ of the last blessed model", refused.output)
    path = next(line for line in refused.output.splitlines() if line.startswith("Report:")).split()[-1]
    with open(path, encoding="utf-8") as file:
        report = file.read()
    assert f"{said[0]}, worse than --gates.max_reconstruction_psnr_loss=0.01" in report
    assert chains.versions(output) == before


def test_a_last_blessed_model_that_can_not_be_measured_again_is_a_missed_gate(chain, warm, monkeypatch):
    from pipelines.components import generative_evaluator
    from vim_tf.errors import InputError

    def of_other_classes(config, model):
        raise InputError("the language model has 2 labels and the images have 3")

    monkeypatch.setattr(generative_evaluator, "_measured_again", of_other_classes)
    refused = chain.run("pushed", "--gates.max_reconstruction_psnr_loss=0.02")
    assert refused.status == 1
    said = "Not pushed: the last blessed model can't be measured as this one was: the language model has 2 labels"
    assert said in refused.output
