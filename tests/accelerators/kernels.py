"""Finds operations of a graph that a GPU can't run, from TensorFlow's registry, which needs no GPU."""

import functools

import tensorflow as tf
from tensorflow.python.framework import kernels, op_def_registry

# Operations whose GPU kernel, or XLA's for a GPU, refuses or may refuse to be deterministic. Found in the installed
# library by
#   strings libtensorflow_cc.so.2 | grep -iE "determinis" | grep -iE "not (yet|currently|available)|do not yet|is not"
# and complete for these messages, with two exceptions. Segment reductions have a deterministic kernel, which the
# switch for determinism chooses ("Deterministic GPU implementation of unsorted segment reduction op not available"
# can't be reached then); of SVD and the debugger's summaries only forms are refused that don't occur here.
REFUSED_IF_DETERMINISTIC = {
    *("Bincount", "DenseBincount", "RaggedBincount", "SparseBincount"),
    *("FakeQuantWithMinMaxVarsGradient", "FakeQuantWithMinMaxVarsPerChannelGradient"),
    # Scatter operations of reference variables.
    *(f"Scatter{what}" for what in ("Add", "Div", "Max", "Min", "Mul", "Sub", "Update", "NdAdd", "NdSub", "NdUpdate")),
    *("AdjustContrast", "AdjustContrastv2", "ResizeNearestNeighborGrad"),
    *("CropAndResizeGradBoxes", "CropAndResizeGradImage"),
    *("Dilation2DBackpropFilter", "Dilation2DBackpropInput", "MaxPoolGradWithArgmax"),
    # Filters' gradients without cuDNN, and batch normalisation in inference.
    *("DepthwiseConv2dNativeBackpropFilter", "FusedBatchNormGrad", "FusedBatchNormGradV2", "FusedBatchNormGradV3"),
    *("SparseTensorDenseMatMul", "SoftmaxCrossEntropyWithLogits", "SparseSoftmaxCrossEntropyWithLogits"),
    *("NonDeterministicInts", "Timestamp", "DebugNumericSummaryV2", "Svd"),
}
REFUSED_IN_XLA_IF_DETERMINISTIC = {"MaxPoolGrad", "MaxPoolGradV2", "MaxPool3DGrad"}


# Operations on files and what they are decoded to, up to the images of a batch: on the host.
FILE_TYPES = (tf.string, tf.uint8)


def problems(concrete, host_types=()):
    """Operations that a GPU can't run, in a traced function and all functions that it calls.

    Operations that nothing needs are left out, as TensorFlow does. In functions compiled by XLA, XLA's kernel for GPUs
    counts. Data sets run on the host, and so does a loop that decodes files in its body.

    Args:
        concrete: tf.types.experimental.ConcreteFunction.
        host_types: operations on these may be the host's.

    Returns:
        list of str, one for each operation: its name and what is wrong.
    """
    library = {function.signature.name: function for function in concrete.graph.as_graph_def().library.function}
    decoders = _names_of_decoders(library)
    found, seen = [], set()

    def visit(function, compiled):
        if (function.signature.name, compiled) in seen:
            return
        seen.add((function.signature.name, compiled))
        for node in needed_nodes(function):
            called = [library[name] for name in _functions_of(node) if name in library]
            if "Dataset" in node.op or any(each.signature.name in decoders for each in called):
                continue
            problem = _problem(node, compiled)
            if problem and not set(host_types) & set(_types_of(node)):
                found.append(f"{node.name} ({node.op}): {problem}")
            for each in called:
                visit(each, compiled or _must_compile(node) or _must_compile(each))

    visit(concrete.function_def, compiled=False)
    return found


def needed_nodes(function):
    """Operations of a FunctionDef that its results or side effects need."""
    nodes = {node.name: node for node in function.node_def}
    left, needed = [*function.ret.values(), *function.control_ret.values()], {}
    while left:
        name = left.pop().removeprefix("^").partition(":")[0]
        if name in nodes and name not in needed:
            needed[name] = nodes[name]
            left += nodes[name].input
    return needed.values()


def _problem(node, compiled):
    devices = {"XLA_GPU_JIT"} if compiled else {"GPU", "DEFAULT"}
    if not any(each.device_type in devices and _takes(each, node) for each in _kernels(node.op)):
        return f"no kernel for {' or '.join(sorted(devices))} of {', '.join(each.name for each in _types_of(node))}"
    if node.op in (REFUSED_IN_XLA_IF_DETERMINISTIC if compiled else REFUSED_IF_DETERMINISTIC):
        return "refused where operations must be deterministic"
    return None


@functools.cache
def _kernels(operation):
    _register_xla_kernels()
    return kernels.get_registered_kernels_for_op(operation).kernel


@functools.cache
def _register_xla_kernels():
    """TensorFlow registers XLA's kernels when it first compiles something."""
    tf.function(lambda: tf.zeros([]), jit_compile=True)()


def _types_of(node):
    """The types that it is made for, and those that all of its kind take or return."""
    definition = op_def_registry.get(node.op)
    fixed = [each.type for each in (*definition.input_arg, *definition.output_arg) if each.type]
    return [tf.as_dtype(each) for each in (*fixed, *(each for value in node.attr.values() for each in _types(value)))]


def _takes(kernel, node):
    """Whether a kernel is for the types of an operation."""
    attributes = dict(node.attr)
    return all(
        not limit.allowed_values.list.type or set(_types(attributes[limit.name])) <= set(limit.allowed_values.list.type)
        for limit in kernel.constraint
    )


def _types(attribute):
    return [attribute.type] if attribute.type else list(attribute.list.type)


def _functions_of(node):
    for attribute in node.attr.values():
        yield from ([attribute.func.name] if attribute.func.name else []) + [each.name for each in attribute.list.func]


def _must_compile(holder):
    return "_XlaMustCompile" in holder.attr and holder.attr["_XlaMustCompile"].b


def _names_of_decoders(library):
    """Functions that decode files, directly or through others."""
    found, before = set(), None
    while before != len(found):
        before = len(found)
        found |= {
            name
            for name, function in library.items()
            if any(
                node.op.startswith("Decode") or not found.isdisjoint(_functions_of(node)) for node in function.node_def
            )
        }
    return found
