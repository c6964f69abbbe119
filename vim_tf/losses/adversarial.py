"""Losses of generator and discriminator, and the weight of the adversarial term."""

import tensorflow as tf

from vim_tf.losses import tf_gan

_KINDS = {"non_saturating": "modified", "hinge": "wasserstein_hinge", "least_squares": "least_squares"}


def generator_loss(fake_logits, kind):
    """TF-GAN's loss of the generator: the lower, the more its images pass as real.

    Args:
        fake_logits: float32 [batch] or [batch, height, width], discriminator's logits of generated images.
        kind: non_saturating, mean softplus(-D(fake)); hinge, mean -D(fake); least_squares, mean (D(fake) - 1)^2 / 2.

    Returns:
        float32 [], mean over all logits; at least 0 except for hinge.

    References:
        Goodfellow et al., 2014, https://arxiv.org/abs/1406.2661, section 3; Lim and Ye, 2017,
        https://arxiv.org/abs/1705.02894; Mao et al., 2017, https://arxiv.org/abs/1611.04076, eq. 2.
    """
    return _loss("generator", kind)(fake_logits, loss_collection=None, **_settings(kind))


def discriminator_loss(real_logits, fake_logits, kind):
    """TF-GAN's loss of the discriminator: the lower, the better it tells real images from generated ones.

    Args:
        real_logits: float32 [batch] or [batch, height, width], discriminator's logits of real images.
        fake_logits: float32, same shape, its logits of generated images.
        kind: non_saturating, mean softplus(-D(real)) + mean softplus(D(fake)), 2 log 2 for all logits 0; hinge, mean
            relu(1 - D(real)) + mean relu(1 + D(fake)); least_squares, mean (D(real) - 1)^2 / 2 + mean D(fake)^2 / 2.

    Returns:
        float32 [], at least 0; a sum of two means over all logits.

    References:
        Those of `generator_loss`.
    """
    return _loss("discriminator", kind)(real_logits, fake_logits, loss_collection=None, **_settings(kind))


def _loss(player, kind):
    return getattr(tf_gan.losses(), f"{_KINDS[kind]}_{player}_loss")


def _settings(kind):
    return {"label_smoothing": 0.0} if kind == "non_saturating" else {}


def lecam_loss(real_logits, fake_logits, real_mean, fake_mean):
    """Keeps the discriminator's logits near moving averages of the other side's, to prevent overfitting on few images.

    Mean relu(D(real) - fake_mean)^2 + mean relu(real_mean - D(fake))^2.

    Args:
        real_logits, fake_logits: float32 [batch] or [batch, height, width].
        real_mean, fake_mean: float32 [], moving averages of the two; they get no gradient.

    Returns:
        float32 [], at least 0.

    References:
        Tseng et al., 2021, https://arxiv.org/abs/2104.03310, in the one-sided form of its authors' code.
    """
    real_mean, fake_mean = tf.stop_gradient(real_mean), tf.stop_gradient(fake_mean)
    over = tf.nn.relu(real_logits - fake_mean)
    under = tf.nn.relu(real_mean - fake_logits)
    return tf.reduce_mean(over**2) + tf.reduce_mean(under**2)


def adaptive_weight(reconstruction_norm, adversarial_norm, maximum):
    """Weight that makes the adversarial gradient as long as that of the other terms.

    Args:
        reconstruction_norm, adversarial_norm: float32 [], lengths of the two gradients at the decoder's last layer.
        maximum: float, upper limit.

    Returns:
        float32 [] in [0, maximum], without a gradient.

    References:
        Esser et al., 2021, https://arxiv.org/abs/2012.09841, eq. 7.
    """
    ratio = reconstruction_norm / (adversarial_norm + 1e-4)
    return tf.stop_gradient(tf.clip_by_value(ratio, 0.0, maximum))


def adversarial_factor(step, start_step, warmup_steps):
    """The share of its weight that the adversarial term has at a step.

    Args:
        step: integer [], number of steps before this one.
        start_step: int, first step at which the term counts.
        warmup_steps: int, steps over which it then rises; 0 = at once.

    Returns:
        float32 [] in [0, 1].
    """
    since_start = tf.cast(step, tf.float32) - start_step
    if not warmup_steps:
        return tf.cast(since_start >= 0, tf.float32)
    return tf.clip_by_value(since_start / warmup_steps, 0.0, 1.0)


def r1_penalty(discriminator, images, scale=1.0):
    """Mean squared length of the discriminator's gradient at real images.

    Args:
        discriminator: function of images to logits [batch] or [batch, height, width]; the gradient is that of the mean
            of an image's logits, so that the penalty doesn't grow with the square of their number.
        images: float32 [batch, height, width, channels].
        scale: float or float32 [], multiplies the logits before their gradient is taken, which is then divided by it:
            half precision has no numbers as small as a pixel's gradient. A power of two changes nothing else.

    Returns:
        float32 [], at least 0; not multiplied by gamma / 2.

    References:
        Mescheder et al., 2018, https://arxiv.org/abs/1801.04406, eq. 9.
    """
    with tf.GradientTape() as tape:
        tape.watch(images)
        logits = discriminator(images)
        total = tf.reduce_sum(tf.reduce_mean(logits, axis=list(range(1, len(logits.shape)))))
        scaled = scale * total
    gradient = tape.gradient(scaled, images) / scale
    return tf.reduce_mean(tf.reduce_sum(gradient**2, axis=[1, 2, 3]))
