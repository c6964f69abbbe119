"""Common parts of all Beam jobs: runners, one element per shard, and the reporting of unusable input.

An element is a list of files, and its result is a few numbers, because runners keep what moves between their stages in
memory or send it over the network. Images are read, processed and written inside one function call.
"""

import shutil

import apache_beam as beam
import tensorflow as tf
from apache_beam.options import pipeline_options
from apache_beam.runners.portability import flink_runner, spark_runner

from vim_tf.errors import InputError, one_line
from vim_tf.storage import files

# DirectRunner itself would first try to download another runner.
LOCAL_RUNNER = "apache_beam.runners.portability.fn_api_runner.fn_runner.FnApiRunner"
DASK_RUNNER = "apache_beam.runners.dask.dask_runner.DaskRunner"
_RUNNERS = {"": LOCAL_RUNNER, "DirectRunner": LOCAL_RUNNER, "DaskRunner": DASK_RUNNER}

# What connects a runner to a cluster; None = a service that has been started by someone else.
_JOB_SERVERS = {
    "FlinkRunner": flink_runner.FlinkJarJobServer,
    "SparkRunner": spark_runner.SparkJarJobServer,
    "PortableRunner": None,
}

_FAILURE_NAME = "FAILED.txt"


def parse_options(arguments, num_shards=1):
    """Parses Beam's flags and refuses those that Beam doesn't know.

    Args:
        arguments: list of str, `--name=value`. Without `--runner`, the work is done in this process.
        num_shards: int; on Dask, the number of partitions unless the flags set it. Dask would put up to 128 shards into
            one partition, that is, on one worker.

    Returns:
        apache_beam.options.pipeline_options.PipelineOptions.

    Raises:
        InputError: a flag is unknown or has an unusable value, or the runner isn't installed.
    """
    arguments = list(arguments)
    given = [argument.partition("=")[2] for argument in arguments if argument.startswith("--runner=")]
    runner = given[-1] if given else ""
    if runner in _RUNNERS:
        arguments = [each for each in arguments if not each.startswith("--runner=")] + [f"--runner={_RUNNERS[runner]}"]
    if _RUNNERS.get(runner, runner) == DASK_RUNNER:
        _check_dask()
        if not any(each.startswith(("--dask_npartitions", "--dask_partition_size")) for each in arguments):
            arguments.append(f"--dask_npartitions={num_shards}")
    unknown = _unknown_flags(arguments)
    if unknown:
        raise InputError(f"--beam_args: Beam has no flag {unknown[0]}; docs/beam_runners.md lists those of each runner")
    return pipeline_options.PipelineOptions(arguments)


def make_pipeline(options):
    """The apache_beam.Pipeline of `parse_options`.

    Raises:
        InputError: there is no such runner, or its job server is missing.
    """
    _check_job_server(options)
    try:
        return beam.Pipeline(options=options)
    except ValueError as error:
        raise InputError(f"--beam_args: {one_line(error)}") from error


def run_shards(pipeline, shards, work, finish):
    """Adds to a pipeline: `work` on each shard, and `finish` on the list of all results.

    Args:
        pipeline: apache_beam.Pipeline.
        shards: list of what can be pickled.
        work: ShardWork.
        finish: function of the list of what `work` yielded, each shard once and in order. It can be pickled, and writes
            manifest.json; an InputError from it is raised by `check_finished`.
    """
    return (
        pipeline
        | "Shards" >> beam.Create(shards)
        | "SpreadOverWorkers" >> beam.Reshuffle()
        | "Work" >> beam.ParDo(work)
        | "Gather" >> beam.combiners.ToList()
        | "Finish" >> beam.Map(_finish, work.folder, finish)
    )


def run(pipeline):
    """Runs a pipeline to its end."""
    result = pipeline.run()
    result.wait_until_finish()
    client = getattr(result, "client", None)
    if client is not None:  # Dask's, which would keep looking for a cluster that is gone
        client.close()


class ShardWork(beam.DoFn):
    """Turns one shard into one file; a second attempt at the same shard replaces the file.

    Unusable input is reported in the result instead of raised: runners bury exceptions in their own traces, and retry.

    Args:
        folder: str, where the job writes.
    """

    def __init__(self, folder):
        self.folder = folder

    def process(self, shard):
        """Yields the dict of `work_on`, or one with `failure`."""
        identity = {"split": shard.split, "index": shard.index}
        try:
            yield {**identity, **self.work_on(shard)}
        except InputError as error:
            yield {**identity, "failure": str(error)}

    def work_on(self, shard):
        """Dict with the outcome of a shard; implemented by subclasses.

        Raises:
            InputError: a file of the shard can't be used.
        """
        raise NotImplementedError


