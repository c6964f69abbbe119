"""The tokenizer of `benchmarks.tokenizer_speed` as this project trains it, in its own process."""

import argparse
import json

import keras
import numpy as np
import tensorflow as tf

from benchmarks.support import measure
from vim_tf import config as configs
from vim_tf.devices.memory import keep_freed_memory
from vim_tf.models.tokenizer import build_tokenizer
from vim_tf.training.optimizers import build_optimizer
from vim_tf.training.tokenizer_trainer import TokenizerTrainer

# The paper's rows of 1520 and 946 images/s: Small-Small and the CNN with channels x1. Both are the defaults.
ARCHITECTURES = ("vit", "cnn")


def make_trainer(settings):
    """TokenizerTrainer with only l2 and VQ losses, and the shape given in the settings."""
    shape = settings["shape"]
    transformer = configs.TransformerConfig(
        **{name: shape[name] for name in ("num_layers", "num_heads", "hidden_dim", "mlp_dim")}
    )
    model = configs.TokenizerModelConfig(
        height=shape["image_size"],
        width=shape["image_size"],
        patch_size=shape["patch_size"],
        pixels="rgb",
        encoder=transformer,
        decoder=transformer,
        quantizer=configs.QuantizerConfig(codebook_size=shape["codebook_size"], codebook_dim=shape["codebook_dim"]),
    )
    tokenizer = build_tokenizer(model)
    optimizer = build_optimizer(
        configs.OptimizerConfig(
            learning_rate=settings["learning_rate"],
            warmup_steps=0,
            schedule="constant",
            final_learning_rate=settings["learning_rate"],
        ),
        1000,
        tokenizer.trainable_variables,
    )
    return TokenizerTrainer(
        tokenizer,
        discriminator=None,
        perceptual=None,
        losses=configs.TokenizerLossConfig(perceptual_weight=0.0, adversarial_weight=0.0),
        optimizer=optimizer,
        discriminator_optimizer=None,
        quantizer_settings=model.quantizer,
        window_steps=configs.AlarmConfig().codebook_window_steps,
        jit_compile=settings["jit_compile"],
        seed=0,
    )


def save(path, tokenizer, images):
    """Writes images and weights for `torch_tokenizer`: names are Keras' paths within the tokenizer."""
    arrays = {weight.path.split("/", 1)[1]: weight.numpy() for weight in tokenizer.weights}
    for side in ("encoder", "decoder"):
        arrays[f"{side}/positions"] = getattr(tokenizer, side).position_embedding[0]
    np.savez(path, images=images, **arrays)


def make_operations(trainer, images, settings):
    """Dict from name to function, and the losses of the first steps."""
    batches = {size: images[:size] for size in settings["batch_sizes"]}
    step = trainer.make_train_function()
    iterators = {size: iter(tf.data.Dataset.from_tensors({"image": batch}).repeat()) for size, batch in batches.items()}
    first = next(iter(iterators.values()))
    losses = []
    for _ in range(settings["compared_steps"]):
        trainer.reset_metrics()
        losses.append(float(step(first)["tokenizer/loss"]))
    operations = {}
    for size, batch in batches.items():
        operations[f"train_{size}"] = lambda size=size: float(step(iterators[size])["tokenizer/loss"])
        operations[f"encode_{size}"] = _encode(trainer.tokenizer, batch, settings["jit_compile"])
        operations |= _parts(trainer, batch, settings)
    return operations, losses


def _encode(tokenizer, batch, jit_compile):
    encode = tf.function(tokenizer.encode, jit_compile=jit_compile, autograph=False)
    batch = tf.constant(batch)
    return lambda: encode(batch).numpy()


def _parts(trainer, batch, settings):
    """The parts of a training step: gradients, update, and only the matrix products of one block."""
    size, jit_compile = len(batch), settings["jit_compile"]
    images = tf.constant(batch)
    weights = trainer.tokenizer.trainable_variables

    @tf.function(jit_compile=jit_compile, autograph=False)
    def gradients():
        with tf.GradientTape() as tape:
            outputs = trainer.tokenizer(images)
            loss = tf.reduce_mean((images - outputs.images) ** 2) + tf.add_n(list(outputs.quantized.losses.values()))
        return [tf.convert_to_tensor(gradient) for gradient in tape.gradient(loss, weights)]

    zeros = [tf.zeros(weight.shape) for weight in weights]

    @tf.function(autograph=False)
    def update():
        trainer.apply(trainer.optimizer, zeros, weights)
        return trainer.step.value

    products = tf.function(block_products(settings["shape"], size), jit_compile=jit_compile, autograph=False)
    return {
        f"gradients_{size}": lambda: gradients()[0].numpy(),
        f"update_{size}": lambda: update().numpy(),
        f"products_{size}": lambda: products()[0].numpy(),
    }


