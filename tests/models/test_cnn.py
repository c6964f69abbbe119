"""The vanilla VQGAN's networks: PyTorch's values, their layout, memory and mixed precision."""

import functools
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from vim_tf.interop import conversion, taming_transformers
from vim_tf.models.cnn import AttentionBlock, CNNDecoder, CNNEncoder, ResidualBlock, Upsampling
from vim_tf.models.layers import in_sequence

REFERENCE = pathlib.Path(__file__).parents[1] / "references" / "cnn.npz"
HEIGHT, WIDTH, NUM_TOKENS = 8, 12, 24
SIZES = {
    "height": HEIGHT,
    "width": WIDTH,
    "channels": 6,
    "channel_multipliers": (1, 2),
    "blocks_per_level": 1,
    "latent_channels": 5,
}


def build_pair(**options):
    encoder = CNNEncoder(**SIZES, output_dim=4, name="encoder", **options)
    decoder = CNNDecoder(**SIZES, input_dim=4, output_channels=3, name="decoder", **options)
    encoder.build()
    decoder.build()
    return encoder, decoder


@pytest.fixture(scope="module")
def reference():
    with np.load(REFERENCE) as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def weights(reference):
    theirs = {name.removeprefix("weight:"): value for name, value in reference.items() if name.startswith("weight:")}
    return taming_transformers.import_tokenizer(theirs, HEIGHT, WIDTH).weights


def assign(part, weights):
    own = {path.partition("/")[2]: value for path, value in weights.items() if path.startswith(part.name)}
    conversion.assign(part, own)


@pytest.fixture(scope="module")
def pair(weights):
    pair = build_pair()
    for part in pair:
        assign(part, weights)
    return pair


def in_their_range(pixels):
    """The imported decoder's pixels are in [0, 1], those of the reference in [-1, 1]."""
    return pixels * 2 - 1