def prepare(folder, split_folders, patterns):
    """Removes what an earlier job wrote to an output folder, so that it isn't mistaken for this job's output.

    Args:
        folder: str, where manifest.json goes.
        split_folders: iterable of str.
        patterns: names of the files of a split, as globs.
    """
    stale = [f"{folder}/manifest.json", f"{folder}/{_FAILURE_NAME}"]
    for path in stale:
        if tf.io.gfile.exists(path):
            tf.io.gfile.remove(path)
    for split_folder in split_folders:
        for pattern in patterns:
            for path in tf.io.gfile.glob(f"{split_folder}/{pattern}"):
                tf.io.gfile.remove(path)
        tf.io.gfile.makedirs(split_folder)


def check_finished(folder, split_folders):
    """After the job: raises what was wrong with the input, and removes what killed attempts left.

    Raises:
        InputError: in one line.
        RuntimeError: the job ended without an outcome.
    """
    for split_folder in split_folders:
        files.remove_unfinished(split_folder)
    path = f"{folder}/{_FAILURE_NAME}"
    if tf.io.gfile.exists(path):
        with tf.io.gfile.GFile(path) as file:
            reason = file.read().strip()
        tf.io.gfile.remove(path)
        raise InputError(reason)
    if not tf.io.gfile.exists(f"{folder}/manifest.json"):
        raise RuntimeError(f"the Beam job ended without {folder}/manifest.json; its runner's log says why")


def numbered(name, shard):
    """File name of a shard's output: <name>-00000-of-00002."""
    return f"{name}-{shard.index:05d}-of-{shard.count:05d}"


def _finish(results, folder, finish):
    # Some runners deliver a shard's result more than once when they retry it.
    once = {(result["split"], result["index"]): result for result in results}
    results = [once[key] for key in sorted(once)]
    try:
        failures = [result["failure"] for result in results if "failure" in result]
        if failures:
            raise InputError(failures[0])
        finish(results)
    except InputError as error:
        files.write_whole(f"{folder}/{_FAILURE_NAME}", str(error))


def _check_job_server(options):
    """Makes sure, before anything is planned, that what connects to a Flink or Spark cluster is available."""
    runner = (options.view_as(pipeline_options.StandardOptions).runner or "").rpartition(".")[2]
    settings = options.view_as(pipeline_options.JobServerOptions)
    if runner not in _JOB_SERVERS or options.view_as(pipeline_options.PortableOptions).job_endpoint:
        return
    if _JOB_SERVERS[runner] is None:
        raise InputError(f"--beam_args: {runner} needs --job_endpoint=<host>:<port> of a running job service")
    name = runner.removesuffix("Runner").lower()
    given = options.get_all_options()
    if given.get(f"{name}_submit_uber_jar"):
        if not given.get(f"{name}_job_server_jar"):
            return  # of the version that the cluster says it is
    elif shutil.which(settings.job_server_java_launcher) is None:
        raise InputError(
            f"--beam_args: {runner} needs Java, and there is no {settings.job_server_java_launcher}: install it, or "
            "give --job_endpoint=<host>:<port> of a running job service"
        )
    try:
        # Downloads it, unless one is given, into the cache where the runner looks for it.
        server = _JOB_SERVERS[runner](options)
        server.local_jar(server.path_to_jar(), settings.jar_cache_dir)
    except (OSError, RuntimeError, ValueError) as error:
        raise InputError(
            f"--beam_args: {runner} needs Beam's job server, which isn't available: give its file as "
            f"--{name}_job_server_jar=<path>.jar ({one_line(error, 200)})"
        ) from error


def _check_dask():
    try:
        import dask.distributed  # noqa: F401
    except ImportError as error:
        raise InputError("--beam_args: Dask isn't installed: pip install vim_tf[dask]") from error
    from apache_beam.runners.dask import dask_runner  # noqa: F401, defines its flags


def _unknown_flags(arguments):
    parser = _Parser(allow_abbrev=False, add_help=False)
    for options in _subclasses(pipeline_options.PipelineOptions):
        options._add_argparse_args(parser)
    known, unknown = parser.parse_known_args(arguments)
    return unknown


def _subclasses(options):
    for each in options.__subclasses__():
        yield each
        yield from _subclasses(each)


class _Parser(pipeline_options._BeamArgumentParser):
    """Raises instead of exiting; a flag that two sets of options define is added only once."""

    def add_argument(self, *names, **settings):
        """As in argparse."""
        if set(names) & set(self._option_string_actions):
            return None
        return super().add_argument(*names, **settings)

    def error(self, message):
        raise InputError(f"--beam_args: {message}")