def block_products(shape, batch_size):
    """Function that does every matrix product of one block's forward and backward pass, and nothing else."""
    length = (shape["image_size"] // shape["patch_size"]) ** 2
    heads, hidden, mlp = shape["num_heads"], shape["hidden_dim"], shape["mlp_dim"]
    rows = batch_size * length
    layers = [
        [tf.random.normal(dims) for dims in ((rows, inputs), (inputs, outputs), (rows, outputs))]
        for inputs, outputs in ((hidden, 3 * hidden), (hidden, hidden), (hidden, mlp), (mlp, hidden))
    ]
    query, key, value, upstream = (tf.random.normal((batch_size, heads, length, hidden // heads)) for _ in range(4))
    scores = tf.random.normal((batch_size, heads, length, length))

    def products():
        results = []
        for inputs, kernel, outputs in layers:
            results.append(tf.matmul(inputs, kernel))
            results.append(tf.matmul(outputs, kernel, transpose_b=True))
            results.append(tf.matmul(inputs, outputs, transpose_a=True))
        for one, other in ((query, key), (upstream, value)):
            results.append(tf.matmul(one, other, transpose_b=True))
        results += [tf.matmul(scores, value), tf.matmul(scores, key)]
        return results + [tf.matmul(scores, each, transpose_a=True) for each in (upstream, query)]

    return products


def large_product(size):
    """A product of two square matrices of that size, and its floating point operations."""
    one, other = tf.random.normal((size, size), seed=0), tf.random.normal((size, size), seed=1)
    return lambda: tf.matmul(one, other).numpy(), 2 * size**3


def device_name():
    """The first GPU's name, or CPU."""
    gpus = tf.config.list_physical_devices("GPU")
    return tf.config.experimental.get_device_details(gpus[0]).get("device_name", "GPU") if gpus else "CPU"


def architecture_operations(settings):
    """Encoding with the paper's smallest ViT and its CNN with channels x1, on smaller images than the paper's."""
    size, batch_size = settings["architecture_image_size"], settings["architecture_batch_size"]
    batch = np.random.default_rng(0).uniform(size=(batch_size, size, size, 3)).astype("float32")
    operations = {}
    for name in ARCHITECTURES:
        tokenizer = build_tokenizer(configs.TokenizerModelConfig(architecture=name, height=size, width=size))
        # XLA's convolutions are slower than TensorFlow's on CPUs.
        operations[f"encode_{name}"] = _encode(tokenizer, batch, settings["jit_compile"] and name == "vit")
    return operations


def main():
    """The process that `benchmarks.tokenizer_speed` starts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--settings", type=json.loads, required=True, help="JSON from benchmarks.tokenizer_speed")
    parser.add_argument("--weights", required=True, help="file to write with initial weights and images (.npz)")
    arguments = parser.parse_args()
    settings = arguments.settings
    tf.config.threading.set_intra_op_parallelism_threads(settings["threads"])
    tf.config.threading.set_inter_op_parallelism_threads(settings["threads"])
    if settings["keep_freed_memory"]:
        keep_freed_memory()
    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy(settings["precision"])
    trainer = make_trainer(settings)
    side = settings["shape"]["image_size"]
    images = np.random.default_rng(0).uniform(size=(max(settings["batch_sizes"]), side, side, 3)).astype("float32")
    save(arguments.weights, trainer.tokenizer, images)
    operations, losses = make_operations(trainer, images, settings)
    operations["large_product"], product_flops = large_product(settings["product_size"])
    if settings["architectures"]:
        operations |= architecture_operations(settings)
    facts = {
        "version": tf.__version__,
        "device": device_name(),
        "losses": losses,
        "parameters": sum(int(np.prod(weight.shape)) for weight in trainer.tokenizer.trainable_variables),
        "product_flops": product_flops,
    }
    measure.serve(operations, facts)


if __name__ == "__main__":
    main()
