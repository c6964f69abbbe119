"""The whole pipeline on a tiny data set; one process, since TFX is slow to import."""

import json
import os
import re
import shutil
import sys
import tarfile

import markupsafe
import numpy as np
import pytest

from tests.pipelines import chain as chains

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def chain(tmp_path_factory):
    """The tiny pipeline, run once into the folder `pushed`."""
    arguments = sys.argv
    try:
        chain = chains.Chain(tmp_path_factory.mktemp("pipeline"))
        chain.first = chain.run("pushed")
        yield chain
    finally:
        sys.argv = arguments


def versions(output):
    return os.listdir(f"{output}/serving")


def weights(model):
    return {weight.path: weight.numpy() for weight in model.weights}


def assert_same_weights(one, other):
    one, other = weights(one), weights(other)
    assert one.keys() == other.keys()
    for path in one:
        np.testing.assert_array_equal(one[path], other[path], err_msg=path)


def test_a_run_executes_every_component_and_ends_with_the_paths(chain):
    output = chain.output("pushed")
    assert chain.first.status == 0
    states = chains.execution_states(output)
    assert sorted(states) == sorted(chains.COMPONENTS)
    assert {name: state[0] for name, state in states.items()} == dict.fromkeys(chains.COMPONENTS, "COMPLETE")
    (version,) = versions(output)
    assert chain.first.output.splitlines()[-4:] == [
        f"Report:       {output}/report.html",
        f"Metrics:      {output}/metrics.json",
        f"TF Hub:       {output}/hub/{version} and its .tar.gz",
        f"Pushed model: {output}/serving/{version}",
    ]
    assert "reconstruction/psnr" in chain.first.output


def test_the_library_loads_the_published_stages(chain):
    from vim_tf.data.records import tokens as token_records
    from vim_tf.stages import saved

    output = chain.output("pushed")
    tokenizer = saved.load_tokenizer(f"{output}/tokenizer")
    saved.load_language_model(f"{output}/language_model", tokenizer)
    assert saved.load_config(f"{output}/tokenizer").data.source == chain.source
    tokens = token_records.load_tokens(f"{output}/tokens", "train")
    assert tokens.manifest.tokenizer_checksum == tokenizer.checksum
    assert tokens.manifest.class_names == ["dark", "light"]
    assert tokens.tokens.shape == (24, 1, 4)


def test_published_links_are_relative_so_that_the_output_can_be_moved(chain):
    for name in ("tokenizer", "language_model", "tokens"):
        assert not os.path.isabs(os.readlink(f"{chain.output('pushed')}/{name}"))


def test_the_pushed_model_has_both_stages_and_every_signature(chain):
    import tensorflow as tf

    from vim_tf.stages import saved

    output = chain.output("pushed")
    pushed = f"{output}/serving/{versions(output)[0]}"
    signatures = tf.saved_model.load(pushed).signatures
    assert {"encode", "decode", "reconstruct", "generate", "complete", "features"} <= set(signatures)
    tokenizer = saved.load_tokenizer(pushed)
    assert tokenizer.checksum == saved.load_tokenizer(f"{output}/tokenizer").checksum
    assert_same_weights(
        saved.load_language_model(pushed, tokenizer), saved.load_language_model(f"{output}/language_model")
    )


def test_tokens_of_the_pipeline_equal_those_of_the_command(chain, tmp_path):
    from vim_tf import encode_dataset
    from vim_tf.config import DataConfig, EncodeCommand
    from vim_tf.data.records import tokens as token_records

    encode_dataset.run(
        EncodeCommand(
            tokenizer=f"{chain.output('pushed')}/tokenizer",
            data=DataConfig(source=chain.source),
            output=str(tmp_path),
            batch_size=8,
            num_shards=2,
        )
    )
    for split in ("train", "validation"):
        of_pipeline = token_records.load_tokens(f"{chain.output('pushed')}/tokens", split)
        of_command = token_records.load_tokens(str(tmp_path), split)
        np.testing.assert_array_equal(of_pipeline.tokens, of_command.tokens)
        np.testing.assert_array_equal(of_pipeline.labels, of_command.labels)
        assert of_pipeline.keys == of_command.keys
        assert [shard["num_examples"] for shard in of_pipeline.manifest.splits[split]["shards"]] == [
            shard["num_examples"] for shard in of_command.manifest.splits[split]["shards"]
        ]


