"""The two Vision Transformers of ViT-VQGAN: images to latents, and quantized latents to images."""

import keras
from keras import ops

from vim_tf.models.layers import LAYER_NORM_EPSILON, TransformerBlock


class _VisionTransformer(keras.layers.Layer):
    """What encoder and decoder share: linear embedding, learned positions, pre-LN blocks, final norm, tanh head.

    The head is the paper's "two-layer feed-forward with tanh between" at the output of the blocks (section 3.1); its
    inner width is the model's.

    Args:
        grid_height, grid_width: places of the token grid.
        num_layers, num_heads, hidden_dim, mlp_dim: size of the Transformer.
        output_dim: width at each place after the head.
    """

    def __init__(self, grid_height, grid_width, num_layers, num_heads, hidden_dim, mlp_dim, output_dim, **kwargs):
        super().__init__(**kwargs)
        self.grid_height = grid_height
        self.grid_width = grid_width
        self.num_layers = num_layers
        self.num_heads = num_heads
        self.hidden_dim = hidden_dim
        self.mlp_dim = mlp_dim
        self.output_dim = output_dim
        self.embedding = keras.layers.Dense(hidden_dim, name="embedding")
        self.blocks = [TransformerBlock(num_heads, mlp_dim, name=f"block_{i}") for i in range(num_layers)]
        self.final_norm = keras.layers.LayerNormalization(epsilon=LAYER_NORM_EPSILON, name="final_norm")
        self.head_hidden = keras.layers.Dense(hidden_dim, activation="tanh", name="head_hidden")
        self.head_output = keras.layers.Dense(output_dim, dtype="float32", name="head_output")

    def _build_transformer(self, input_dim):
        length = self.grid_height * self.grid_width
        self.embedding.build((None, length, input_dim))
        self.positions = self.add_weight(
            name="positions",
            shape=(1, length, self.hidden_dim),
            initializer=keras.initializers.RandomNormal(stddev=0.02),
        )
        for layer in (*self.blocks, self.final_norm, self.head_hidden, self.head_output):
            layer.build((None, length, self.hidden_dim))
        self.built = True

    def _transform(self, inputs):
        hidden = self.embedding(inputs) + ops.cast(self.positions, self.compute_dtype)
        for block in self.blocks:
            hidden = block(hidden)
        return self.head_output(self.head_hidden(self.final_norm(hidden)))

    def get_config(self):
        names = ("grid_height", "grid_width", "num_layers", "num_heads", "hidden_dim", "mlp_dim", "output_dim")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


@keras.saving.register_keras_serializable(package="vim_tf")
class ViTEncoder(_VisionTransformer):
    """Images to latents, one for each patch.

    Args:
        patch_size: side of a patch in pixels; the other arguments are the shared ones.

    Call arguments:
        images: float32 [batch, grid_height * patch_size, grid_width * patch_size, 3] in [0, 1].

    Returns:
        float32 [batch, grid_height * grid_width, output_dim], unbounded; raster order.
    """

    def __init__(self, patch_size, **kwargs):
        super().__init__(**kwargs)
        self.patch_size = patch_size

    def build(self, input_shape=None):
        self._build_transformer(self.patch_size**2 * 3)

    def call(self, images):
        size = self.patch_size
        # Centred on 0, as the embedding's initial weights expect.
        patches = ops.reshape(images * 2 - 1, (-1, self.grid_height, size, self.grid_width, size, 3))
        patches = ops.transpose(patches, (0, 1, 3, 2, 4, 5))  # [B, grid_height, grid_width, size, size, 3]
        return self._transform(ops.reshape(patches, (-1, self.grid_height * self.grid_width, size * size * 3)))

    def get_config(self):
        config = super().get_config()
        return {**config, "patch_size": self.patch_size}


@keras.saving.register_keras_serializable(package="vim_tf")
class ViTDecoder(_VisionTransformer):
    """Quantized latents to pixels.

    Args:
        input_dim: width of a quantized latent.
        patch_size: side of a patch in pixels.
        output_channels: maps to predict for each pixel; the other arguments are the shared ones.

    Call arguments:
        quantized: float32 [batch, grid_height * grid_width, input_dim].

    Returns:
        float32 [batch, height, width, output_channels], unbounded.
    """

    def __init__(self, input_dim, patch_size, output_channels, **kwargs):
        kwargs.pop("output_dim", None)
        super().__init__(output_dim=patch_size**2 * output_channels, **kwargs)
        self.input_dim = input_dim
        self.patch_size = patch_size
        self.output_channels = output_channels

    def build(self, input_shape=None):
        self._build_transformer(self.input_dim)

    def call(self, quantized):
        size = self.patch_size
        pixels = ops.reshape(
            self._transform(quantized), (-1, self.grid_height, self.grid_width, size, size, self.output_channels)
        )
        pixels = ops.transpose(pixels, (0, 1, 3, 2, 4, 5))  # [B, grid_height, size, grid_width, size, channels]
        return ops.reshape(pixels, (-1, self.grid_height * size, self.grid_width * size, self.output_channels))

    def get_config(self):
        config = super().get_config()
        config.pop("output_dim")
        return {
            **config,
            "input_dim": self.input_dim,
            "patch_size": self.patch_size,
            "output_channels": self.output_channels,
        }
