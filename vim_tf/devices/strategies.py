"""Where a training step runs, and what several workers that train together must agree on."""

import contextlib
import functools
import json
import os
import tempfile

import tensorflow as tf

from vim_tf.errors import InputError, one_line


def build_strategy(name, tpu=""):
    """A tf.distribute strategy.

    Args:
        name: auto (every GPU that TensorFlow sees, else the CPU), one (a single device), mirrored (every GPU, or every
            logical CPU where there is no GPU), multi_worker (the processes that the variable TF_CONFIG names, each with
            its GPUs or its CPU; a process that is named alone is as under auto) or tpu.
        tpu: name or address of the TPU; empty = the local one.

    Raises:
        InputError: the TPU can't be reached, or TF_CONFIG is missing or wrong.
    """
    if name == "multi_worker":
        return _multi_worker()
    gpus = tf.config.list_logical_devices("GPU")
    devices = gpus or (tf.config.list_logical_devices("CPU") if name == "mirrored" else [])
    # One device needs no copies of its weights, and XLA compiles its updates.
    if name in ("auto", "mirrored") and len(devices) > 1:
        return _mirrored(tuple(device.name for device in devices))
    if name == "tpu":
        try:
            resolver = tf.distribute.cluster_resolver.TPUClusterResolver.connect(tpu)
        except (ValueError, tf.errors.OpError) as error:
            raise InputError(
                f"no TPU at {tpu or 'this machine'}; --tpu=<name> says which one: {one_line(error)}"
            ) from error
        return tf.distribute.TPUStrategy(resolver)
    return tf.distribute.get_strategy()


@functools.cache
def _mirrored(devices):
    """The process's one MirroredStrategy on these devices.

    Each one counts its collectives from the same number, and TensorFlow would take those of a second strategy for
    further members of the first one's: a pipeline that trains two stages in one process fails or hangs.
    """
    return tf.distribute.MirroredStrategy(list(devices))


@functools.cache
def _multi_worker():
    """The process's one MultiWorkerMirroredStrategy; it must come before TensorFlow's first operation."""
    text = os.environ.get("TF_CONFIG", "")
    check_cluster(text)
    if sum(len(addresses) for addresses in json.loads(text)["cluster"].values()) == 1:
        return build_strategy("auto")
    communication = tf.distribute.experimental.CommunicationImplementation
    has_gpus = bool(tf.config.list_physical_devices("GPU"))
    options = tf.distribute.experimental.CommunicationOptions(
        implementation=communication.AUTO if has_gpus else communication.RING
    )
    try:
        strategy = tf.distribute.MultiWorkerMirroredStrategy(communication_options=options)
    except RuntimeError as error:
        raise InputError(
            f"strategy multi_worker needs a process in which TensorFlow has done nothing before: {error}"
        ) from error
    except (ValueError, tf.errors.OpError) as error:
        raise InputError(
            f"the cluster of TF_CONFIG can't be joined: {one_line(error, lines=1)}; each worker needs an address of "
            "its own that is free and that the others reach"
        ) from error
    _broadcast_as_int32(strategy.extended, tf.int8)
    return strategy


def _broadcast_as_int32(extended, dtype):
    """Makes the initial values of variables of an integer type travel from the chief to the other workers as int32.

    TensorFlow's broadcast takes neither int8 nor any other small type, so that a variable of one could not be made.
    """
    as_they_are = extended._get_variable_creator_initial_value

    def widened(replica_id, device, primary_var, **kwargs):
        if replica_id or kwargs.get("dtype") is None or tf.as_dtype(kwargs["dtype"]) != dtype:
            return as_they_are(replica_id, device, primary_var, **kwargs)
        initial_value = kwargs["initial_value"]

        def wide():
            return tf.cast(initial_value() if callable(initial_value) else initial_value, tf.int32)

        received = as_they_are(replica_id, device, primary_var, **kwargs | {"initial_value": wide, "dtype": tf.int32})
        return lambda: tf.cast(received(), dtype)

    extended._get_variable_creator_initial_value = widened