def test_examples_keep_the_files_and_give_pixels_labels_and_keys_of_the_source(chain):
    from pipelines import fingerprints
    from vim_tf.data import sources

    (execution,) = os.listdir(f"{chain.output('pushed')}/artifacts/ImageExampleGen/examples")
    folder = f"{chain.output('pushed')}/artifacts/ImageExampleGen/examples/{execution}"
    shards = fingerprints.read_manifest(folder)["splits"]["train"]["shards"]
    assert [shard["num_examples"] for shard in shards] == [12, 12]
    written, expected = (
        list(sources.open_source(name, "train", 8, 8).ordered().as_numpy_iterator())
        for name in (f"tfrecord:{folder}/Split-{{split}}/*.gz", chain.source)
    )
    assert [(each["label"], each["key"]) for each in written] == [(each["label"], each["key"]) for each in expected]
    np.testing.assert_array_equal([each["image"] for each in written], [each["image"] for each in expected])


def test_a_second_run_is_taken_from_the_cache_and_leaves_the_pushed_model_as_it_is(chain):
    output = chain.output("pushed")
    before = (versions(output), os.stat(f"{output}/serving/{versions(output)[0]}/saved_model.pb"))
    os.remove(f"{output}/report.html")
    shutil.rmtree(f"{output}/hub")
    again = chain.run("pushed")
    assert again.status == 0
    states = chains.execution_states(output)
    # A resolver looks again in every run.
    assert {name: state[-1] for name, state in states.items()} == dict.fromkeys(chains.COMPONENTS, "CACHED") | {
        "BaselineResolver": "COMPLETE"
    }
    assert (versions(output), os.stat(f"{output}/serving/{versions(output)[0]}/saved_model.pb")) == before
    assert os.path.exists(f"{output}/report.html")
    assert sorted(os.listdir(f"{output}/hub")) == [*versions(output), f"{versions(output)[0]}.tar.gz"]
    assert again.output.splitlines()[-5:] == chain.first.output.splitlines()[-5:]


def test_a_model_that_misses_a_gate_is_not_pushed(chain):
    output = chain.output("pushed")
    before = (versions(output), os.readlink(f"{output}/tokenizer"), open(f"{output}/metrics.json").read())
    refused = chain.run("pushed", "--gates.min_reconstruction_psnr=99")
    assert refused.status == 1
    assert "below --gates.min_reconstruction_psnr=99" in refused.output
    report = next(line for line in refused.output.splitlines() if line.startswith("Report:")).split()[-1]
    assert os.path.exists(report)
    after = (versions(output), os.readlink(f"{output}/tokenizer"), open(f"{output}/metrics.json").read())
    assert after == before
    states = chains.execution_states(output)
    assert [states[name][-1] for name in ("LanguageModelTrainer", "GenerativeEvaluator")] == ["CACHED", "COMPLETE"]


