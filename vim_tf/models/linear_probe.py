"""Linear heads over frozen features of images."""

import keras
from keras import ops


class ImageFeatures:
    """Frozen features of images, by name; each is one vector for an image.

    Names: `pixels`, the image itself; `latents`, the codes of its tokens; `block_00`, `block_01` ..., the mean over the
    token slots of each block's output, without the label. One pass gives all blocks.

    Args:
        tokenizer: has encode, lookup, height, width, and the size of the grid.
        language_model: LanguageModel of its tokens; None = no blocks.
        kinds: which of pixels, latents, blocks.
        latents: flattened (codes of all positions, concatenated) or averaged (their mean).

    Attributes:
        sizes: dict from name to length of the vector, in the order above.
        block_names: list of str.
        models: list of the frozen models.
    """

    def __init__(self, tokenizer, language_model, kinds, latents="flattened"):
        self._tokenizer = tokenizer
        self._language_model = language_model
        self.models = [tokenizer] if language_model is None else [tokenizer, language_model]
        self._average_latents = latents == "averaged"
        self.block_names, self.sizes = [], {}
        if "pixels" in kinds:
            self.sizes["pixels"] = tokenizer.height * tokenizer.width * 3
        if "latents" in kinds:
            positions = tokenizer.grid_height * tokenizer.grid_width
            dim = tokenizer.lookup(ops.zeros((1, positions * tokenizer.depth), "int32")).shape[-1]
            self.sizes["latents"] = dim if self._average_latents else positions * dim
        if language_model is not None and "blocks" in kinds:
            self.block_names = [f"block_{index:02d}" for index in range(language_model.num_layers)]
            self.sizes |= dict.fromkeys(self.block_names, language_model.hidden_dim)

    def encode(self, images):
        """Tokens of images. Separate from `of`, so that compiling the latter doesn't round these differently.

        Args:
            images: float32 [batch, height, width, 3] in [0, 1].

        Returns:
            int32 [batch, num_tokens].
        """
        return self._tokenizer.encode(images)

    def of(self, images, tokens):
        """Features of images and their tokens.

        Returns:
            dict from name to float32 [batch, size].
        """
        features = {}
        if "pixels" in self.sizes:
            features["pixels"] = ops.reshape(images, (-1, self.sizes["pixels"]))
        if "latents" in self.sizes:
            latents = self._tokenizer.lookup(tokens)
            latents = ops.mean(latents, axis=1) if self._average_latents else latents
            features["latents"] = ops.reshape(latents, (-1, self.sizes["latents"]))
        if self.block_names:
            blocks = self._language_model.block_features(tokens)
            features |= {name: blocks[:, index] for index, name in enumerate(self.block_names)}
        return features


class LinearHead(keras.layers.Layer):
    """One linear layer over a standardized feature, initially zero: every label is equally likely at first.

    Args:
        size: length of the feature.
        num_classes: number of labels.

    Call arguments:
        features: float32 [batch, size].

    Returns:
        float32 [batch, num_classes] logits.
    """

    def __init__(self, size, num_classes, **kwargs):
        super().__init__(dtype="float32", **kwargs)
        self.size = size
        self.num_classes = num_classes

    def build(self, input_shape=None):
        self.mean = self.add_weight(name="mean", shape=(self.size,), initializer="zeros", trainable=False)
        self.deviation = self.add_weight(name="deviation", shape=(self.size,), initializer="ones", trainable=False)
        self.kernel = self.add_weight(name="kernel", shape=(self.size, self.num_classes), initializer="zeros")
        self.bias = self.add_weight(name="bias", shape=(self.num_classes,), initializer="zeros")
        self.built = True

    def call(self, features):
        return ops.matmul((features - self.mean) / self.deviation, self.kernel) + self.bias


@keras.saving.register_keras_serializable(package="vim_tf")
class LinearProbe(keras.Model):
    """A softmax layer for each feature, independent of the others.

    Args:
        sizes: dict from a feature's name to its length.
        num_classes: number of labels.

    Call arguments:
        features: dict from name to float32 [batch, size].

    Returns:
        dict from name to float32 [batch, num_classes] logits.

    References:
        Yu et al., 2022, https://arxiv.org/abs/2110.04627, section 4.2.
    """

    def __init__(self, sizes, num_classes, dtype="float32", **kwargs):
        super().__init__(dtype=dtype, **kwargs)
        self.sizes = dict(sizes)
        self.num_classes = num_classes
        self.heads = [LinearHead(size, num_classes, name=name) for name, size in self.sizes.items()]

    def build(self, input_shape=None):
        for head in self.heads:
            head.build()
        self.built = True

    def call(self, features):
        return {head.name: head(features[head.name]) for head in self.heads}

    def standardize(self, means, deviations):
        """Sets the statistics by which features are standardized: dicts from name to float [size]."""
        for head in self.heads:
            head.mean.assign(means[head.name])
            head.deviation.assign(deviations[head.name])

    def get_config(self):
        return {**super().get_config(), "sizes": self.sizes, "num_classes": self.num_classes}


def build_linear_probe(sizes, num_classes):
    """The built heads; arguments as in `LinearProbe`."""
    probe = LinearProbe(sizes, num_classes, name="linear_probe")
    probe.build()
    return probe
