"""The tokenizer's stage: images, networks, training step, validation and alarms."""

import keras

from vim_tf import config as configs
from vim_tf.data import augmentation, sources
from vim_tf.data.batches import train_batches
from vim_tf.devices.precision import precision
from vim_tf.evaluation.reconstruction import ReconstructionEvaluator
from vim_tf.losses.perceptual import load_perceptual
from vim_tf.models.discriminators import build_discriminator
from vim_tf.models.tokenizer import build_tokenizer
from vim_tf.stages.base import (
    Stage,
    check_batch,
    initialize,
    learning_rates,
    model_optimizer,
    rows_at_once,
    trained_model,
)
from vim_tf.training.alarms import LowMetric
from vim_tf.training.tokenizer_trainer import TokenizerTrainer


def tokenizer_stage(config, strategy):
    """The Stage that a TokenizerTrainConfig describes; arguments as in `build_stage`."""
    settings, model, losses = config.training, config.model, config.losses
    is_grouped = losses.adversarial_weight and model.discriminator.kind == "stylegan2"
    check_batch(settings, strategy, model.discriminator.minibatch_stddev_group if is_grouped else 1)
    perceptual = None
    if losses.perceptual_weight:
        # Before the images are read, which takes time.
        with strategy.scope(), precision(settings.precision):
            perceptual = load_perceptual(losses.perceptual, losses.perceptual_weights_file)
        # Keras' VGG16 draws random numbers, on which the tokenizer's initial weights must not depend.
        keras.utils.set_random_seed(settings.seed)
    train, validation = (
        sources.build_source(config.data, split, model.height, model.width) for split in configs.SPLITS
    )
    augment = augmentation.build_augment(config.augmentation, model.height, model.width)
    with strategy.scope(), precision(settings.precision):
        tokenizer, shared = trained_model(
            lambda: build_tokenizer(model, settings.rematerialize), config.optimizer, settings
        )
        discriminator = discriminator_optimizer = None
        if losses.adversarial_weight:
            discriminator = build_discriminator(model)
            discriminator_optimizer = model_optimizer(config.optimizer, settings, discriminator)
        trainer = TokenizerTrainer(
            tokenizer,
            discriminator,
            perceptual,
            losses,
            discriminator_optimizer=discriminator_optimizer,
            quantizer_settings=model.quantizer,
            window_steps=config.alarms.codebook_window_steps,
            **shared,
        )
        evaluator = ReconstructionEvaluator(validation, rows_at_once(settings))
    return Stage(
        config=config,
        trainer=trainer,
        batches=lambda start, rows=None: train_batches(
            train, settings.batch_size, settings.seed, start, augment=augment, rows=rows
        ),
        validate=lambda: evaluator.run(trainer.inference_model),
        validated=tuple(f"reconstruction/{name}" for name in ("psnr", "ssim", "l1", "l2"))
        + ("codebook/usage", "codebook/perplexity"),
        begin=lambda: initialize(config, trainer),
        shown=("tokenizer/l2_loss", "codebook/window_usage", "tokenizer/discriminator_loss"),
        unit="images",
        rates={"tokenizer/steps_per_second": 1, "tokenizer/images_per_second": settings.batch_size},
        readings=learning_rates("tokenizer", trainer, discriminator_optimizer),
        histograms={"codebook/counts": lambda: trainer.codebook_monitor.frequencies.numpy()},
        low_metrics=_tokenizer_alarms(config.alarms),
    )


def _tokenizer_alarms(section):
    return (
        LowMetric(
            name="codebook/window_usage",
            limit=section.min_codebook_usage,
            steps=section.codebook_window_steps,
            meaning="most codes are dead; l2-normalised codes of few dimensions (model.quantizer.codebook_dim) or "
            "model.quantizer.restart_unused_steps help",
        ),
        LowMetric(
            name="tokenizer/discriminator_loss",
            limit=section.min_discriminator_loss,
            steps=section.discriminator_steps,
            meaning="the discriminator recognizes every image, so the tokenizer learns nothing from it; a higher "
            "losses.r1_gamma or a losses.lecam_weight weakens it",
        ),
    )
