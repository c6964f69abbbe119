"""Hyperparameters: which values are refused, and with which messages."""

import dataclasses

import pytest

from tests.config_sections import GIVEN, SECTIONS, make, name_of
from vim_tf import config as configs
from vim_tf.cli import flags
from vim_tf.errors import InputError

NOT_POSITIVE = {
    configs.DataConfig: ["shuffle_buffer"],
    configs.TransformerConfig: ["num_layers", "num_heads", "hidden_dim", "mlp_dim"],
    configs.LanguageModelConfig: ["num_layers", "num_heads", "hidden_dim", "mlp_dim"],
    configs.ViTConfig: ["layer_norm_epsilon"],
    configs.CNNConfig: ["channels", "blocks_per_level", "latent_channels"],
    configs.QuantizerConfig: [
        "codebook_dim",
        "depth",
        "gumbel_temperature",
        "gumbel_final_temperature",
        "gumbel_anneal_steps",
        "entropy_temperature",
    ],
    configs.DiscriminatorConfig: [
        "channel_multiplier",
        "max_channels",
        "minibatch_stddev_group",
        "patch_channels",
        "patch_layers",
    ],
    configs.TokenizerModelConfig: ["height", "width", "patch_size"],
    configs.TokenizerLossConfig: ["r1_interval_steps", "adaptive_weight_max"],
    configs.AlarmConfig: ["codebook_window_steps", "discriminator_steps"],
    configs.OptimizerConfig: ["learning_rate", "final_learning_rate", "epsilon"],
    configs.TrainingConfig: [
        "total_steps",
        "batch_size",
        "gradient_accumulation_steps",
        "steps_per_execution",
        "log_every_steps",
        "checkpoint_every_steps",
        "keep_checkpoints",
    ],
    configs.PaletteModelConfig: ["height", "width", "grid_height", "grid_width"],
    configs.ClusteringConfig: ["num_pixels", "max_iterations"],
    configs.ProbeConfig: ["statistics_steps"],
    configs.SamplingConfig: ["temperature", "batch_size", "rejection_keep"],
    configs.EvaluationConfig: ["samples_per_label", "batch_size", "feature_steps"],
    configs.EncodeCommand: ["batch_size", "num_shards"],
    configs.SampleCommand: ["num_per_label", "num_processes"],
    configs.CompleteCommand: ["num_variants"],
    configs.ExportCommand: ["sampling_batch_size"],
    configs.ImportWeightsCommand: ["height", "width"],
    configs.PipelineConfig: ["export_sampling_batch_size", "num_shards"],
    configs.KubeflowConfig: ["accelerator_count"],
}
NEGATIVE = {
    configs.PipelineConfig: ["keep_runs"],
    configs.KubeflowConfig: ["cpu_limit", "memory_limit"],
    configs.StatusCommand: ["last_runs"],
    configs.ViTConfig: ["head_dim"],
    configs.QuantizerConfig: ["restart_unused_steps"],
    configs.TokenizerLossConfig: [
        "codebook_weight",
        "commitment_weight",
        "entropy_weight",
        "prior_weight",
        "l1_weight",
        "l2_weight",
        "logit_laplace_weight",
        "perceptual_weight",
        "adversarial_weight",
        "adversarial_start_step",
        "adversarial_warmup_steps",
        "r1_gamma",
        "lecam_weight",
    ],
    configs.OptimizerConfig: ["warmup_steps", "decay_start_step", "weight_decay", "clip_norm"],
    configs.AlarmConfig: ["min_discriminator_loss", "min_codebook_usage"],
    configs.LanguageModelAlarmConfig: ["max_generalization_gap"],
    configs.LanguageModelValidationConfig: ["samples_per_label"],
    configs.TrainingConfig: ["validate_every_steps"],
    configs.SamplingConfig: ["top_k", "guidance_scale"],
    configs.GateConfig: [field.name for field in dataclasses.fields(configs.GateConfig)],
    configs.EvaluationConfig: ["nearest_images"],
}
OUT_OF_RANGE = [
    *((section, name, value) for section, names in NOT_POSITIVE.items() for name in names for value in (0, -1)),
    *((section, name, -1) for section, names in NEGATIVE.items() for name in names),
    *(
        (configs.DataConfig, name, v)
        for name in ("validation_fraction", "max_unreadable_fraction")
        for v in (-0.1, 1.1)
    ),
    *(
        (section, "max_pixels", value)
        for section in (configs.DataConfig, configs.ReconstructCommand, configs.CompleteCommand, configs.ExportCommand)
        for value in (0, -1, (1 << 29) // 3 + 1)
    ),
    (configs.QuantizerConfig, "codebook_size", 1),
    (configs.QuantizerConfig, "ema_decay", 1.0),
    (configs.QuantizerConfig, "kind", "vqvae"),
    (configs.QuantizerConfig, "depth", 2),
    (configs.QuantizerConfig, "fsq_levels", (8, 8)),
    (configs.CNNConfig, "channel_multipliers", ()),
    (configs.CNNConfig, "channel_multipliers", (1, 0)),
    (configs.AugmentationConfig, "min_scale", 0.9),
    (configs.AugmentationConfig, "max_scale", 1.1),
    *((configs.TokenizerModelConfig, "pixel_epsilon", value) for value in (-0.1, 0.5)),
    (configs.TokenizerLossConfig, "lecam_decay", 1.0),
    (configs.EvaluationConfig, "kept_features", 3),
    (configs.EvaluationConfig, "feature_network", "saved_model"),
    (configs.EvaluationConfig, "feature_network", "squeezenet"),
    (configs.EvaluationConfig, "feature_network", "efficientnet_lite0"),
    (configs.EvaluationConfig, "feature_network", "vgg"),
    (configs.TrainingConfig, "ema_decay", 1.0),
    (configs.TrainingConfig, "precision", "float16"),
    (configs.AlarmConfig, "min_codebook_usage", 1.1),
    (configs.ImportWeightsCommand, "heads", "h.pth"),
    *((configs.LanguageModelConfig, "dropout", value) for value in (-0.1, 1.0)),
    *((configs.LanguageModelConfig, "label_dropout", value) for value in (-0.1, 1.1)),
    *((configs.LanguageModelConfig, "features_block", value) for value in (-2, 24)),
    *((configs.TokenizerLossConfig, "logit_laplace_margin", value) for value in (0.0, 0.5)),
    *((configs.OptimizerConfig, name, value) for name in ("beta1", "beta2") for value in (-0.1, 1.0)),
    *((configs.SamplingConfig, "top_p", value) for value in (0.0, 1e-40, 1.1)),
    *((configs.SamplingConfig, "temperature", value) for value in (1e-50, 1e38)),
    (configs.SamplingConfig, "guidance_scale", 1e38),
    (configs.SamplingConfig, "top_k", 2**31),
    *(
        (section, "seed", value)
        for section in (configs.TrainingConfig, configs.EvaluationConfig, configs.ClusteringConfig)
        for value in (-1, 2**31)
    ),
    # Seeds of samples may be negative.
    *(
        (section, "seed", value)
        for section in (configs.SampleCommand, configs.CompleteCommand)
        for value in (-(2**31) - 1, 2**31)
    ),
    (configs.OptimizerConfig, "learning_rate", float("nan")),
    (configs.OptimizerConfig, "schedule", "cosin"),
    (configs.OptimizerConfig, "name", "adam"),
    (configs.TokenizerTrainConfig, "task", "language_model"),
    (configs.LanguageModelTrainConfig, "task", "tokenizer"),
    (configs.TokenizerTrainConfig, "strategy", "many"),
    (configs.LanguageModelTrainConfig, "strategy", "many"),
    (configs.PaletteTrainConfig, "task", "tokenizer"),
    (configs.PaletteModelConfig, "codebook_size", 1),
    (configs.LinearProbeTrainConfig, "task", "tokenizer"),
    (configs.LinearProbeTrainConfig, "strategy", "many"),
    (configs.ProbeConfig, "features", ("pixels", "logits")),
    (configs.ProbeConfig, "latents", "summed"),
    *((configs.ProbeConfig, "min_deviation", value) for value in (0.0, 1.1)),
    (configs.EvaluateCommand, "split", "test"),
    (configs.EncodeCommand, "split", ("train", "test")),
    (configs.EncodeCommand, "views", "five_crop"),
    (configs.EncodeCommand, "view_scale", 0.9),
    (configs.EvaluationConfig, "kind", ("generation", "speed")),
]
MISSING = [
    *((section, name, type(value)()) for section, given in GIVEN.items() for name, value in given.items()),
    (configs.EncodeCommand, "split", ()),
    (configs.EvaluationConfig, "kind", ()),
    (configs.ProbeConfig, "features", ()),
    (configs.PipelineConfig, "name", ""),
]
# Without labels every label is drawn; without a language model only the tokenizer is exported or measured.
MISSING.remove((configs.SampleCommand, "labels", ()))
MISSING.remove((configs.LinearProbeTrainConfig, "language_model", ""))


@pytest.mark.parametrize(("section", "name", "value"), OUT_OF_RANGE, ids=name_of)
def test_a_value_out_of_range_is_refused_by_name(section, name, value):
    with pytest.raises(InputError, match=rf"\b{name}\b"):
        make(section, **{name: value})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize(
    ("section", "name"),
    [(section, field.name) for section in SECTIONS for field in dataclasses.fields(section) if field.type is float],
    ids=name_of,
)
def test_no_number_is_infinite_or_nan(section, name, value):
    with pytest.raises(InputError, match=rf"\b{name}\b"):
        make(section, **{name: value})


@pytest.mark.parametrize(("section", "name", "value"), MISSING, ids=name_of)
def test_a_missing_value_is_asked_for_by_its_flag(section, name, value):
    with pytest.raises(InputError, match=rf"--(evaluation\.|probe\.)?{name}\b"):
        make(section, **{name: value})


@pytest.mark.parametrize(
    ("section", "name", "value"),
    [
        (configs.TokenizerLossConfig, "adversarial_weight", 0.0),
        (configs.LanguageModelConfig, "label_dropout", 1.0),
        (configs.LanguageModelConfig, "features_block", 23),
        (configs.SamplingConfig, "top_p", 1.0),
        (configs.TrainingConfig, "seed", 2**31 - 1),
        (configs.QuantizerConfig, "codebook_size", 2),
    ],
    ids=name_of,
)
def test_the_last_allowed_value_is_accepted(section, name, value):
    assert getattr(make(section, **{name: value}), name) == value


def test_heads_must_share_the_width():
    with pytest.raises(InputError, match="hidden_dim 10 can't be divided into num_heads 4"):
        configs.TransformerConfig(hidden_dim=10, num_heads=4)


@pytest.mark.parametrize("name", ["height", "width"])
def test_images_must_be_whole_patches(name):
    with pytest.raises(InputError, match=rf"model\.{name} 20 isn't a multiple of model\.patch_size 8"):
        configs.TokenizerModelConfig(**{name: 20})


def test_deviation_groups_must_not_mix_real_and_generated_images():
    training = configs.TrainingConfig(batch_size=6)
    with pytest.raises(InputError, match="batch_size 6 isn't a multiple of .*minibatch_stddev_group 4"):
        make(configs.TokenizerTrainConfig, training=training)
    make(configs.TokenizerTrainConfig, training=training, losses=configs.TokenizerLossConfig(adversarial_weight=0.0))


def test_only_generation_needs_a_language_model():
    evaluation = configs.EvaluationConfig(kind=("reconstruction",))
    assert make(configs.EvaluateCommand, language_model="", evaluation=evaluation).language_model == ""


def test_a_probe_of_only_blocks_needs_a_language_model():
    blocks = configs.ProbeConfig(features=("blocks",))
    with pytest.raises(InputError, match="--language_model is needed to probe its blocks"):
        make(configs.LinearProbeTrainConfig, language_model="", probe=blocks)
    assert make(configs.LinearProbeTrainConfig, probe=blocks)
    assert make(configs.LinearProbeTrainConfig, language_model="")


def test_one_head_of_a_probe_must_not_slow_the_others():
    with pytest.raises(InputError, match="optimizer.clip_norm must be 0"):
        make(configs.LinearProbeTrainConfig, optimizer=configs.OptimizerConfig(clip_norm=1.0))


def test_a_probe_is_not_measured_on_what_it_is_trained_on():
    evaluation = configs.EvaluationConfig(kind=("linear_probe",))
    with pytest.raises(InputError, match="linear_probe needs --split=validation"):
        make(configs.EvaluateCommand, evaluation=evaluation, split="train")


@pytest.mark.parametrize("name", ["height", "width"])
def test_patches_of_a_palette_must_be_whole_pixels(name):
    with pytest.raises(InputError, match=rf"model\.{name} 20 isn't a multiple of model\.grid_{name} 8"):
        configs.PaletteModelConfig(**{"grid_height": 8, "grid_width": 8, name: 20})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kind": "residual", "depth": 2}, "--nomodel.quantizer.l2_normalize"),
        (
            {"kind": "fsq", "fsq_levels": (8, 5), "codebook_dim": 2},
            "make codebook_size 40 and codebook_dim 2, not 8192",
        ),
        ({"kind": "fsq"}, "needs fsq_levels"),
        ({"kind": "lfq", "codebook_size": 100, "codebook_dim": 6}, r"2\^6 codes, not codebook_size 100"),
        ({"kind": "lfq", "codebook_size": 64, "codebook_dim": 6, "restart_unused_steps": 5}, "no codes that can"),
    ],
)
def test_a_codebook_must_have_the_shape_of_its_kind(values, message):
    with pytest.raises(InputError, match=message):
        configs.QuantizerConfig(**values)


