"""Every metric by name: unit, direction and meaning."""

import dataclasses
import re


@dataclasses.dataclass(frozen=True)
class MetricInfo:
    """What a reader needs to know about a metric.

    Attributes:
        unit: str, empty for a bare number.
        better: higher, lower, or empty for a value that is only informative.
        meaning: one sentence.
        real: name of the metric that says what real images score, or empty.
        title: its name in a report's short table; empty = it isn't shown there.
    """

    unit: str
    better: str
    meaning: str
    real: str = ""
    title: str = ""


def _distribution_metrics():
    """Metrics that compare two sets of images through a feature network.

    Each has a name for TF-GAN's Inception graph, one for each of PyPI's networks, and one for all others.
    """
    compared = {
        "reconstruction": ("reconstructions and the same images", "Reconstructions"),
        "generation": ("samples and real images", "Samples"),
        "real": ("the two real splits", ""),
    }
    kinds = (
        ("frechet_distance", "fid", "lower", "Fréchet distance between {}.", ("Fréchet distance", "FID")),
        (
            "kernel_distance",
            "kid",
            "lower",
            "Kernel distance between {}; unbiased, so it can be negative.",
            ("kernel distance", "KID"),
        ),
        (
            "classifier_score",
            "inception_score",
            "higher",
            "How clear each class is, and how evenly the classes occur.",
            ("classifier score", "Inception Score"),
        ),
    )
    metrics = {}
    for name, inception_name, better, meaning, titles in kinds:
        for stage, (sets, subject) in compared.items():
            general, inception = titles
            named = {
                name: general,
                inception_name: inception,
                f"squeezenet_{name}": f"SqueezeNet {general}",
                f"efficientnet_lite0_{name}": f"EfficientNet-Lite0 {general}",
            }
            for each, title in named.items():
                metrics[f"{stage}/{each}"] = MetricInfo(
                    unit="",
                    better="" if stage == "real" else better,
                    meaning=meaning.format(sets),
                    real=f"real/{each}" if stage == "generation" else "",
                    title=f"{subject}: {title}" if subject else "",
                )
    return metrics


# In the order in which a report shows them, within a stage.
METRICS = {
    "reconstruction/psnr": MetricInfo(
        "dB", "higher", "Peak signal-to-noise ratio of reconstructions.", title="Reconstructions: PSNR"
    ),
    "reconstruction/ssim": MetricInfo(
        "", "higher", "Structural similarity of reconstructions, at most 1.", title="Reconstructions: SSIM"
    ),
    "reconstruction/lpips": MetricInfo(
        "", "lower", "Distance between VGG16 features, calibrated to human judgement.", title="Reconstructions: LPIPS"
    ),
    "reconstruction/l1": MetricInfo("", "lower", "Mean absolute difference of pixels in [0, 1]."),
    "reconstruction/l2": MetricInfo("", "lower", "Mean squared difference of pixels in [0, 1]."),
    "reconstruction/logit_laplace": MetricInfo(
        "nats", "lower", "Negative log-likelihood of a sub-pixel under the decoder's distribution."
    ),
    "codebook/usage": MetricInfo(
        "", "higher", "Share of the codebook that the split's tokens use.", title="Codebook: share of codes used"
    ),
    "codebook/usage_per_256": MetricInfo(
        "", "higher", "Share of the codebook that 256 images use, averaged over the split: the paper's usage."
    ),
    "codebook/perplexity": MetricInfo(
        "codes",
        "higher",
        "Codes in effective use: exp of the entropy of the tokens.",
        title="Codebook: perplexity",
    ),
    "language_model/validation_bits_per_token": MetricInfo(
        "bits",
        "lower",
        "Mean negative log-likelihood of a token that the language model wasn't trained on.",
        title="Language model: bits per unseen token",
    ),
    "language_model/generalization_gap": MetricInfo(
        "bits",
        "lower",
        "Validation bits per token minus training bits per token; a growing gap is overfitting.",
        title="Language model: validation minus training",
    ),
    "generation/label_accuracy": MetricInfo(
        "",
        "higher",
        "Share of samples that the feature network recognises as the requested label.",
        "real/label_accuracy",
        "Samples: recognised as their label",
    ),
    "generation/precision": MetricInfo(
        "", "higher", "Share of samples in the manifold of real images.", "real/precision", "Samples: precision"
    ),
    "generation/recall": MetricInfo(
        "", "higher", "Share of real images in the manifold of the samples.", "real/recall", "Samples: recall"
    ),
    "linear_probe/top1": MetricInfo(
        "",
        "higher",
        "Share of images whose class a linear layer reads from the best block's mean output.",
        title="Linear probe: best block",
    ),
    "linear_probe/best_block": MetricInfo("", "", "Number of that block, counted from 0."),
    "linear_probe/pixels_top1": MetricInfo("", "higher", "The same from the image's pixels."),
    "linear_probe/latents_top1": MetricInfo("", "higher", "The same from the codes of the image's tokens."),
    "real/label_accuracy": MetricInfo("", "", "Share of the real split that the feature network recognises."),
    "real/precision": MetricInfo("", "", "Share of the split's images in the manifold of the other split."),
    "real/recall": MetricInfo("", "", "Share of the other split's images in the manifold of the split."),
    **_distribution_metrics(),
}


def metric_info(name):
    """MetricInfo of a metric; an empty one for an unknown name."""
    if re.fullmatch(r"linear_probe/block_\d+_top1", name):
        return MetricInfo("", "higher", "The same from this block's mean output.")
    return METRICS.get(name, MetricInfo("", "", ""))
