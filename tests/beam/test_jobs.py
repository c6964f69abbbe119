"""Flags of Beam, and the commands that the documentation gives."""

import pathlib
import re
import urllib.error

import pytest
from apache_beam.options import pipeline_options

from vim_tf import config as configs
from vim_tf.beam import jobs
from vim_tf.cli import flags
from vim_tf.errors import InputError

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "beam_runners.md"


def documented():
    """{heading: MaterializeCommand of the command below it}."""
    commands = {}
    for section in PAGE.read_text().split("\n## ")[1:]:
        heading, _, text = section.partition("\n")
        lines = re.findall(r"^    (.*)$", text, re.MULTILINE)
        if lines:
            # The shell joins lines that end in a backslash.
            command = "\n".join(lines).replace("\\\n", "").split()
            assert command[:3] == ["python", "-m", "vim_tf.materialize"]
            commands[heading] = flags.parse(configs.MaterializeCommand, command[3:])
    return commands


COMMANDS = documented()
# Options that only the runner's own class defines, and must be in its view.
EXPECTED = {
    "One machine": (pipeline_options.DirectOptions, {"direct_num_workers": 4}),
    "Dataflow": (pipeline_options.GoogleCloudOptions, {"project": "my-project", "temp_location": "gs://bucket/temp"}),
    "Flink": (pipeline_options.FlinkRunnerOptions, {"flink_master": "jobmanager:8081", "flink_version": "1.19"}),
    "Spark": (pipeline_options.SparkRunnerOptions, {"spark_master_url": "spark://master:7077", "spark_version": "3"}),
}


@pytest.mark.parametrize("heading", EXPECTED)
def test_beam_knows_every_documented_flag(heading):
    view, values = EXPECTED[heading]
    arguments = COMMANDS[heading].beam_args
    options = jobs.parse_options(arguments)
    assert {name: getattr(options.view_as(view), name) for name in values} == values
    given = [argument.partition("=")[0].removeprefix("--") for argument in arguments]
    known = options.get_all_options(retain_unknown_options=False)
    aliases = {"worker_machine_type": "machine_type"}
    assert {aliases.get(name, name) for name in given} <= set(known)


def test_the_documented_flags_of_dask_are_known_where_it_is_installed():
    pytest.importorskip("dask.distributed", reason="Dask is an optional extra")
    from apache_beam.runners.dask.dask_runner import DaskOptions

    options = jobs.parse_options(COMMANDS["Dask"].beam_args, num_shards=128).view_as(DaskOptions)
    assert (options.address, options.npartitions) == ("tcp://scheduler:8786", 128)


def test_every_runner_has_its_command():
    assert set(COMMANDS) == {*EXPECTED, "Dask"}


def test_a_flag_that_beam_does_not_know_is_refused():
    with pytest.raises(InputError, match="Beam has no flag --direct_nun_workers=4"):
        jobs.parse_options(["--runner=DirectRunner", "--direct_nun_workers=4"])


def test_a_value_that_beam_does_not_take_is_refused():
    with pytest.raises(InputError, match="direct_num_workers"):
        jobs.parse_options(["--direct_num_workers=many"])
    with pytest.raises(InputError, match="--beam_args: .*DirctRunner"):
        jobs.make_pipeline(jobs.parse_options(["--runner=DirctRunner"]))


class TestJobServers:
    """What connects this process to a cluster is available before anything is planned."""

    @pytest.fixture
    def no_network(self, monkeypatch, tmp_path):
        def fail(url, path, user_agent=None):
            raise urllib.error.URLError("no route to host")

        monkeypatch.setattr("apache_beam.utils.subprocess_server.JavaJarServer._download_jar_to_cache", fail)
        monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
        return f"--jar_cache_dir={tmp_path}"

    @pytest.mark.parametrize(("runner", "flag"), [("Flink", "flink_job_server_jar"), ("Spark", "spark_job_server_jar")])
    def test_a_runner_without_its_job_server_names_the_flag(self, no_network, runner, flag):
        with pytest.raises(
            InputError, match=f"{runner}Runner needs Beam's job server, .*--{flag}=<path>.jar"
        ) as refusal:
            jobs.make_pipeline(jobs.parse_options([f"--runner={runner}Runner", no_network]))
        assert "\n" not in str(refusal.value) and "Unable to fetch" in str(refusal.value)

    @pytest.mark.parametrize("more", [[], ["--flink_submit_uber_jar", "--flink_master=host:8081"]])
    def test_a_missing_job_server_names_the_flag(self, no_network, more):
        arguments = ["--runner=FlinkRunner", "--flink_job_server_jar=/nowhere/server.jar", no_network, *more]
        with pytest.raises(InputError, match="--flink_job_server_jar=<path>.jar .*/nowhere/server.jar"):
            jobs.make_pipeline(jobs.parse_options(arguments))

    def test_a_job_server_at_hand_is_taken(self, no_network, tmp_path):
        (tmp_path / "server.jar").write_bytes(b"")
        arguments = ["--runner=FlinkRunner", f"--flink_job_server_jar={tmp_path}/server.jar", no_network]
        assert type(jobs.make_pipeline(jobs.parse_options(arguments)).runner).__name__ == "FlinkRunner"
        arguments = ["--runner=FlinkRunner", "--job_endpoint=localhost:8099", no_network]
        assert type(jobs.make_pipeline(jobs.parse_options(arguments)).runner).__name__ == "FlinkRunner"

    def test_a_runner_without_java_or_a_service_says_so(self, no_network, monkeypatch):
        monkeypatch.setattr("shutil.which", lambda name: None)
        with pytest.raises(InputError, match="SparkRunner needs Java, and there is no java: install it"):
            jobs.make_pipeline(jobs.parse_options(["--runner=SparkRunner"]))
        with pytest.raises(InputError, match="PortableRunner needs --job_endpoint"):
            jobs.make_pipeline(jobs.parse_options(["--runner=PortableRunner"]))


def test_without_a_runner_the_work_is_done_in_this_process():
    options = jobs.parse_options([]).view_as(pipeline_options.StandardOptions)
    assert options.runner == jobs.LOCAL_RUNNER
    options = jobs.parse_options(["--runner=FlinkRunner"]).view_as(pipeline_options.StandardOptions)
    assert options.runner == "FlinkRunner"


def test_a_job_that_ends_without_an_outcome_fails(tmp_path):
    with pytest.raises(RuntimeError, match="ended without"):
        jobs.check_finished(str(tmp_path), [])


def test_what_killed_attempts_left_behind_is_removed(tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "tokens-00000-of-00001.tfrecord.gz.tmp-host-1-abc").write_bytes(b"half")
    (tmp_path / "manifest.json").write_text("{}")
    jobs.check_finished(str(tmp_path), [f"{tmp_path}/train"])
    assert list((tmp_path / "train").iterdir()) == []
