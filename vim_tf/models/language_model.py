"""VIM: a decoder-only Transformer over the tokens of an image."""

import functools

import keras
from keras import ops

from vim_tf.models.cpu import PackedKernels
from vim_tf.models.layers import (
    LAYER_NORM_EPSILON,
    SeededDropout,
    TransformerBlock,
    call_layer,
    seed_for,
    stateless_uniform,
)


@keras.saving.register_keras_serializable(package="vim_tf")
class LanguageModel(keras.Model):
    """Distribution of each token given the label and the tokens before it, in raster order.

    The sequence has one slot for each token. Slot 0 holds the label's embedding, slot i the embedding of token i - 1,
    so that the output at slot i predicts token i. Positions are learned, one for each slot.

    Args:
        grid_height, grid_width, depth: shape of an image's tokens; depth is the fastest axis.
        codebook_size: tokens are in [0, codebook_size).
        num_classes: labels are in [0, num_classes); 0 = unconditional. The label after the last one is the null label.
        num_layers, num_heads, hidden_dim, mlp_dim: size of the Transformer.
        dropout: rate on embeddings, attention outputs, activations and feed-forward outputs.
        label_dropout: share of the labels that the null label replaces in training; above 0 makes guidance possible.
        features_block: block whose mean output is the image's feature; -1 = 5/12 of the depth.
        rematerialize: recompute the blocks' activations in the backward pass. It affects how training computes, not the
            model itself, so it isn't part of the model's config.

    Call arguments:
        tokens: int32 [batch, num_tokens] in [0, codebook_size).
        labels: int32 [batch] in [0, num_classes]; the null label hides the class.
        seed: int32 [2] for the dropouts of training, or None.

    Returns:
        float32 [batch, num_tokens, codebook_size] logits; logits[:, i] predicts tokens[:, i].

    References:
        Yu et al., 2022, https://arxiv.org/abs/2110.04627, section 4.
    """

    def __init__(
        self,
        grid_height,
        grid_width,
        depth,
        codebook_size,
        num_classes,
        num_layers,
        num_heads,
        hidden_dim,
        mlp_dim,
        dropout=0.0,
        label_dropout=0.0,
        features_block=-1,
        rematerialize=False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.grid_height = grid_height
        self.grid_width = grid_width
        self.depth = depth
        self.codebook_size = codebook_size
        self.num_classes = num_classes
        self.num_layers = num_layers
        self.num_heads = num_heads
        self.hidden_dim = hidden_dim
        self.mlp_dim = mlp_dim
        self.dropout = dropout
        self.label_dropout = label_dropout
        self.features_block = features_block
        self.rematerialize = rematerialize
        self.num_tokens = grid_height * grid_width * depth
        self.null_label = num_classes
        policy = self.dtype_policy
        self.token_embedding = keras.layers.Embedding(codebook_size, hidden_dim, dtype=policy, name="token_embedding")
        self.label_embedding = keras.layers.Embedding(num_classes + 1, hidden_dim, dtype=policy, name="label_embedding")
        self.embedding_dropout = SeededDropout(dropout, dtype=policy)
        self.blocks = [
            TransformerBlock(num_heads, mlp_dim, causal=True, dropout=dropout, dtype=policy, name=f"block_{i}")
            for i in range(num_layers)
        ]
        self.final_norm = keras.layers.LayerNormalization(epsilon=LAYER_NORM_EPSILON, dtype=policy, name="final_norm")
        self.output_projection = keras.layers.Dense(codebook_size, dtype="float32", name="output_projection")

    def build(self, input_shape=None):
        self.token_embedding.build()
        self.label_embedding.build()
        self.positions = self.add_weight(
            name="positions",
            shape=(self.num_tokens, self.hidden_dim),
            initializer=keras.initializers.RandomNormal(stddev=0.02),
        )
        for layer in (*self.blocks, self.final_norm, self.output_projection):
            layer.build((None, self.num_tokens, self.hidden_dim))
        self.built = True

    def call(self, tokens, labels, seed=None):
        hidden = self._slots(tokens, self._hide_labels(labels, seed), seed)
        for index, block in enumerate(self.blocks):
            # The seed is bound, not passed: keras.remat takes no keyword arguments in a graph.
            run = functools.partial(block, seed=seed_for(seed, 3 * index + 1))
            hidden = (keras.remat(run) if self.rematerialize else run)(hidden)
        return self.output_projection(self.final_norm(hidden))

    @property
    def can_be_guided(self):
        """Whether training has shown the model images without their label."""
        return bool(self.num_classes and self.label_dropout)

    def known_labels(self, labels):
        """Labels that have an embedding: int32 [batch], the null label where there is none or the model has none."""
        return ops.where(ops.logical_or(labels < 0, self.num_classes == 0), self.null_label, labels)

    def features(self, tokens):
        """Mean over the slots of one block's output, without the label.

        Args:
            tokens: int32 [batch, num_tokens].

        Returns:
            float32 [batch, hidden_dim].
        """
        last = self.features_block if self.features_block >= 0 else 5 * self.num_layers // 12
        return self._block_means(tokens, last + 1)[-1]

    def block_features(self, tokens):
        """Mean over the slots of every block's output, without the label, in one pass.

        Args:
            tokens: int32 [batch, num_tokens].

        Returns:
            float32 [batch, num_layers, hidden_dim].
        """
        return ops.stack(self._block_means(tokens, self.num_layers), axis=1)

    def _block_means(self, tokens, num_blocks):
        """Features of the first blocks: list of float32 [batch, hidden_dim]."""
        hidden = self._slots(tokens, ops.full(ops.shape(tokens)[:1], self.null_label, dtype="int32"), None)
        means = []
        for block in self.blocks[:num_blocks]:
            hidden = block(hidden)
            means.append(ops.cast(ops.mean(hidden, axis=1), "float32"))
        return means

    def empty_cache(self, batch_size, length=None):
        """Keys and values before the first position, with room for `length` positions; None = all tokens.

        Returns:
            list of a pair of float [batch, heads, length, head_dim] for each block.
        """
        shape = (batch_size, self.num_heads, length or self.num_tokens, self.hidden_dim // self.num_heads)
        return [(ops.zeros(shape, self.compute_dtype), ops.zeros(shape, self.compute_dtype)) for _ in self.blocks]

    def packed_kernels(self):
        """The kernels that `step` multiplies by, in the memory order that is fast for a loop of many steps on a CPU."""
        in_blocks = [layer for block in self.blocks for layer in block.dense_layers]
        return PackedKernels([*in_blocks, self.output_projection])

    def step(self, previous, labels, cache, position, project=call_layer):
        """Logits of one token, from the token before it and the cache.

        Args:
            previous: int32 [batch], token at position - 1; ignored where position is 0.
            labels: int32 [batch] in [0, num_classes].
            cache: as from `empty_cache`, filled up to position - 1.
            position: int32 [].
            project: function of a Dense layer and its inputs to its outputs, such as `packed_kernels()`.

        Returns:
            float32 [batch, codebook_size], and the cache with this position filled in.
        """
        first = ops.equal(position, 0)
        embedded = ops.where(first, self.label_embedding(labels), self.token_embedding(previous))
        hidden = (embedded + ops.cast(ops.take(self.positions, position, axis=0), embedded.dtype))[:, None]
        filled = []
        for block, block_cache in zip(self.blocks, cache, strict=True):
            hidden, block_cache = block.step(hidden, block_cache, position, project)
            filled.append(block_cache)
        return project(self.output_projection, self.final_norm(hidden))[:, 0], filled

    def _hide_labels(self, labels, seed):
        if seed is None or not self.can_be_guided:
            return labels
        # Site -2 comes before those of the dropouts.
        hidden = stateless_uniform(ops.shape(labels), seed_for(seed, -2)) < self.label_dropout
        return ops.where(hidden, self.null_label, labels)

    def _slots(self, tokens, labels, seed):
        """Embeddings of the label and the tokens: the only code that shifts tokens relative to what they predict."""
        first = self.label_embedding(labels)[:, None]
        embedded = ops.concatenate([first, self.token_embedding(tokens[:, :-1])], axis=1)
        embedded = embedded + ops.cast(self.positions, embedded.dtype)
        return self.embedding_dropout(embedded, seed=seed_for(seed, 0))

    def get_config(self):
        names = (
            "grid_height",
            "grid_width",
            "depth",
            "codebook_size",
            "num_classes",
            "num_layers",
            "num_heads",
            "hidden_dim",
            "mlp_dim",
            "dropout",
            "label_dropout",
            "features_block",
        )
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


def build_language_model(section, rematerialize=False):
    """The built model that a `LanguageModelConfig` describes; arguments as in `describe_language_model`."""
    language_model = describe_language_model(section, rematerialize)
    language_model.build()
    return language_model


def describe_language_model(section, rematerialize=False):
    """The model that a `LanguageModelConfig` describes, not built: it has its config, but no weights yet.

    Args:
        section: LanguageModelConfig.
        rematerialize: bool, recompute the blocks' activations in the backward pass.
    """
    return LanguageModel(
        grid_height=section.tokens.grid_height,
        grid_width=section.tokens.grid_width,
        depth=section.tokens.depth,
        codebook_size=section.tokens.codebook_size,
        num_classes=section.tokens.num_classes if section.class_conditional else 0,
        num_layers=section.num_layers,
        num_heads=section.num_heads,
        hidden_dim=section.hidden_dim,
        mlp_dim=section.mlp_dim,
        dropout=section.dropout,
        label_dropout=section.label_dropout,
        features_block=section.features_block,
        rematerialize=rematerialize,
        name="language_model",
    )