def test_a_killed_training_resumes_and_gives_the_same_models(chain, monkeypatch):
    from vim_tf.stages import saved
    from vim_tf.training import callbacks

    class Killed(BaseException):
        """Like a kill, nothing in TFX handles it."""

    save = callbacks.Saver.on_step

    def save_and_die(self, step, logs):
        save(self, step, logs)
        if step == chains.CHECKPOINT_EVERY_STEPS:
            raise Killed

    monkeypatch.setattr(callbacks.Saver, "on_step", save_and_die)
    # Each stage dies at its first checkpoint; the third run gets through, since both are past it.
    for _ in ("tokenizer", "language model"):
        with pytest.raises(Killed):
            chain.run("killed")
    finished = chain.run("killed")
    assert "An earlier run was killed in LanguageModelTrainer" in finished.output
    assert f"resuming from step {chains.CHECKPOINT_EVERY_STEPS} of {chains.TOTAL_STEPS}" in finished.errors
    states = chains.execution_states(chain.output("killed"))
    assert states["TokenizerTrainer"] == ["FAILED", "COMPLETE", "CACHED"]
    assert states["LanguageModelTrainer"] == ["FAILED", "COMPLETE"]
    one, other = chain.output("pushed"), chain.output("killed")
    assert_same_weights(saved.load_tokenizer(f"{one}/tokenizer"), saved.load_tokenizer(f"{other}/tokenizer"))
    assert_same_weights(
        saved.load_language_model(f"{one}/language_model"), saved.load_language_model(f"{other}/language_model")
    )


def test_another_image_in_the_folder_is_seen(chain):
    from pipelines import fingerprints

    before = fingerprints.source_fingerprint(chain.source, ("train", "validation"))
    assert fingerprints.source_fingerprint(chain.source, ("train", "validation")) == before
    path = f"{chain.folder}/images/train/dark/0.png"
    facts = os.stat(path)
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns + 2_000_000_000))
    changed = fingerprints.source_fingerprint(chain.source, ("train", "validation"))
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert changed != before


def test_metrics_json_is_that_of_the_pushed_evaluation(chain):
    with open(f"{chain.output('pushed')}/metrics.json") as file:
        metrics = json.load(file)["metrics"]
    assert f"{metrics['reconstruction/psnr']:.4g}" in chain.first.output


def test_the_hub_module_is_the_pushed_model_with_its_card(chain):
    output = chain.output("pushed")
    (version,) = versions(output)
    module, pushed = f"{output}/hub/{version}", f"{output}/serving/{version}"
    assert set(os.listdir(module)) == {*os.listdir(pushed), "model_card.md"}
    for name in ("saved_model.pb", "variables/variables.data-00000-of-00001"):
        with open(f"{module}/{name}", "rb") as one, open(f"{pushed}/{name}", "rb") as other:
            assert one.read() == other.read()
    with open(f"{module}/model_card.md") as file:
        card = file.read()
    with open(f"{output}/tokens/manifest.json") as file:
        assert json.load(file)["tokenizer_checksum"] in card
    assert "24 train, 12 validation" in card
    with tarfile.open(f"{module}.tar.gz") as archive:
        assert {"saved_model.pb", "model_card.md", "variables/variables.index"} <= set(archive.getnames())


def test_status_says_what_made_the_pushed_model(chain):
    from pipelines import status
    from pipelines.local import store

    output = chain.output("pushed")
    contents = store.read(store.open_store(output))
    (version,) = versions(output)
    shown = "\n".join(status.explain(contents, "last"))
    with open(f"{output}/tokens/manifest.json") as file:
        checksum = json.load(file)["tokenizer_checksum"]
    for fact in (version, checksum, chain.source, "12 validation, 24 train, 8 x 8 pixels", "--model.patch_size=4"):
        assert fact in shown
    overview = "\n".join(status.overview(contents))
    assert f"pushed {version}, 0 of 13 from the cache" in overview
    assert f"pushed {version}, 12 of 13 from the cache" in overview


def test_metrics_are_in_the_metadata_store(chain):
    from pipelines.local import store

    contents = store.read(store.open_store(chain.output("pushed")))
    with open(f"{chain.output('pushed')}/metrics.json") as file:
        metrics = json.load(file)["metrics"]
    evaluation = next(each for each in contents.artifacts.values() if each.type == "ModelEvaluation")
    assert evaluation.properties["reconstruction/psnr"] == pytest.approx(metrics["reconstruction/psnr"], abs=1e-5)


