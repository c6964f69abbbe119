"""Large requests in files."""

import json

import numpy as np
import pytest

from tests.testing import save_untrained_language_model, save_untrained_tokenizer
from vim_tf import config as configs
from vim_tf import sample
from vim_tf.devices import compilation
from vim_tf.errors import InputError
from vim_tf.sampling import samplers
from vim_tf.sampling.jobs import SampleJob, run_job


def job_in(folder, **changes):
    values = {
        "labels": np.repeat(np.arange(3, dtype=np.int32), 4),
        "seeds": np.arange(12, dtype=np.int32) + 100,
        "num_shards": 5,
        "settings": {"tokenizer": "a", "sampling": {"top_k": 0}},
    }
    return SampleJob(str(folder), **(values | changes))


def draw(labels, seeds):
    return {"tokens": np.stack([labels, seeds], axis=1)}


def contents(job):
    """Rows (index, label, seed, tokens) of all files."""
    rows = []
    for shard in range(job.num_shards):
        with np.load(job.path(shard)) as data:
            rows += list(zip(data["indices"], data["labels"], data["seeds"], map(tuple, data["tokens"]), strict=True))
    return sorted(rows)


EXPECTED = [(i, i // 4, 100 + i, (i // 4, 100 + i)) for i in range(12)]


def test_every_image_is_in_one_file_with_its_label_and_seed(tmp_path):
    job = job_in(tmp_path)
    assert run_job(job, draw) == []
    assert contents(job) == EXPECTED


def test_every_file_has_its_share_of_each_label(tmp_path):
    job = job_in(tmp_path, num_shards=4)
    for shard in range(4):
        np.testing.assert_array_equal(job.labels[job.indices(shard)], [0, 1, 2])


def test_what_rejection_draws_together_stays_in_one_file(tmp_path):
    job = job_in(tmp_path, num_shards=2, group=5)
    assert job.indices(0).tolist() == [0, 1, 2, 3, 4, 10, 11]
    assert job.indices(1).tolist() == [5, 6, 7, 8, 9]
    run_job(job, draw)
    assert contents(job) == EXPECTED
    with pytest.raises(InputError, match="from 1 to 3"):
        job_in(tmp_path, num_shards=4, group=5)


def test_a_job_that_was_stopped_resumes_with_the_missing_files(tmp_path):
    job, calls = job_in(tmp_path), []

    def stopping(labels, seeds):
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(seeds)
        return draw(labels, seeds)

    with pytest.raises(KeyboardInterrupt):
        run_job(job, stopping)
    assert job.missing() == [2, 3, 4]
    drawn = []
    run_job(job, lambda labels, seeds: drawn.extend(seeds) or draw(labels, seeds))
    assert sorted([*drawn, *np.concatenate(calls)]) == list(range(100, 112))
    assert contents(job) == EXPECTED


def test_processes_share_the_files(tmp_path):
    job = job_in(tmp_path)
    assert run_job(job, draw, process=1, num_processes=2) == [0, 2, 4]
    assert run_job(job, draw, process=0, num_processes=2) == []
    assert contents(job) == EXPECTED


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"seeds": np.arange(12, dtype=np.int32)}, "labels_and_seeds"),
        ({"labels": np.repeat(np.arange(3, dtype=np.int32)[::-1], 4)}, "labels_and_seeds"),
        ({"settings": {"tokenizer": "b", "sampling": {"top_k": 0}}}, "tokenizer"),
        ({"num_shards": 6}, "num_shards"),
        ({"settings": {"tokenizer": "a", "sampling": {"top_k": 3}}}, "sampling"),
    ],
)
def test_files_of_another_job_are_refused_and_kept(tmp_path, changes, named):
    job = job_in(tmp_path)
    run_job(job, draw)
    with pytest.raises(InputError, match=rf"holds images of another job \(different: {named}\)"):
        run_job(job_in(tmp_path, **changes), draw)
    assert contents(job) == EXPECTED


def test_more_files_than_images_are_refused(tmp_path):
    with pytest.raises(InputError, match="choose num_shards from 1 to 12"):
        job_in(tmp_path, num_shards=13)


def test_files_that_are_added_on_another_device_are_compiled_or_not_like_the_first(tmp_path, monkeypatch):
    tokenizer = save_untrained_tokenizer(tmp_path / "tokenizer")
    language_model = save_untrained_language_model(tmp_path / "language_model", tokenizer)
    output = tmp_path / "samples"
    config = configs.SampleCommand(
        tokenizer=tokenizer,
        language_model=language_model,
        labels=(0, 1),
        num_per_label=1,
        output=str(output),
        num_shards=2,
    )
    described = []
    build_sampler = samplers.build_sampler

    def build(*arguments):
        described.append(build_sampler(*arguments).description["jit_compile"])
        return build_sampler(*arguments)

    monkeypatch.setattr(samplers, "build_sampler", build)
    monkeypatch.setattr(compilation, "choose", lambda setting, precision: "off" if setting == "auto" else setting)
    sample.run(config)
    (output / "samples-00001-of-00002.npz").unlink()
    monkeypatch.setattr(compilation, "choose", lambda setting, precision: "on" if setting == "auto" else setting)
    sample.run(config)
    assert described == [False, False]
    assert json.loads((output / "job.json").read_text())["sampling"]["jit_compile"] is False
    assert (output / "samples-00001-of-00002.npz").exists()
