"""The shared harness: tiny configs, stages and comparisons."""

import dataclasses

import numpy as np

from vim_tf import config as configs

# A large epsilon: where a gradient is zero except for rounding, as for a key's bias, AdamW would amplify the noise.
OPTIMIZER = configs.OptimizerConfig(learning_rate=1e-2, warmup_steps=1, final_learning_rate=1e-3, epsilon=1e-3)
TINY = configs.TransformerConfig(num_layers=1, num_heads=2, hidden_dim=16, mlp_dim=32)


def tokenizer_config(workdir, **training):
    """A tokenizer for 8 x 8 digits that trains in seconds: adversarial, with R1 and code restarts."""
    return configs.TokenizerTrainConfig(
        workdir=str(workdir),
        model=configs.TokenizerModelConfig(
            height=8,
            width=8,
            patch_size=4,
            encoder=TINY,
            decoder=TINY,
            vit=configs.ViTConfig(positions="learned"),
            quantizer=configs.QuantizerConfig(codebook_size=32, codebook_dim=4, restart_unused_steps=2),
            discriminator=configs.DiscriminatorConfig(channel_multiplier=1 / 512, max_channels=8),
        ),
        losses=configs.TokenizerLossConfig(
            logit_laplace_weight=0.01, perceptual_weight=0.0, r1_interval_steps=2, r1_gamma=1.0
        ),
        augmentation=configs.AugmentationConfig(crop="center", flip=False),
        optimizer=OPTIMIZER,
        training=_training(**training),
    )


def language_model_config(workdir, tokens, **training):
    """A language model that trains in seconds, with every dropout on."""
    return configs.LanguageModelTrainConfig(
        workdir=str(workdir),
        tokens=str(tokens),
        model=configs.LanguageModelConfig(
            num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=32, dropout=0.1, label_dropout=0.2
        ),
        optimizer=OPTIMIZER,
        training=_training(**training),
    )


def on_the_fly(config, tokenizer, **augmentation):
    """A language model's config with a tokenizer that encodes the unchanged digits, instead of tokens."""
    return dataclasses.replace(
        config,
        tokens="",
        tokenizer=str(tokenizer),
        data=configs.DataConfig(),
        augmentation=configs.AugmentationConfig(**({"crop": "center", "flip": False} | augmentation)),
    )


def save_untrained_tokenizer(folder, **changes):
    """Writes the tokenizer of `tokenizer_config`, with changes as for `replace`, as a stage; returns its folder."""
    from vim_tf.models.tokenizer import build_tokenizer
    from vim_tf.stages import saved

    config = replace(tokenizer_config(folder), **changes)
    saved.save_stage(build_tokenizer(config.model), config, config.workdir)
    return config.workdir


def save_untrained_language_model(folder, tokenizer, class_names=()):
    """Writes the language model of `language_model_config`, for the digits' tokens of a trained tokenizer, as a stage.

    Args:
        folder, tokenizer: str or path.
        class_names: tuple of str.

    Returns:
        str, the folder.
    """
    from vim_tf.data.records.encode import tokenizer_facts
    from vim_tf.models.language_model import build_language_model
    from vim_tf.stages import saved

    facts = configs.TokenFacts(
        **tokenizer_facts(saved.load_tokenizer(str(tokenizer))), num_classes=10, class_names=class_names
    )
    config = replace(language_model_config(folder, "unused"), model={"tokens": facts})
    saved.save_stage(build_language_model(config.model), config, config.workdir)
    return config.workdir


def linear_probe_config(workdir, tokenizer, language_model="", **training):
    """A linear probe of 8 x 8 digits that trains in seconds."""
    return configs.LinearProbeTrainConfig(
        workdir=str(workdir),
        tokenizer=str(tokenizer),
        language_model=str(language_model),
        augmentation=configs.AugmentationConfig(crop="center", flip=False),
        probe=configs.ProbeConfig(statistics_steps=4),
        optimizer=OPTIMIZER,
        training=_training(**training),
    )


def _training(**settings):
    defaults = {
        "total_steps": 4,
        "batch_size": 8,
        "log_every_steps": 2,
        "validate_every_steps": 0,
        "checkpoint_every_steps": 2,
        # Compiling takes longer than the few steps.
        "jit_compile": False,
    }
    return configs.TrainingConfig(**(defaults | settings))


def replace(config, **sections):
    """A copy of a config; a dict as value replaces fields of that section."""
    changes = {
        name: dataclasses.replace(getattr(config, name), **value) if isinstance(value, dict) else value
        for name, value in sections.items()
    }
    return dataclasses.replace(config, **changes)


def weights_of(model):
    """Every weight as a numpy array, in order."""
    return [np.asarray(weight) for weight in model.weights]


def assert_equal_weights(first, second, tolerance=0.0):
    """All weights of two models agree; bit for bit without a tolerance."""
    for index, (one, other) in enumerate(zip(weights_of(first), weights_of(second), strict=True)):
        path = first.weights[index].path
        if tolerance:
            np.testing.assert_allclose(one, other, rtol=0, atol=tolerance, err_msg=path)
        else:
            np.testing.assert_array_equal(one, other, err_msg=path)
