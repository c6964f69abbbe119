"""Distribution strategies, and what workers that train together must agree on."""

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
            logical CPU if there is no GPU), multi_worker (the processes listed in the environment variable TF_CONFIG,
            each with its GPUs or its CPU; a process that is the only one works as with auto) or tpu.
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
                f"no TPU found at {tpu or 'this machine'}; select one with --tpu=<name>: {one_line(error)}"
            ) from error
        return tf.distribute.TPUStrategy(resolver)
    return tf.distribute.get_strategy()


@functools.cache
def _mirrored(devices):
    """The process's one MirroredStrategy on these devices.

    Each strategy numbers its collectives from the same start, and TensorFlow would take those of a second strategy for
    more members of the first one's: a pipeline that trains two stages in one process would fail or hang.
    """
    return tf.distribute.MirroredStrategy(list(devices))


@functools.cache
def _multi_worker():
    """The process's one MultiWorkerMirroredStrategy; it must be created before TensorFlow's first operation."""
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
            f"strategy multi_worker needs a process in which TensorFlow hasn't run anything yet: {error}"
        ) from error
    except (ValueError, tf.errors.OpError) as error:
        raise InputError(
            f"the cluster of TF_CONFIG can't be joined: {one_line(error, lines=1)}; each worker needs its own "
            "free address that the others can reach"
        ) from error
    _broadcast_as_int32(strategy.extended, tf.int8)
    return strategy


def _broadcast_as_int32(extended, dtype):
    """Broadcasts the initial values of variables of an integer dtype from the chief to the other workers as int32.

    TensorFlow's broadcast supports neither int8 nor any other small dtype, so such variables couldn't be created.
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
    """Refuses a TF_CONFIG that doesn't describe a cluster of workers with this process among them.

    Args:
        text: str, value of the variable.

    Raises:
        InputError: says what is wrong and shows the expected form.
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
        raise InputError(f"TF_CONFIG is broken: {broken[0]} isn't a list of addresses; {form}")
    if not isinstance(kind, str) or not isinstance(index, int) or not 0 <= index < jobs.get(kind, 0):
        raise InputError(f"TF_CONFIG's task {task} isn't in its cluster {cluster}; {form}")
    strange = sorted({*jobs} - {"chief", "worker"})
    if strange:
        raise InputError(f"TF_CONFIG's cluster has tasks {', '.join(strange)}, but only workers can train; {form}")
    if jobs.get("chief", 0) > 1:
        raise InputError(f"TF_CONFIG's cluster has {jobs['chief']} chiefs, but there can be only one; {form}")


def is_chief(strategy):
    """Whether this process is the one that writes the workdir and reports to the user."""
    return not _is_multi_worker(strategy) or strategy.extended.should_checkpoint


def is_chief_of_cluster(name):
    """`is_chief` after a training has ended, by the name of its strategy.

    Args:
        name: str, `strategy` of the train config.
    """
    return name != "multi_worker" or is_chief(_multi_worker())


def _is_multi_worker(strategy):
    return isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)


@contextlib.contextmanager
def output_folder(strategy, folder):
    """Context manager for the folder that a worker writes to: the given one for the chief, else a temporary one.

    All workers save, validate and record, so that none waits for another, but only the chief's files are kept.
    """
    if is_chief(strategy):
        yield folder
    else:
        with tempfile.TemporaryDirectory(prefix="vim_tf_worker_") as temporary:
            yield temporary


def distribute(strategy, make_batches, batch_size):
    """Training data for `fit`: each replica gets its share of the rows that a single device would get.

    Args:
        strategy: tf.distribute.Strategy.
        make_batches: function that returns a tf.data.Dataset of batches; given a pair (first row, number of rows), only
            those rows of each batch, so that a worker doesn't read the images of the others.
        batch_size: int, rows of a whole batch, divisible by the number of replicas.

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
    """Splits each batch into consecutive parts of neighbouring rows.

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
    """Distributes the rows of a function's batch over the replicas of this process.

    Args:
        strategy: tf.distribute.Strategy in whose scope the function's weights were created.
        function: tf.function of any number of models, followed by a nest of tensors [rows, ...], that returns a nest
            of tensors [rows, ...].

    Returns:
        function of the same arguments, with at least one row in arrays or tensors, that returns the nest of tensors of
        all rows. If the rows can't be divided evenly, the last one is repeated, and the extra results are dropped.
        Workers that call it don't wait for one another: each processes all the rows that it is given.
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
            number = tf.distribute.get_replica_context().replica_id_in_sync_group % count
            rows = slice(number * share, (number + 1) * share)
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
    """Number of rows that the replicas of this process can handle at once in the memory of a training step.

    Must be called in the scope of the training's strategy.

    Args:
        batch_size: int, rows of a whole training batch.
        num_microbatches: int, parts that a replica's share of it is split into.
    """
    strategy = tf.distribute.get_strategy()
    return batch_size // (strategy.num_replicas_in_sync * num_microbatches) * num_local_replicas(strategy)


def any_worker(strategy):
    """A function of a bool that returns whether it is true on any worker; with one process, the bool itself.

    All workers must call it at the same steps. A call sums one number over the workers.
    """
    if not _is_multi_worker(strategy):
        return bool
    total = _over_workers(strategy)
    return lambda flag: bool(total(float(flag)) > 0)


def of_chief(strategy):
    """A function of a number that returns the chief's number on every worker, as float; None with one process.

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
    """Refuses workers that resume from different steps.

    Args:
        strategy: tf.distribute.Strategy.
        step: int, the step that this process has restored.

    Raises:
        InputError: the workers have different steps; every worker raises it.
    """
    if not _is_multi_worker(strategy):
        return

    @tf.function(input_signature=[tf.TensorSpec([], tf.int32)], autograph=False)
    def steps(own):
        return strategy.gather(strategy.run(lambda: own[tf.newaxis]), axis=0)

    found = sorted({int(value) for value in steps(tf.constant(step))})
    if len(found) > 1:
        raise InputError(
            f"the workers resume from different steps ({', '.join(map(str, found))}); --workdir must be one folder "
            "that all of them can access"
        )
