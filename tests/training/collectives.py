"""Counts the collectives between the replicas of a training step."""

import collections
import contextlib

from tensorflow.python.distribute import cross_device_ops

from vim_tf.devices import strategies

# The hint of the kinds of ops that move a tensor between replicas, on any device.
_PREFIXES = ("Collective", "Nccl")


def of_step(trainer, batches):
    """Collectives of one step of training on one replica.

    Args:
        trainer: Trainer.
        batches: what its `fit` takes.

    Returns:
        dict from the type of an op (such as CollectiveReduceV2) to the number of them that each replica runs, and under
        `reductions` how often values of several replicas are combined in any way.
    """
    with _counted_reductions() as reductions:
        concrete = trainer.make_train_function().get_concrete_function(iter(batches))
    local = strategies.num_local_replicas(trainer.distribute_strategy)
    counts = {name: count / local for name, count in _ops(concrete.graph).items()}
    return counts | {"reductions": len(reductions)}


def _ops(graph):
    """How often each collective op occurs in a graph and in all functions that it calls."""
    definition = graph.as_graph_def(add_shapes=False)
    nodes = [*definition.node, *(node for function in definition.library.function for node in function.node_def)]
    return collections.Counter(
        node.op for node in nodes if node.op.startswith(_PREFIXES) and "InitGroup" not in node.op
    )


@contextlib.contextmanager
def _counted_reductions():
    """Collects the reductions, of one value or of a batch, that are requested while a graph is traced."""
    found = []
    kind = cross_device_ops.CrossDeviceOps
    before = {name: getattr(kind, name) for name in ("reduce", "batch_reduce", "_gather")}

    def counted(method):
        def call(self, *args, **kwargs):
            found.append(method)
            return before[method](self, *args, **kwargs)

        return call

    for name in before:
        setattr(kind, name, counted(name))
    try:
        yield found
    finally:
        for name, method in before.items():
            setattr(kind, name, method)
