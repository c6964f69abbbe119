"""vim_tf as a TFX pipeline: the only package that imports TFX."""

import os

# TFX would switch the process's `tf.keras` to Keras 2, which breaks TensorFlow Probability together with Keras 3.
os.environ.setdefault("TF_USE_LEGACY_KERAS", "0")