def test_a_run_from_a_component_on_takes_the_earlier_outputs_and_runs_it_again(chain, monkeypatch):
    from pipelines.components import serving_check

    output = chain.output("pushed")
    before = versions(output)
    monkeypatch.setattr(serving_check, "check", lambda folder, facts: ([], "signature decode fails: out of range"))
    refused = chain.run("pushed", "--from_node=ServingCheck")
    assert refused.status == 1
    assert "Not pushed: the exported model can't be served: signature decode fails: out of range; " in refused.output
    assert (versions(output), sorted(os.listdir(f"{output}/hub"))) == (before, [*before, f"{before[0]}.tar.gz"])
    states = chains.execution_states(output)
    assert [states[name][-1] for name in ("LanguageModelTrainer", "GenerativeEvaluator")] == ["CACHED", "CACHED"]
    assert [states[name][-1] for name in ("ServingCheck", "Pusher", "HubPusher")] == ["COMPLETE"] * 3


def test_a_run_to_a_component_ends_there(chain):
    states = chains.execution_states(chain.output("pushed"))
    ended = chain.run("pushed", "--to_node=StatisticsGen")
    assert ended.status == 0
    assert ended.output.splitlines()[-1] == "Stopped after StatisticsGen, as set by --to_node; nothing was published."
    after = chains.execution_states(chain.output("pushed"))
    assert [name for name in after if len(after[name]) > len(states[name])] == ["ImageExampleGen", "StatisticsGen"]


def test_a_part_that_ends_before_the_push_publishes_nothing(chain):
    report = f"{chain.output('pushed')}/report.html"
    before = os.stat(report).st_mtime_ns
    ended = chain.run("pushed", "--from_node=ServingCheck", "--to_node=ServingCheck")
    assert ended.status == 0
    assert os.stat(report).st_mtime_ns == before
    assert ended.output.splitlines()[-1] == "Stopped after ServingCheck, as set by --to_node; nothing was published."


def test_a_name_may_have_a_dot(chain):
    from pipelines.local import store

    name = "--name=tiny.v2"
    chain.run("dotted", name, "--to_node=SchemaGen")
    assert chain.run("dotted", name, "--from_node=SchemaGen", "--to_node=SchemaGen").status == 0
    executions = store.read(store.open_store(chain.output("dotted"))).executions.values()
    assert {each.node for each in executions} == {"ImageExampleGen", "SchemaGen"}


def test_an_unprepared_or_unknown_part_is_refused(chain):
    from vim_tf.errors import InputError

    with pytest.raises(InputError, match="no earlier run of pipeline tiny has the outputs of ImageExampleGen"):
        chain.run("unprepared", "--from_node=StatisticsGen")
    with pytest.raises(InputError, match="no earlier run of pipeline other has the outputs of ImageExampleGen"):
        chain.run("pushed", "--name=other", "--from_node=StatisticsGen")
    with pytest.raises(InputError, match="--to_node=Evaluator isn't a component of the pipeline; they are Image"):
        chain.run("pushed", "--to_node=Evaluator")
    with pytest.raises(InputError, match="does not lead to"):
        chain.run("pushed", "--from_node=Pusher", "--to_node=SchemaGen")


def test_a_second_run_at_once_is_refused_and_the_first_is_not_disturbed(chain):
    from pipelines.local import lock
    from vim_tf.errors import InputError

    output = chain.output("pushed")
    before = chains.execution_states(output)
    with lock.sole_run(output), pytest.raises(InputError, match=f"in use by another run .process {os.getpid()}."):
        chain.run("pushed")
    assert chains.execution_states(output) == before


def test_a_pusher_that_is_killed_after_pushing_pushes_once(chain, monkeypatch):
    from tfx.orchestration.portable import launcher

    class Killed(BaseException):
        """Like a kill, nothing in TFX handles it."""

    run_executor = launcher.Launcher._run_executor

    def run_and_die(self, execution):
        run_executor(self, execution)
        if execution.pipeline_node.node_info.id == "Pusher":
            raise Killed

    output = chain.output("killed")
    mine = f"{output}/serving/7"
    shutil.copytree(f"{output}/serving/{versions(output)[0]}", mine)
    before = versions(output)
    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(launcher.Launcher, "_run_executor", run_and_die)
        chain.run("killed", "--from_node=Pusher")
    assert len(versions(output)) == len(before) + 1
    chain.run("killed")
    assert sorted(versions(output)) == sorted(before)
    assert not [state for states in chains.execution_states(output).values() for state in states if state == "RUNNING"]


