"""A SavedModel that stands in for TF-GAN's Inception graph, with known outputs."""

import tensorflow as tf


class InceptionStandIn(tf.Module):
    """Every feature is the mean of the image, every logit the mean of its square."""

    def __init__(self, num_features=2048, num_classes=1008, names=("pool_3", "logits")):
        self.scale = tf.Variable(1.0)
        self.num_features, self.num_classes, self.names = num_features, num_classes, names

    @tf.function(input_signature=[tf.TensorSpec([None, 299, 299, 3], tf.float32)])
    def __call__(self, images):
        mean = self.scale * tf.reduce_mean(images, axis=[1, 2, 3])
        # Like the original: a spatial average of 1 x 1 pixels.
        features = tf.tile(mean[:, None, None, None], [1, 1, 1, self.num_features])
        logits = tf.tile(tf.reduce_mean(images**2, axis=[1, 2, 3])[:, None], [1, self.num_classes])
        return dict(zip(self.names, (features, logits), strict=True))
