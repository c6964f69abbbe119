"""Everything that runs on a device has a kernel for GPUs that isn't refused when results must be deterministic."""

import pytest
import tensorflow as tf

from tests.accelerators import graphs
from tests.accelerators.kernels import FILE_TYPES, problems
from vim_tf.data.records.encode import compiled_encode
from vim_tf.sampling.generate import Sampler
from vim_tf.serving.signatures import build_signatures
from vim_tf.stages import saved


def traced(function, *specs, **settings):
    return tf.function(function, autograph=False, **settings).get_concrete_function(*specs)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda tokens: tf.math.bincount(tokens, minlength=4, maxlength=4), "refused where operations must be"),
        (
            lambda tokens: tf.linalg.eigvals(tf.reshape(tf.cast(tokens, tf.float32), [2, 2])),
            "no kernel for DEFAULT or GPU",
        ),
        (lambda tokens: tf.map_fn(lambda each: tf.math.bincount([each], maxlength=4), tokens), "refused"),
    ],
    ids=["refused", "CPU only", "in a loop"],
)
def test_an_operation_that_a_gpu_cannot_run_is_found(function, message, accelerator):
    (problem,) = problems(traced(function, tf.TensorSpec([4], tf.int32)))
    assert message in problem


def test_an_operation_for_which_xla_has_no_kernel_is_found_in_a_compiled_function():
    inner = tf.function(lambda x: tf.linalg.eigvals(x), jit_compile=True, autograph=False)
    assert "no kernel for XLA_GPU_JIT" in problems(traced(inner, tf.TensorSpec([4, 4])))[0]


def test_decoding_files_in_a_loop_is_left_to_the_host():
    def mean_of_files(data):
        images = tf.map_fn(tf.io.decode_png, data, fn_output_signature=tf.TensorSpec([8, 8, 3], tf.uint8))
        return tf.reduce_mean(tf.cast(images, tf.float32))

    concrete = traced(mean_of_files, tf.TensorSpec([None], tf.string))
    assert problems(concrete, FILE_TYPES) == []
    assert "TensorListStack" in str(problems(concrete))


@pytest.mark.parametrize(
    "graph",
    [graph if graph == "vim_unconditional" else pytest.param(graph, marks=pytest.mark.slow) for graph in graphs.GRAPHS],
)
def test_a_training_step_runs_on_a_gpu(graph, build_stage):
    stage = build_stage(graph, "on")
    train = stage.trainer.make_train_function()
    assert problems(train.get_concrete_function(iter(stage.batches(0)))) == []


def test_steps_in_one_execution_run_on_a_gpu(build_stage):
    stage = build_stage("vim_unlabelled", "on")
    stage.trainer.compile(optimizer=stage.trainer.optimizer, steps_per_execution=2)
    concrete = stage.trainer.make_train_function().get_concrete_function(iter(stage.batches(0)))
    assert {"While", "StatelessWhile"} & {operation.type for operation in concrete.graph.get_operations()}
    assert problems(concrete) == []


@pytest.fixture(scope="module")
def models(folders):
    tokenizer = saved.load_tokenizer(folders["tokenizer"])
    return tokenizer, saved.load_language_model(folders["language_model"], tokenizer)


@pytest.mark.parametrize("jit_compile", [False, True], ids=["plain", "XLA"])
@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_the_sampler_runs_on_a_gpu(jit_compile, schedule, models, accelerator):
    sampler = Sampler(models[1], 2, guidance_schedule=schedule, jit_compile=jit_compile)
    assert problems(sampler._generate.get_concrete_function()) == []


@pytest.mark.slow
def test_the_device_part_of_every_exported_signature_runs_on_a_gpu(models, accelerator):
    """The host does what comes before the images, uint8 and of the model's size, and the text of error messages."""
    module, signatures = build_signatures(*models, max_pixels=100_000_000)
    found = {name: problems(signature.get_concrete_function(), FILE_TYPES) for name, signature in signatures.items()}
    found["__call__"] = problems(module.__call__.get_concrete_function(), FILE_TYPES)
    assert {"encode", "decode", "reconstruct", "generate", "complete", "features"} < set(found)
    assert {name: each for name, each in found.items() if each} == {}


def test_encoding_a_data_set_runs_on_a_gpu(models, accelerator):
    assert problems(compiled_encode(models[0]).get_concrete_function()) == []
