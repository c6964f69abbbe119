"""Losses between images and their reconstructions."""

from keras import ops


def l1_loss(images, reconstructions):
    """Mean absolute pixel error.

    Args:
        images: float32 [batch, height, width, channels] in [0, 1].
        reconstructions: float32, same shape.

    Returns:
        float32 [] in [0, 1] for reconstructions in [0, 1].
    """
    return ops.mean(ops.abs(images - reconstructions))


def l2_loss(images, reconstructions):
    """Mean squared pixel error.

    Args:
        images: float32 [batch, height, width, channels] in [0, 1].
        reconstructions: float32, same shape.

    Returns:
        float32 [] in [0, 1] for reconstructions in [0, 1].
    """
    return ops.mean((images - reconstructions) ** 2)


def logit_laplace_loss(images, location, log_scale, min_log_scale=-2.0, margin=1e-3, epsilon=0.0):
    """Negative log-likelihood of pixels under a logit-Laplace distribution.

    The density of x is 1 / (2 b x (1 - x)) exp(-|logit(x) - location| / b) with b = exp(log_scale). On a flat image,
    b can shrink without bound, and the loss falls without bound, so `log_scale` has a floor, below which its gradient
    is zero.

    Args:
        images: float32 [batch, height, width, channels] in [0, 1]; moved into [margin, 1 - margin] first.
        location: float32, same shape; mean of logit(image), unbounded.
        log_scale: float32, same shape; log of the Laplace scale.
        min_log_scale: float, floor of log_scale.
        margin: float in (0, 0.5).
        epsilon: float in [0, 0.5); images are first mapped to [epsilon, 1 - epsilon], which bounds their logits, and
            the likelihood is that of the mapped images.

    Returns:
        float32 [], nats per sub-pixel, mean over all elements; can be negative.

    References:
        Ramesh et al., 2021, https://arxiv.org/abs/2102.12092, eq. 2; section A.3 for epsilon, there 0.1.
    """
    images = ops.clip((1 - 2 * epsilon) * images + epsilon, margin, 1 - margin)
    log_scale = ops.maximum(log_scale, min_log_scale)
    distance = ops.abs(ops.log(images) - ops.log1p(-images) - location)
    return ops.mean(distance * ops.exp(-log_scale) + log_scale + ops.log(2 * images * (1 - images)))
