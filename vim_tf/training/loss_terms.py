"""The terms of the tokenizer's loss that need no other network: one row for each, with name, weight and function."""

import dataclasses
from collections.abc import Callable

from vim_tf.losses.reconstruction import l1_loss, l2_loss, logit_laplace_loss


@dataclasses.dataclass(frozen=True)
class LossTerm:
    """A term of the tokenizer's loss.

    Attributes:
        name: str, name of its metric after `tokenizer/`.
        weight: str, the field of TokenizerLossConfig that holds its weight.
        value: function of images, TokenizerOutputs, ImageTokenizer and TokenizerLossConfig that returns float32 [].
        is_computed: function of ImageTokenizer and TokenizerLossConfig: whether a training computes the term.
    """

    name: str
    weight: str
    value: Callable
    is_computed: Callable


def _of_quantizer(name, weight):
    """A loss that the quantizer computes, if it has one of this name."""
    return LossTerm(
        name,
        weight,
        value=lambda images, outputs, tokenizer, settings: outputs.quantized.losses[name],
        is_computed=lambda tokenizer, settings: name in tokenizer.quantizer.loss_names,
    )


# In the order in which they are added, which affects the last digits of their sum.
LOSS_TERMS = (
    _of_quantizer("codebook_loss", "codebook_weight"),
    _of_quantizer("entropy_loss", "entropy_weight"),
    _of_quantizer("commitment_loss", "commitment_weight"),
    _of_quantizer("prior_loss", "prior_weight"),
    LossTerm(
        "l2_loss",
        "l2_weight",
        value=lambda images, outputs, tokenizer, settings: l2_loss(images, outputs.images),
        # Recorded even if its weight is 0.
        is_computed=lambda tokenizer, settings: True,
    ),
    LossTerm(
        "l1_loss",
        "l1_weight",
        value=lambda images, outputs, tokenizer, settings: l1_loss(images, outputs.images),
        is_computed=lambda tokenizer, settings: settings.l1_weight > 0,
    ),
    LossTerm(
        "logit_laplace_loss",
        "logit_laplace_weight",
        value=lambda images, outputs, tokenizer, settings: logit_laplace_loss(
            images,
            outputs.location,
            outputs.log_scale,
            min_log_scale=settings.logit_laplace_min_log_scale,
            margin=settings.logit_laplace_margin,
            epsilon=tokenizer.pixel_epsilon,
        ),
        is_computed=lambda tokenizer, settings: tokenizer.pixels == "logit_laplace",
    ),
)


def computed_terms(tokenizer, settings):
    """The rows that a training computes.

    Args:
        tokenizer: ImageTokenizer.
        settings: TokenizerLossConfig.

    Returns:
        list of LossTerm.
    """
    return [term for term in LOSS_TERMS if term.is_computed(tokenizer, settings)]