def check_cluster(text):
    """Refuses a TF_CONFIG that describes no cluster of workers with this process among them.

    Args:
        text: str, content of the variable.

    Raises:
        InputError: says what is wrong and shows the form.
    """
    form = (
        'it must look like {"cluster": {"worker": ["host0:port", "host1:port"]}, '
        '"task": {"type": "worker", "index": 0}}'
    )
    if not text:
        raise InputError(f"strategy multi_worker needs the environment variable TF_CONFIG; {form}")
    try:
        config = json.loads(text)
        cluster, task = config["cluster"], config["task"]
        kind, index = task["type"], task["index"]
        jobs = {job: len(addresses) for job, addresses in cluster.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"TF_CONFIG is broken ({error!r}); {form}") from error
    broken = [
        job
        for job, addresses in cluster.items()
        if not isinstance(addresses, list) or not all(isinstance(each, str) for each in addresses)
    ]
    if broken:
        raise InputError(f"TF_CONFIG is broken: {broken[0]} is no list of addresses; {form}")
    if not isinstance(kind, str) or not isinstance(index, int) or not 0 <= index < jobs.get(kind, 0):
        raise InputError(f"TF_CONFIG's task {task} is none of its cluster {cluster}; {form}")
    strange = sorted({*jobs} - {"chief", "worker"})
    if strange:
        raise InputError(f"TF_CONFIG's cluster has tasks {', '.join(strange)}, where only workers can train; {form}")
    if jobs.get("chief", 0) > 1:
        raise InputError(f"TF_CONFIG's cluster has {jobs['chief']} chiefs, where one at most is possible; {form}")


def is_chief(strategy):
    """Whether this process is the one that writes the workdir and speaks to the user."""
    return not _is_multi_worker(strategy) or strategy.extended.should_checkpoint


def is_chief_of_cluster(name):
    """`is_chief` for what is done after a training, by the name of its strategy.

    Args:
        name: str, `strategy` of the train config.
    """
    return name != "multi_worker" or is_chief(_multi_worker())


def _is_multi_worker(strategy):
    return isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)


@contextlib.contextmanager
def output_folder(strategy, folder):
    """Folder for what every worker must write: the given one for the chief, else one that is gone afterwards.

    Workers save, validate and record alike, so that none waits for another; only the chief's files are wanted.
    """
    if is_chief(strategy):
        yield folder
    else:
        with tempfile.TemporaryDirectory(prefix="vim_tf_worker_") as temporary:
            yield temporary


def distribute(strategy, make_batches, batch_size):
    """Training data for `fit`: each replica gets its rows of the batch that one device would get whole.

    Args:
        strategy: tf.distribute.Strategy.
        make_batches: function that returns a tf.data.Dataset of batches; given a pair (first row, number of rows), of
            only those rows of each batch, so that a worker reads no images of the others.
        batch_size: int, rows of a whole batch; the number of replicas divides it.

    Returns:
        tf.data.Dataset or tf.distribute.DistributedDataset.
    """
    if not _is_multi_worker(strategy):
        return strategy.experimental_distribute_dataset(make_batches())

    def of_worker(context):
        share = batch_size // context.num_input_pipelines
        num_replicas = strategy.num_replicas_in_sync // context.num_input_pipelines
        return split_batches(make_batches((context.input_pipeline_id * share, share)), num_replicas)

    return strategy.distribute_datasets_from_function(of_worker)