def test_a_convolutional_tokenizer_halves_down_to_its_patches():
    with pytest.raises(InputError, match="halve 4 times, which makes model.patch_size 16, not 8"):
        configs.TokenizerModelConfig(
            architecture="cnn", cnn=configs.CNNConfig(channel_multipliers=(1, 1, 2, 2, 4)), patch_size=8
        )


def test_a_decoder_of_pixels_has_no_logit_laplace_likelihood():
    with pytest.raises(InputError, match=r"losses\.logit_laplace_weight must be 0 with model\.pixels=rgb"):
        make(configs.TokenizerTrainConfig, model=configs.TokenizerModelConfig(pixels="rgb"))


@pytest.mark.parametrize("name", ["total_steps", "log_every_steps", "validate_every_steps", "checkpoint_every_steps"])
def test_what_happens_at_a_step_happens_at_the_end_of_an_execution(name):
    steps = {"total_steps": 8, "log_every_steps": 4, "validate_every_steps": 0, "checkpoint_every_steps": 4}
    configs.TrainingConfig(**steps, steps_per_execution=4)
    message = f"training.{name} 6 isn't a multiple of training.steps_per_execution 4: nothing can happen between"
    with pytest.raises(InputError, match=message):
        configs.TrainingConfig(**steps | {name: 6}, steps_per_execution=4)


