"""A linear probe as a classifier that TensorFlow Model Analysis can measure."""

import keras
import tensorflow as tf

from vim_tf.serving import saved_model
from vim_tf.serving.request_images import read_images

SIGNATURE = "classify_examples"
PREDICTION_KEY = "probabilities"


def export_classifier(folder, inputs, probe, feature, max_pixels):
    """Writes a SavedModel with the signature `classify_examples`, whole or not at all.

    It takes `examples`, string [batch]: serialized tf.train.Examples with `image`, an encoded file; and gives
    `probabilities`, float32 [batch, num_classes]. It loads in a process with only TensorFlow.

    Args:
        folder: str; existing content is replaced.
        inputs: stages.linear_probe.ProbeInputs, the stages under the probe.
        probe: LinearProbe.
        feature: name of the feature whose head classifies, such as block_03.
        max_pixels: int, limit of an image, as in `decode_image`.
    """
    features, (height, width) = inputs.features, inputs.image_size
    spec = {"image": tf.io.FixedLenFeature([], tf.string)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")], autograph=False)
    def classify_examples(examples):
        images = read_images(tf.io.parse_example(examples, spec)["image"], height, width, max_pixels)
        logits = probe(features.of(images, features.encode(images)))[feature]
        return {PREDICTION_KEY: keras.ops.softmax(logits, axis=-1)}

    module = tf.Module(name="vim_tf_classifier")
    # Plain variables, so that loading the file doesn't need Keras.
    module.weights = [weight.value for model in (*features.models, probe) for weight in model.weights]
    saved_model.write(folder, module, {SIGNATURE: classify_examples, "serving_default": classify_examples})
