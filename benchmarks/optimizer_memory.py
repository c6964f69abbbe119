"""Compares FactoredAdam's state memory and time with AdamW's: `python -m benchmarks.optimizer_memory`.

Memory is that of the paper's language models, whose weights aren't created. Time is that of a small one: each
optimizer's update of all its 5.6 million weights from the same gradients, as a `tf.function` without XLA, which is how
the trainers apply them. The optimizers take turns in every round; medians are printed.
"""

import dataclasses
import math
import statistics
import time

from vim_tf.cli import flags
from vim_tf.config.fields import check_positive, setting

# Sizes of the paper's Table 2, with 1024 tokens of 8192 codes and 1000 classes.
PAPER_MODELS = {
    "VIM-Base": {"num_layers": 24, "num_heads": 16, "hidden_dim": 1536, "mlp_dim": 6144},
    "VIM-Large": {"num_layers": 36, "num_heads": 32, "hidden_dim": 2048, "mlp_dim": 8192},
}
PAPER_TOKENS = {"grid_height": 32, "grid_width": 32, "codebook_size": 8192}
SMALL_MODEL = {"num_layers": 6, "num_heads": 8, "hidden_dim": 256, "mlp_dim": 1024}
SMALL_TOKENS = {"grid_height": 16, "grid_width": 16, "codebook_size": 1024}


@dataclasses.dataclass(frozen=True)
class OptimizerMemoryConfig:
    """`benchmarks.optimizer_memory`: how often to measure."""

    rounds: int = setting(31, "timed rounds, in each of which every optimizer takes a turn")
    gradient_rounds: int = setting(3, "timed rounds of the gradients that the updates are compared with")
    batch_size: int = setting(8, "images in the batch of these gradients")

    def __post_init__(self):
        check_positive(self, "rounds", "gradient_rounds", "batch_size")


def run(config):
    """Measures and prints.

    Args:
        config: OptimizerMemoryConfig.

    Returns:
        dict from "<model>" to FactoredAdam's bytes per parameter, and from what was timed to its median in seconds.
    """
    results = memory() | medians(config)
    for name in PAPER_MODELS:
        print(f"{name}: FactoredAdam keeps {results[name]:.3f} bytes per parameter, AdamW 8")
    adamw, factored, gradients = (results[name] for name in ("AdamW", "FactoredAdam", "gradients"))
    print(f"gradients of {config.batch_size} images: {1e3 * gradients:.1f} ms")
    print(f"update: AdamW {1e3 * adamw:.1f} ms, FactoredAdam {1e3 * factored:.1f} ms, ratio {factored / adamw:.2f}")
    print(f"gradients and update: ratio {(gradients + factored) / (gradients + adamw):.2f}")
    return results


def memory():
    """Bytes of FactoredAdam's state for each parameter: dict from the model's name to float."""
    import keras

    from vim_tf.training.factored_adam import planned_state_bytes

    results = {}
    for name, sizes in PAPER_MODELS.items():
        with keras.StatelessScope(initialize_variables=False):
            shapes = [tuple(weight.shape) for weight in _language_model(sizes | PAPER_TOKENS).trainable_weights]
        results[name] = planned_state_bytes(shapes) / sum(map(math.prod, shapes))
    return results


def medians(config):
    """Seconds of the small model's gradients and of each optimizer's update: dict from name to float."""
    import keras
    import tensorflow as tf

    from vim_tf.training.factored_adam import FactoredAdam

    keras.utils.set_random_seed(0)
    model = _language_model(SMALL_MODEL | SMALL_TOKENS)
    weights = model.trainable_weights
    tokens = tf.random.uniform([config.batch_size, model.num_tokens], 0, model.codebook_size, tf.int32, seed=0)
    labels = tf.zeros([config.batch_size], tf.int32)

    @tf.function
    def gradients_of_batch():
        with tf.GradientTape() as tape:
            logits = model(tokens, labels)
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(tokens, logits))
        return [tf.convert_to_tensor(gradient) for gradient in tape.gradient(loss, weights)]

    gradients = gradients_of_batch()
    updates = {}
    for name, optimizer in (
        ("AdamW", keras.optimizers.AdamW(1e-4, weight_decay=0.045, beta_2=0.96)),
        ("FactoredAdam", FactoredAdam(1e-4, weight_decay=0.045)),
    ):
        optimizer.build(weights)
        updates[name] = _update(optimizer, gradients)
    timed = _turn_by_turn({"gradients": gradients_of_batch}, config.gradient_rounds)
    return timed | _turn_by_turn(updates, config.rounds)


def _language_model(sizes):
    from vim_tf.models.language_model import LanguageModel

    model = LanguageModel(depth=1, num_classes=1000, **sizes)
    model.build()
    return model


def _update(optimizer, gradients):
    import tensorflow as tf

    apply = tf.function(optimizer.apply)
    return lambda: apply(gradients)


def _turn_by_turn(calls, rounds):
    # The first call traces, so it isn't timed.
    for call in calls.values():
        call()
    seconds = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            begin = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - begin)
    return {name: statistics.median(values) for name, values in seconds.items()}


def main():
    """Runs the command."""
    flags.main(run, lambda argv: OptimizerMemoryConfig, "Compares memory and time of FactoredAdam and AdamW.")


if __name__ == "__main__":
    main()