def test_a_model_that_another_was_pushed_after_is_pushed_again(chain, monkeypatch):
    from pipelines.local import store

    output = chain.output("killed")
    before = versions(output)
    with monkeypatch.context() as patched:
        patched.setattr(store.Contents, "was_outrun", lambda self, model_id: True)
        again = chain.run("killed")
    assert len(versions(output)) == len(before) + 1
    assert again.output.splitlines()[-1].endswith(f"serving/{max(versions(output), key=int)}")
    states = chains.execution_states(output)
    assert [states[name][-1] for name in ("GenerativeEvaluator", "Pusher")] == ["CACHED", "COMPLETE"]


def test_a_run_without_an_evaluation_publishes_nothing_and_says_so(chain, monkeypatch):
    """As left by a partial run of the probe's components if no earlier run reached the evaluation."""
    from pipelines.local import execution

    monkeypatch.setattr(execution.ReportingRunner, "run", lambda self, created, run_options: {})
    ended = chain.run("pushed", "--from_node=ServingCheck")
    assert ended.status == 0
    expected = "Nothing was published: neither this run nor the one it continues has GenerativeEvaluator."
    assert ended.output.splitlines()[-1] == expected


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
    # The model before it, not the one being judged.
    assert compared[0].properties["current_model_id"] > baseline


def test_with_earlier_models_a_second_run_is_still_served_from_the_cache(chain, warm):
    states = chains.execution_states(chain.output("pushed"))
    resolvers = {"BaselineResolver": "COMPLETE", "WarmStartResolver": "COMPLETE"}
    assert {name: state[-1] for name, state in states.items()} == dict.fromkeys(chains.COMPONENTS, "CACHED") | resolvers


def test_old_artifacts_are_removed_and_what_the_pushed_model_is_made_of_stays(chain, warm):
    from pipelines.local import store

    output = chain.output("pushed")
    assert "as set by --keep_runs." in warm[1].output
    contents = store.read(store.open_store(output))
    pushed = [each for each in contents.artifacts.values() if each.key == "pushed_model" and each.state == "LIVE"][-1]
    assert pushed.properties["pushed_version"] == max(versions(output))
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
    before = versions(output)
    untrained = "--tokenizer_overrides=optimizer.learning_rate=1e-9,optimizer.final_learning_rate=1e-9"
    refused = chain.run("pushed", untrained, "--gates.max_reconstruction_psnr_loss=0.01")
    assert refused.status == 1
    reason = r"reconstruction/psnr is \S+, the last blessed model's \S+: worse than \S+psnr_loss=0.01 allows"
    said = re.search(reason, refused.output)
    path = next(line for line in refused.output.splitlines() if line.startswith("Report:")).split()[-1]
    with open(path, encoding="utf-8") as file:
        report = file.read()
    assert markupsafe.escape(said[0]) in report
    assert versions(output) == before


def test_a_last_blessed_model_that_can_not_be_measured_again_is_a_missed_gate(chain, warm, monkeypatch):
    from pipelines.components import generative_evaluator
    from vim_tf.errors import InputError

    def of_other_classes(config, model):
        raise InputError("the language model has 2 labels and the images have 3")

    monkeypatch.setattr(generative_evaluator, "_measured_again", of_other_classes)
    refused = chain.run("pushed", "--gates.max_reconstruction_psnr_loss=0.02")
    assert refused.status == 1
    said = "Not pushed: the last blessed model can't be measured like this one: the language model has 2 labels"
    assert said in refused.output
