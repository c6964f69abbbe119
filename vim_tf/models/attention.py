"""Attention, in the form that suits the device."""

from keras import ops

from vim_tf.models import cpu, devices


def attend(projected, num_heads, causal=False):
    """Multi-head scaled dot-product attention. The softmax is float32.

    Args:
        projected: float [batch, length, 3 * num_heads * head_dim]: queries, keys and values, each head by head.
        num_heads: int.
        causal: whether a position sees only itself and earlier ones.

    Returns:
        float [batch, length, num_heads * head_dim].

    References:
        Vaswani et al., 2017, https://arxiv.org/abs/1706.03762, eq. 1.
    """
    form = cpu.attend if devices.on_cpu() else attend_fused
    return form(projected, num_heads, causal)


def attend_fused(projected, num_heads, causal=False):
    """The same with the backend's own operation; arguments and results as in `attend`.

    Keras uses flash attention where backend, device and type support it: JAX on TPUs, and in half precision on GPUs.
    Its TensorFlow backend doesn't in this version, and computes the plain formula, which XLA compiles.
    """
    length, width = projected.shape[1], projected.shape[2] // 3
    heads = ops.reshape(projected, (-1, length, 3, num_heads, width // num_heads))
    mixed = ops.dot_product_attention(
        heads[:, :, 0], heads[:, :, 1], heads[:, :, 2], scale=(width // num_heads) ** -0.5, is_causal=causal
    )
    return ops.reshape(mixed, (-1, length, width))