def split_batches(batches, parts):
    """Cuts each batch into neighbouring parts that follow one another.

    Args:
        batches: tf.data.Dataset of nests of tensors with a static batch axis that `parts` divides.
        parts: int.
    """
    if parts == 1:
        return batches

    def cut(batch):
        return tf.nest.map_structure(lambda x: tf.reshape(x, [parts, x.shape[0] // parts, *x.shape[1:]]), batch)

    return batches.map(cut).unbatch()


def replicated(strategy, function):
    """A function of a batch that gives each replica of this process its share of the rows.

    Args:
        strategy: tf.distribute.Strategy in whose scope the function's weights were made.
        function: tf.function from models, if it takes any, and last a nest of tensors [rows, ...] to a nest of tensors
            [rows, ...].

    Returns:
        function of the same, with at least one row in arrays or tensors, that returns the nest of tensors of all rows.
        The last row is repeated where the replicas would not get equally many, and what that gives is left out again.
        Workers that call it don't wait for one another: each works on all rows that it is given.
    """
    count = num_local_replicas(strategy)
    if count == 1:
        return function

    @tf.function(reduce_retracing=True)
    def shared(*models_and_batch):
        *models, batch = models_and_batch
        num_rows = tf.shape(tf.nest.flatten(batch)[0])[0]
        share = -(-num_rows // count)
        index = tf.minimum(tf.range(share * count), num_rows - 1)
        padded = tf.nest.map_structure(lambda values: tf.gather(values, index), batch)

        def replica():
            place = tf.distribute.get_replica_context().replica_id_in_sync_group % count
            rows = slice(place * share, (place + 1) * share)
            return function(*models, tf.nest.map_structure(lambda values: values[rows], padded))

        return tf.nest.map_structure(
            lambda value: tf.concat(strategy.experimental_local_results(value), axis=0)[:num_rows],
            strategy.run(replica),
        )

    return lambda *models_and_batch: shared(
        *models_and_batch[:-1], tf.nest.map_structure(tf.convert_to_tensor, models_and_batch[-1])
    )


def num_local_replicas(strategy):
    """Number of replicas that this process runs: int."""
    return len(strategy.extended.worker_devices) if _is_multi_worker(strategy) else strategy.num_replicas_in_sync


def rows_at_once(batch_size, num_microbatches):
    """Rows that take no more memory than a training step when all replicas of this process work on them.

    To be called in the training's strategy's scope.

    Args:
        batch_size: int, rows of a whole batch of the training.
        num_microbatches: int, parts that a replica's share of it is cut into.
    """
    strategy = tf.distribute.get_strategy()
    return batch_size // (strategy.num_replicas_in_sync * num_microbatches) * num_local_replicas(strategy)


def any_worker(strategy):
    """A function of a bool that says whether it is true in any worker's call; with one process, that bool.

    All workers must call it at the same steps. A call sums one number over the workers.
    """
    if not _is_multi_worker(strategy):
        return bool
    total = _over_workers(strategy)
    return lambda flag: bool(total(float(flag)) > 0)


def of_chief(strategy):
    """A function of a number that gives every worker the chief's, as float; None with one process.

    All workers must call it at the same steps. A call sums one number over the workers.
    """
    if not _is_multi_worker(strategy):
        return None
    total, share = _over_workers(strategy), is_chief(strategy) / num_local_replicas(strategy)
    return lambda number: float(total(number * share))


def _over_workers(strategy):
    """Function of a float that sums it over all replicas: float32 []."""

    @tf.function(input_signature=[tf.TensorSpec([])], autograph=False)
    def total(value):
        return strategy.reduce("SUM", strategy.run(lambda: value), axis=None)

    return lambda value: total(tf.constant(value, tf.float32))


def check_same_step(strategy, step):
    """Refuses workers that go on from different steps.

    Args:
        strategy: tf.distribute.Strategy.
        step: int, the step that this process has restored.

    Raises:
        InputError: another worker has another step, in every worker alike.
    """
    if not _is_multi_worker(strategy):
        return

    @tf.function(input_signature=[tf.TensorSpec([], tf.int32)], autograph=False)
    def steps(own):
        return strategy.gather(strategy.run(lambda: own[tf.newaxis]), axis=0)

    found = sorted({int(value) for value in steps(tf.constant(step))})
    if len(found) > 1:
        raise InputError(
            f"the workers go on from different steps ({', '.join(map(str, found))}); --workdir must be one folder that "
            "all of them see"
        )
