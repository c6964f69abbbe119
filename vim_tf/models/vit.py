"""The two Vision Transformers of ViT-VQGAN: images to latents, and quantized latents to images."""

import keras
import numpy as np
from keras import ops

from vim_tf.errors import InputError
from vim_tf.models.layers import LAYER_NORM_EPSILON, TransformerBlock, in_sequence


def sincos_positions(grid_height, grid_width, channels):
    """Fixed positions: sines and cosines of column and row.

    The first half of the channels encodes the column, the second one the row. Of n channels each, the first n / 2 are
    sin(index * w_i) and the others cos(index * w_i), where w_i = 10000^(-2 i / n).

    Args:
        grid_height, grid_width: int.
        channels: int, a multiple of 4.

    Returns:
        numpy float32 [grid_height * grid_width, channels], raster order.

    Raises:
        InputError: the channels can't be divided by 4.

    References:
        Vaswani et al., 2017, https://arxiv.org/abs/1706.03762, section 3.5, for each direction.
    """
    if channels % 4:
        raise InputError(f"sincos positions need a hidden_dim that is a multiple of 4, not {channels}")
    frequencies = 10_000.0 ** (-np.arange(channels // 4) / (channels // 4))
    rows, columns = np.divmod(np.arange(grid_height * grid_width), grid_width)
    angles = [np.outer(index, frequencies) for index in (columns, rows)]
    return np.concatenate([wave(angle) for angle in angles for wave in (np.sin, np.cos)], axis=1).astype("float32")


class _VisionTransformer(keras.layers.Layer):
    """Base of encoder and decoder: linear embedding, positions, pre-LN blocks, final norm, head.

    The paper's head is a "two-layer feed-forward with tanh between" at the output of the blocks (section 3.1); its
    inner width is the model's. The last layer computes in float32 under any policy.

    Args:
        grid_height, grid_width: size of the token grid.
        num_layers, num_heads, hidden_dim, mlp_dim: size of the Transformer.
        output_dim: width at each position after the head.
        positions: sincos (fixed) or learned.
        mlp_activation: gelu (the exact one), relu or tanh, inside the blocks.
        head: tanh (the paper's two layers) or linear (one layer).
        qkv_bias: whether queries, keys and values have a bias.
        head_dim: width of an attention head; 0 = hidden_dim / num_heads.
        layer_norm_epsilon: added to the variance in LayerNorm.
        rematerialize: whether the backward pass recomputes the blocks' activations, to save memory.
    """

    def __init__(
        self,
        grid_height,
        grid_width,
        num_layers,
        num_heads,
        hidden_dim,
        mlp_dim,
        output_dim,
        positions="sincos",
        mlp_activation="gelu",
        head="tanh",
        qkv_bias=True,
        head_dim=0,
        layer_norm_epsilon=LAYER_NORM_EPSILON,
        rematerialize=False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.grid_height = grid_height
        self.grid_width = grid_width
        self.num_layers = num_layers
        self.num_heads = num_heads
        self.hidden_dim = hidden_dim
        self.mlp_dim = mlp_dim
        self.output_dim = output_dim
        self.positions = positions
        self.mlp_activation = mlp_activation
        self.head = head
        self.qkv_bias = qkv_bias
        self.head_dim = head_dim
        self.layer_norm_epsilon = layer_norm_epsilon
        self.rematerialize = rematerialize
        policy = self.dtype_policy
        self.embedding = keras.layers.Dense(hidden_dim, dtype=policy, name="embedding")
        self.blocks = [
            TransformerBlock(
                num_heads,
                mlp_dim,
                mlp_activation=mlp_activation,
                qkv_bias=qkv_bias,
                head_dim=head_dim,
                layer_norm_epsilon=layer_norm_epsilon,
                dtype=policy,
                name=f"block_{i}",
            )
            for i in range(num_layers)
        ]
        self.final_norm = keras.layers.LayerNormalization(epsilon=layer_norm_epsilon, dtype=policy, name="final_norm")
        if head == "tanh":
            self.head_hidden = keras.layers.Dense(hidden_dim, activation="tanh", dtype=policy, name="head_hidden")
        self.head_output = keras.layers.Dense(output_dim, dtype="float32", name="head_output")

    def _build_transformer(self, input_dim):
        length = self.grid_height * self.grid_width
        self.embedding.build((None, length, input_dim))
        if self.positions == "learned":
            self.position_embedding = self.add_weight(
                name="positions",
                shape=(1, length, self.hidden_dim),
                initializer=keras.initializers.RandomNormal(stddev=0.02),
            )
        else:
            self.position_embedding = sincos_positions(self.grid_height, self.grid_width, self.hidden_dim)[None]
        for layer in (*self.blocks, self.final_norm, *self._head_layers()):
            layer.build((None, length, self.hidden_dim))
        self.built = True

    def _head_layers(self):
        return [self.head_hidden, self.head_output] if self.head == "tanh" else [self.head_output]

    def _transform(self, inputs):
        hidden = self.embedding(inputs) + ops.cast(self.position_embedding, self.compute_dtype)
        hidden = in_sequence(self.blocks, hidden, self.rematerialize)
        return in_sequence([self.final_norm, *self._head_layers()], hidden, rematerialize=False)

    def get_config(self):
        return {
            **super().get_config(),
            "grid_height": self.grid_height,
            "grid_width": self.grid_width,
            "num_layers": self.num_layers,
            "num_heads": self.num_heads,
            "hidden_dim": self.hidden_dim,
            "mlp_dim": self.mlp_dim,
            "output_dim": self.output_dim,
            "positions": self.positions,
            "mlp_activation": self.mlp_activation,
            "head": self.head,
            "qkv_bias": self.qkv_bias,
            "head_dim": self.head_dim,
            "layer_norm_epsilon": self.layer_norm_epsilon,
            "rematerialize": self.rematerialize,
        }


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

    @property
    def last_kernel(self):
        """The last layer's weight, at which the adaptive adversarial weight compares gradients."""
        return self.head_output.kernel

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
