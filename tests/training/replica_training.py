"""Trains tiny stages under a strategy and on one device: `python replica_training.py OUTPUT REPLICAS`.

REPLICAS is the number of logical CPUs that share a batch in this process, or `workers`, which takes the cluster of
TF_CONFIG. A process can have only one MirroredStrategy, so each number needs its own. OUTPUT gets, as JSON, for each
case how far its weights and metrics are from those of one device with the whole batch, and the step's collectives; for
some, how far the weights are from those when all steps run in one execution.
"""

import dataclasses
import json
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
NUM_ROWS = 24
NUM_STEPS = 3


# (stage, optimizer, whether XLA compiles, microbatches) of every training. A tokenizer with a discriminator takes
# long to trace: test_tokenizer_trainer.py has more of these, on two replicas.
CASES = (
    ("tokenizer", "adamw", False, 2),
    ("tokenizer", "factored_adam", True, 1),
    ("language_model", "adamw", False, 1),
    ("language_model", "adamw", True, 2),
    ("language_model", "factored_adam", False, 2),
    ("language_model", "factored_adam", True, 1),
)


def build(strategy, stage, optimizer, jit_compile, microbatches):
    """The Trainer of a case, with weights that are wide enough for both optimizers' ways of storing moments."""
    import keras
    import numpy as np

    from tests.testing import language_model_config, replace, tokenizer_config
    from tests.training import test_language_model_trainer, tokenizer_training
    from vim_tf.models.language_model import build_language_model
    from vim_tf.training.language_model_trainer import LanguageModelTrainer
    from vim_tf.training.optimizers import build_optimizer

    def make_optimizer(variables):
        return build_optimizer(dataclasses.replace(config.optimizer, name=optimizer), 100, variables)

    random = np.random.default_rng(0)
    if stage == "tokenizer":
        config = tokenizer_training.without_restart(tokenizer_config("unused", jit_compile=jit_compile))
        wide = dataclasses.replace(config.model.encoder, hidden_dim=32)
        # Groups that no number of replicas and microbatches splits.
        discriminator = dataclasses.replace(config.model.discriminator, minibatch_stddev_group=2)
        config = replace(
            config,
            model={"encoder": wide, "decoder": wide, "discriminator": discriminator},
            # R1 takes long to trace, and other tests cover it. Without a discriminator XLA compiles the whole step.
            losses={"r1_gamma": 0.0} | ({} if optimizer == "adamw" else {"adversarial_weight": 0.0}),
            training={"gradient_accumulation_steps": microbatches},
            optimizer={"clip_norm": 0.05},
        )
        batch = {"image": random.uniform(size=(NUM_ROWS, 8, 8, 3)).astype("float32")}
        return tokenizer_training.build_trainer(config, make_optimizer, strategy), batch
    config = language_model_config("unused", "unused")
    facts = test_language_model_trainer.FACTS
    section = dataclasses.replace(config.model, tokens=facts, hidden_dim=32, dropout=0.0, label_dropout=0.0)
    batch = {
        "tokens": random.integers(0, facts.codebook_size, (NUM_ROWS, 4)).astype("int32"),
        "label": random.integers(-1, facts.num_classes, NUM_ROWS).astype("int32"),
    }
    keras.utils.set_random_seed(0)
    with strategy.scope():
        model = build_language_model(section)
        trained_by = make_optimizer(model.trainable_variables)
        return LanguageModelTrainer(
            model, trained_by, jit_compile=jit_compile, seed=0, num_microbatches=microbatches, clip_norm=0.05
        ), batch


def train(strategy, *case, steps_per_execution=1):
    """(weights, metrics, collectives) of a case, all as plain numpy and Python values."""
    import numpy as np
    import tensorflow as tf

    from tests.training import collectives
    from vim_tf.devices import strategies

    trainer, batch = build(strategy, *case)

    def make_batches(rows=None):
        first, count = rows or (0, NUM_ROWS)
        share = tf.nest.map_structure(lambda values: values[first : first + count], batch)
        return tf.data.Dataset.from_tensors(share).repeat()

    batches = strategies.distribute(strategy, make_batches, NUM_ROWS)
    trainer.compile(optimizer=trainer.optimizer, steps_per_execution=steps_per_execution)
    found = collectives.of_step(trainer, batches)
    history = trainer.fit(batches, steps_per_epoch=NUM_STEPS, shuffle=False, verbose=0).history
    weights = [np.asarray(weight) for weight in trainer.trained.weights]
    return weights, {name: values[-1] for name, values in history.items()}, found


def farthest(weights, others):
    """Largest difference between two models' weights: float."""
    import numpy as np

    return max(float(np.abs(values - other).max()) for values, other in zip(weights, others, strict=True))


def main():
    sys.path.insert(0, str(ROOT))
    import tensorflow as tf

    from vim_tf.cli import terminal
    from vim_tf.devices import strategies

    terminal.quiet_libraries()
    output, replicas = sys.argv[1:]
    if replicas == "workers":
        strategy = strategies.build_strategy("multi_worker")
    else:
        devices = [tf.config.LogicalDeviceConfiguration()] * int(replicas)
        tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], devices)
        # Not `build_strategy`, which takes a single device without a strategy; a caller of the library may have one.
        strategy = tf.distribute.MirroredStrategy([f"CPU:{index}" for index in range(int(replicas))])
    one = tf.distribute.get_strategy()
    results, references = {}, {}
    for stage, optimizer, *how in CASES:
        if (stage, optimizer) not in references:
            references[stage, optimizer] = train(one, stage, optimizer, False, 1)
        weights, metrics, found = train(strategy, stage, optimizer, *how)
        expected_weights, expected_metrics, _ = references[stage, optimizer]
        assert metrics.keys() == expected_metrics.keys()
        case = "/".join(map(str, (stage, optimizer, *how)))
        results[case] = {
            "weights": farthest(weights, expected_weights),
            "metrics": max(abs(metrics[name] - value) for name, value in expected_metrics.items()),
            "collectives": found,
        }
        jit_compile, _ = how
        if stage == "language_model" and not jit_compile:
            together, _, _ = train(strategy, stage, optimizer, *how, steps_per_execution=NUM_STEPS)
            results[case]["together"] = farthest(together, weights)
    if strategies.is_chief(strategy):
        pathlib.Path(output).write_text(json.dumps({"replicas": strategy.num_replicas_in_sync, "cases": results}))


if __name__ == "__main__":
    main()