def test_the_best_checkpoint_needs_validations():
    with pytest.raises(InputError, match="keep_best_metric needs training.validate_every_steps"):
        configs.TrainingConfig(keep_best_metric="reconstruction/psnr", validate_every_steps=0)


def test_the_language_model_keeps_its_best_checkpoint_unless_told_not_to():
    kept = make(configs.LanguageModelTrainConfig).training.keep_best_metric
    assert kept == "language_model/validation_bits_per_token"
    argv = ["--workdir=w", "--tokens=t", "--training.validate_every_steps=0"]
    with pytest.raises(InputError, match="--training.keep_best_metric= keeps only the last model"):
        flags.parse(configs.LanguageModelTrainConfig, argv)
    config = flags.parse(configs.LanguageModelTrainConfig, [*argv, "--training.keep_best_metric="])
    assert config.training.keep_best_metric == ""


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "--tokens is needed, .* or --tokenizer and --data.source"),
        (["--data.source=digits"], "--tokens is needed"),
        (["--tokenizer=d"], "--data.source is needed with --tokenizer=d"),
        (["--tokens=t", "--data.source=digits"], "--tokens=t and --data.source=digits are both inputs"),
        (["--tokens=t", "--tokenizer=d", "--data.source=digits"], "both inputs"),
    ],
)
def test_a_language_model_has_one_input(argv, message):
    with pytest.raises(InputError, match=message) as caught:
        flags.parse(configs.LanguageModelTrainConfig, ["--workdir=w", *argv])
    assert "\n" not in str(caught.value)


