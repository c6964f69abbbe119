"""Vector-quantized Image Modeling (ViT-VQGAN and VIM) for TensorFlow and Keras.

Importing the package doesn't load TensorFlow: the modules that need it import it themselves.
"""

__version__ = "0.1.0"