class TestAgainstPyTorch:
    def test_latents_agree(self, reference, pair):
        np.testing.assert_allclose(pair[0](reference["images"]), reference["latents"], rtol=1e-4, atol=1e-5)

    def test_pixels_agree(self, reference, pair):
        pixels = in_their_range(pair[1](reference["codes"]))
        np.testing.assert_allclose(pixels, reference["pixels"], rtol=1e-4, atol=1e-5)

    def test_the_encoders_gradients_agree(self, reference, pair):
        images, encoder = tf.constant(reference["images"]), pair[0]
        with tf.GradientTape() as tape:
            tape.watch(images)
            scalar = tf.reduce_sum(encoder(images) * reference["latents_probe"])
        of_images, of_first = tape.gradient(scalar, [images, encoder.conv_in.kernel.value])
        np.testing.assert_allclose(of_images, reference["images_gradient"], rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(of_first, reference["first_gradient"].transpose(2, 3, 1, 0), rtol=1e-4, atol=1e-3)

    def test_the_decoders_gradients_agree(self, reference, pair):
        codes, decoder = tf.constant(reference["codes"]), pair[1]
        with tf.GradientTape() as tape:
            tape.watch(codes)
            scalar = tf.reduce_sum(in_their_range(decoder(codes)) * reference["pixels_probe"])
        of_codes, of_last = tape.gradient(scalar, [codes, decoder.last_kernel.value])
        np.testing.assert_allclose(of_codes, reference["codes_gradient"], rtol=1e-4, atol=1e-4)
        # Our last kernel is half of theirs.
        np.testing.assert_allclose(of_last / 2, reference["last_gradient"].transpose(2, 3, 1, 0), rtol=1e-4, atol=1e-3)

    def test_group_norm_agrees_with_32_groups(self, reference):
        block = ResidualBlock(64)
        block.build((None, 2, 3, 64))
        np.testing.assert_allclose(block.norm_in(reference["wide"]), reference["wide_normalized"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("channels", "groups"), [(512, 32), (64, 32), (48, 16), (6, 2), (5, 1)])
def test_groups_are_32_or_the_most_that_divide_the_channels(channels, groups):
    block = ResidualBlock(channels)
    block.build((None, 2, 2, channels))
    assert block.norm_in.groups == block.norm_out.groups == groups


def test_the_default_sizes_have_vqgans_layers():
    """f16 of taming-transformers: five levels, attention at the lowest one and in the middle."""
    sizes = {"height": 32, "width": 32, "channels": 4, "channel_multipliers": (1, 1, 2, 2, 4), "blocks_per_level": 2}
    encoder = CNNEncoder(**sizes, latent_channels=8, output_dim=8)
    decoder = CNNDecoder(**sizes, latent_channels=8, input_dim=8, output_channels=3)

    def kinds(part):
        letters = {ResidualBlock: "r", AttentionBlock: "a", Upsampling: "+"}
        return "".join(letters.get(type(layer), "-") for layer in part.chain)

    assert kinds(encoder) == "rr-rr-rr-rr-rara" + "rar"
    assert kinds(decoder) == "rar" + "rarara+rrr+rrr+rrr+rrr"
    filters = [layer.filters // 4 for layer in encoder.chain if isinstance(layer, ResidualBlock)]
    assert filters == [1, 1, 1, 1, 2, 2, 2, 2, 4, 4, 4, 4]


def test_the_first_kernels_are_small_uniform_numbers():
    """Variance 1 / (3 inputs): with 9 * 64 inputs, values reach up to 1 / 24."""
    block = ResidualBlock(64)
    block.build((None, 2, 2, 64))
    kernel = np.abs(block.conv_in.kernel.numpy())
    assert 0.99 / 24 < kernel.max() <= 1.001 / 24 and np.mean(kernel) == pytest.approx(1 / 48, rel=0.02)


def test_upsampling_repeats_each_pixel():
    layer = Upsampling()
    layer.build((None, 2, 2, 1))
    layer.conv.kernel.assign(np.eye(9)[4].reshape(3, 3, 1, 1))
    outputs = layer(np.array([[1.0, 2.0], [3.0, 4.0]]).reshape(1, 2, 2, 1))
    expected = [[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4], [3, 3, 4, 4]]
    np.testing.assert_array_equal(outputs[0, ..., 0], expected)


def test_halving_looks_below_and_to_the_right():
    """The kernel's last corner reads zeros outside the image only at the last output."""
    encoder = build_pair()[0]
    halving = next(layer for layer in encoder.chain if layer.name == "level_0_halving")
    kernel = np.zeros(halving.kernel.shape)
    kernel[2, 2, 0, 0] = 1
    halving.kernel.assign(kernel)
    inputs = np.zeros((1, 4, 4, 6), "float32")
    inputs[0, ..., 0] = np.arange(16).reshape(4, 4)
    np.testing.assert_array_equal(halving(inputs)[0, ..., 0], [[10, 0], [0, 0]])


def test_the_config_makes_the_same_network():
    for part in build_pair(rematerialize=True):
        config = part.get_config()
        assert config["rematerialize"] is True
        twin = type(part).from_config(config)
        twin.build()
        assert twin.get_config() == config
        assert [weight.path for weight in twin.weights] == [weight.path for weight in part.weights]


@pytest.mark.slow
@pytest.mark.parametrize("jit_compile", [False, True])
def test_rematerialization_changes_no_gradient(pair, jit_compile):
    middle = pair[0].chain[-3:]
    inputs = tf.random.stateless_normal([2, 3, 4, 12], [1, 2])
    weights = [weight for layer in middle for weight in layer.trainable_weights]

    @tf.function(jit_compile=jit_compile)
    def gradients(inputs, rematerialize):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            scalar = tf.reduce_sum(in_sequence(middle, inputs, rematerialize) ** 2)
        return tape.gradient(scalar, [inputs, *(weight.value for weight in weights)])

    plain, lean = (gradients(inputs, rematerialize) for rematerialize in (False, True))
    for path, expected, found in zip(["inputs", *(weight.path for weight in weights)], plain, lean, strict=True):
        scale = np.abs(expected).max()
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6 * max(scale, 1), err_msg=path)


def noted_call(calls, layer, call, inputs):
    calls.append(layer)
    return call(inputs)


@pytest.mark.parametrize("rematerialize", [False, True])
def test_rematerialization_covers_every_block_of_both_networks(monkeypatch, pair, rematerialize):
    for part, inputs in zip(pair, (tf.zeros([1, HEIGHT, WIDTH, 3]), tf.zeros([1, NUM_TOKENS, 4])), strict=True):
        monkeypatch.setattr(part, "rematerialize", rematerialize)
        calls = []
        for layer in part.chain:
            monkeypatch.setattr(layer, "call", functools.partial(noted_call, calls, layer, layer.call))
        with tf.GradientTape() as tape:
            scalar = tf.reduce_sum(part(inputs))
        tape.gradient(scalar, [weight.value for weight in part.trainable_weights])
        assert calls == part.chain + (part.chain[::-1] if rematerialize else [])


@pytest.mark.parametrize(("policy", "tolerance"), [("mixed_bfloat16", 0.05), ("mixed_float16", 0.01)])
def test_mixed_precision_gives_float32_near_that_of_float32(weights, reference, pair, policy, tolerance):
    mixed = build_pair(dtype=policy)
    for part, full, inputs in zip(mixed, pair, (reference["images"], reference["codes"]), strict=True):
        assign(part, weights)
        outputs = part(inputs)
        assert outputs.dtype == tf.float32
        assert part.chain[0].compute_dtype == policy.removeprefix("mixed_")
        deviation = np.sqrt(np.mean((outputs.numpy() - full(inputs).numpy()) ** 2))
        assert deviation < tolerance * np.std(full(inputs))