def test_an_epsilon_that_factored_adam_cannot_square_and_an_infinite_rate_are_refused():
    with pytest.raises(InputError, match="optimizer.epsilon must be at least 1e-18 for factored_adam"):
        configs.OptimizerConfig(name="factored_adam", epsilon=1e-20)
    assert configs.OptimizerConfig(name="adamw", epsilon=1e-20).epsilon == 1e-20
    with pytest.raises(InputError, match="learning_rate must be finite"):
        configs.OptimizerConfig(learning_rate=float("inf"))


@pytest.mark.parametrize(
    "argv", [["--tokens=t"], ["--tokens=t", "--tokenizer=d"], ["--tokenizer=d", "--data.source=digits"]]
)
def test_a_language_model_takes_tokens_or_a_tokenizer_with_images(argv):
    assert flags.parse(configs.LanguageModelTrainConfig, ["--workdir=w", *argv])


def test_microbatches_must_share_the_batch():
    with pytest.raises(InputError, match="batch_size 256 can't be divided into training.gradient_accumulation_steps 3"):
        make(configs.TokenizerTrainConfig, training=configs.TrainingConfig(gradient_accumulation_steps=3))


def test_messages_are_one_line():
    with pytest.raises(InputError) as caught:
        configs.TrainingConfig(batch_size=0)
    assert str(caught.value) == "batch_size must be above 0, not 0"


def test_a_config_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        make(configs.ExportCommand).output = "elsewhere"
