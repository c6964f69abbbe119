"""The game between generator and discriminator."""

import tensorflow as tf

from vim_tf import tf_gan


def generator_loss(fake_logits):
    """Non-saturating generator loss: mean softplus(-D(fake)).

    Args:
        fake_logits: float32 [batch], discriminator's logits of generated images.

    Returns:
        float32 [], at least 0.

    References:
        Goodfellow et al., 2014, https://arxiv.org/abs/1406.2661, section 3; TF-GAN's `modified_generator_loss`.
    """
    return tf_gan.losses().modified_generator_loss(fake_logits, label_smoothing=0.0, loss_collection=None)


def discriminator_loss(real_logits, fake_logits):
    """Logistic discriminator loss: mean softplus(-D(real)) + mean softplus(D(fake)).

    Args:
        real_logits: float32 [batch], discriminator's logits of real images.
        fake_logits: float32 [batch], discriminator's logits of generated images.

    Returns:
        float32 [], at least 0; 2 log 2 where the discriminator can't tell.

    References:
        Goodfellow et al., 2014, https://arxiv.org/abs/1406.2661, eq. 1; TF-GAN's `modified_discriminator_loss`.
    """
    return tf_gan.losses().modified_discriminator_loss(
        real_logits, fake_logits, label_smoothing=0.0, loss_collection=None
    )


def r1_penalty(discriminator, images):
    """Mean squared length of the discriminator's gradient at real images.

    Args:
        discriminator: function of images to logits [batch].
        images: float32 [batch, height, width, channels].

    Returns:
        float32 [], at least 0; not multiplied by gamma / 2.

    References:
        Mescheder et al., 2018, https://arxiv.org/abs/1801.04406, eq. 9.
    """
    with tf.GradientTape() as tape:
        tape.watch(images)
        total = tf.reduce_sum(discriminator(images))
    gradient = tape.gradient(total, images)
    return tf.reduce_mean(tf.reduce_sum(gradient**2, axis=[1, 2, 3]))
