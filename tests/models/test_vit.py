"""The Vision Transformers: PyTorch's values, their options, and which pixel belongs to which token."""

import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf

from vim_tf.errors import InputError
from vim_tf.interop import conversion, enhancing_transformers
from vim_tf.models.vit import ViTDecoder, ViTEncoder, sincos_positions

REFERENCE = pathlib.Path(__file__).parents[1] / "references" / "vit.npz"

GRID_HEIGHT, GRID_WIDTH, PATCH = 2, 3, 2
HEIGHT, WIDTH = GRID_HEIGHT * PATCH, GRID_WIDTH * PATCH
NUM_TOKENS = GRID_HEIGHT * GRID_WIDTH
# Without blocks, no attention mixes the positions: only the layout determines what a pixel reaches.
SIZES = {
    "grid_height": GRID_HEIGHT,
    "grid_width": GRID_WIDTH,
    "patch_size": PATCH,
    "num_layers": 0,
    "num_heads": 2,
    "hidden_dim": 8,
    "mlp_dim": 8,
}
PIXELS = [(0, 0), (0, 5), (1, 2), (2, 1), (3, 3), (3, 5)]


def token_of(y, x):
    return y // PATCH * GRID_WIDTH + x // PATCH


@pytest.fixture(scope="module")
def encoder():
    encoder = ViTEncoder(**SIZES, output_dim=4)
    encoder.build()
    return encoder


@pytest.fixture(scope="module")
def decoder():
    decoder = ViTDecoder(**SIZES, input_dim=4, output_channels=2)
    decoder.build()
    return decoder


@pytest.mark.parametrize(("y", "x"), PIXELS)
def test_a_pixel_changes_only_the_latent_of_its_patch(encoder, y, x):
    images = np.random.default_rng(0).uniform(size=(1, HEIGHT, WIDTH, 3)).astype("float32")
    changed = images.copy()
    changed[0, y, x] += 0.5
    moved = np.any(encoder(images).numpy() != encoder(changed).numpy(), axis=-1)[0]
    assert np.flatnonzero(moved).tolist() == [token_of(y, x)]


@pytest.mark.parametrize("token", range(NUM_TOKENS))
def test_a_latent_changes_only_the_pixels_of_its_patch(decoder, token):
    quantized = np.random.default_rng(0).normal(size=(1, NUM_TOKENS, 4)).astype("float32")
    changed = quantized.copy()
    changed[0, token] += 0.5
    moved = np.any(decoder(quantized).numpy() != decoder(changed).numpy(), axis=-1)[0]
    expected = [[token_of(y, x) == token for x in range(WIDTH)] for y in range(HEIGHT)]
    np.testing.assert_array_equal(moved, expected)


def test_inside_a_patch_pixels_are_in_raster_order_with_channels_last(decoder):
    decoder.head_output.bias.assign(np.arange(PATCH * PATCH * 2))
    kernel = decoder.head_output.kernel.numpy()
    decoder.head_output.kernel.assign(0 * kernel)
    pixels = decoder(tf.zeros([1, NUM_TOKENS, 4])).numpy()[0]
    decoder.head_output.kernel.assign(kernel)
    expected = [[[(y % 2 * 2 + x % 2) * 2 + c for c in range(2)] for x in range(WIDTH)] for y in range(HEIGHT)]
    np.testing.assert_array_equal(pixels, expected)


def test_encoder_and_decoder_agree_on_the_order_inside_a_patch(encoder):
    """Only the weights of pixel (1, 0), green, are left: only those pixels have a gradient."""
    kernel = encoder.embedding.kernel.numpy()
    encoder.embedding.kernel.assign(kernel * (np.arange(12) == (1 * PATCH + 0) * 3 + 1)[:, None])
    images = tf.fill([1, HEIGHT, WIDTH, 3], 0.3)
    with tf.GradientTape() as tape:
        tape.watch(images)
        total = tf.reduce_sum(encoder(images) * np.arange(1, 5, dtype="float32"))
    gradient = tape.gradient(total, images).numpy()[0]
    encoder.embedding.kernel.assign(kernel)
    used = np.zeros([HEIGHT, WIDTH, 3], bool)
    used[1::2, 0::2, 1] = True
    np.testing.assert_array_equal(gradient != 0, used)


def test_mid_grey_is_the_encoders_zero(encoder):
    """An image of 0.5 everywhere reaches none of the embedding's weights."""
    grey = tf.fill([1, HEIGHT, WIDTH, 3], 0.5)
    before = encoder(grey).numpy()
    kernel = encoder.embedding.kernel.numpy()
    encoder.embedding.kernel.assign(kernel * 10)
    np.testing.assert_array_equal(encoder(grey), before)
    encoder.embedding.kernel.assign(kernel)


@pytest.mark.parametrize("positions", ["sincos", "learned"])
def test_positions_distinguish_equal_patches(positions):
    encoder = ViTEncoder(**SIZES, output_dim=4, positions=positions)
    encoder.build()
    latents = encoder(tf.fill([1, HEIGHT, WIDTH, 3], 0.2)).numpy()[0]
    assert len(np.unique(latents.round(6), axis=0)) == NUM_TOKENS


# ------------------------------------------------------------------------------------------------ against PyTorch


@pytest.fixture(scope="module")
def reference():
    with np.load(REFERENCE) as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def pair(reference):
    """Encoder and decoder in the form of enhancing-transformers, with the weights of the reference."""
    weights = {name.removeprefix("weight:"): value for name, value in reference.items() if name.startswith("weight:")}
    imported = enhancing_transformers.import_tokenizer(weights)
    form = {
        "grid_height": 2,
        "grid_width": 3,
        "patch_size": 4,
        "positions": "sincos",
        "mlp_activation": "tanh",
        "head": "linear",
        "qkv_bias": False,
        "head_dim": 64,
        "layer_norm_epsilon": 1e-5,
    }
    encoder = ViTEncoder(**form, num_layers=2, num_heads=1, hidden_dim=8, mlp_dim=12, output_dim=4, name="encoder")
    decoder = ViTDecoder(
        **form, num_layers=1, num_heads=2, hidden_dim=12, mlp_dim=20, input_dim=4, output_channels=3, name="decoder"
    )
    for part in (encoder, decoder):
        part.build()
        inner = {
            path.partition("/")[2]: value for path, value in imported.weights.items() if path.startswith(part.name)
        }
        conversion.assign(part, inner)
    return encoder, decoder


class TestAgainstPyTorch:
    def test_latents_agree(self, reference, pair):
        np.testing.assert_allclose(pair[0](reference["images"]), reference["latents"], rtol=1e-4, atol=1e-5)

    def test_pixels_agree(self, reference, pair):
        np.testing.assert_allclose(pair[1](reference["codes"]), reference["pixels"], rtol=1e-4, atol=1e-5)

    def test_the_encoders_gradients_agree(self, reference, pair):
        images, kernel = tf.constant(reference["images"]), pair[0].blocks[0].attention.query_key_value.kernel.value
        with tf.GradientTape() as tape:
            tape.watch(images)
            scalar = tf.reduce_sum(pair[0](images) * reference["latents_probe"])
        of_images, of_kernel = tape.gradient(scalar, [images, kernel])
        np.testing.assert_allclose(of_images, reference["images_gradient"], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(of_kernel, reference["qkv_gradient"].T, rtol=1e-4, atol=1e-5)

    def test_the_decoders_gradients_agree(self, reference, pair):
        codes, decoder = tf.constant(reference["codes"]), pair[1]
        with tf.GradientTape() as tape:
            tape.watch(codes)
            scalar = tf.reduce_sum(decoder(codes) * reference["pixels_probe"])
        of_codes, of_last = tape.gradient(scalar, [codes, decoder.last_kernel.value])
        np.testing.assert_allclose(of_codes, reference["codes_gradient"], rtol=1e-4, atol=1e-5)
        expected = reference["last_gradient"].transpose(0, 2, 3, 1).reshape(of_last.shape)
        np.testing.assert_allclose(of_last, expected, rtol=1e-4, atol=1e-4)

    def test_fixed_positions_agree(self, reference):
        np.testing.assert_allclose(
            sincos_positions(2, 3, 12), reference["weight:decoder.de_pos_embedding"][0], rtol=0, atol=1e-6
        )


# --------------------------------------------------------------------------------------------------------- options


def test_fixed_positions_hold_the_column_first_by_hand():
    """Position (row 1, column 2) of a 2 x 3 grid with 8 channels: frequencies 1 and 1/100."""
    waves = [wave(index * frequency) for index in (2, 1) for wave in (np.sin, np.cos) for frequency in (1, 0.01)]
    np.testing.assert_allclose(sincos_positions(2, 3, 8)[5], waves, rtol=1e-6)


def test_fixed_positions_need_channels_for_both_directions():
    with pytest.raises(InputError, match="multiple of 4, not 6"):
        sincos_positions(2, 3, 6)


def built(num_layers=2, **options):
    # The same weights each time: half precision is compared by tolerances.
    keras.utils.set_random_seed(0)
    encoder = ViTEncoder(**{**SIZES, "num_layers": num_layers}, output_dim=4, name="encoder", **options)
    encoder.build()
    return encoder


def paths(layer):
    return {weight.path for weight in layer.weights}


def test_fixed_positions_are_not_a_weight_and_learned_ones_are_trained():
    assert paths(built(positions="learned")) - paths(built(positions="sincos")) == {"encoder/positions"}
    assert "encoder/positions" in {weight.path for weight in built(positions="learned").trainable_weights}


def test_a_linear_head_is_one_layer():
    left_out = paths(built(head="tanh")) - paths(built(head="linear"))
    assert left_out == {"encoder/head_hidden/kernel", "encoder/head_hidden/bias"}


def test_the_form_reaches_every_block():
    encoder = built(mlp_activation="relu", qkv_bias=False, head_dim=3, layer_norm_epsilon=0.5)
    for block in encoder.blocks:
        assert (block.mlp_activation, block.qkv_bias, block.head_dim) == ("relu", False, 3)
        assert block.attention_norm.epsilon == block.mlp_norm.epsilon == encoder.final_norm.epsilon == 0.5


def test_the_last_kernel_makes_the_pixels():
    decoder = ViTDecoder(**SIZES, input_dim=4, output_channels=2)
    decoder.build()
    quantized = np.random.default_rng(0).normal(size=(1, NUM_TOKENS, 4)).astype("float32")
    before = decoder(quantized).numpy()
    decoder.last_kernel.assign(2 * decoder.last_kernel)
    np.testing.assert_allclose(decoder(quantized), 2 * before, rtol=1e-5, atol=1e-6)


def test_the_config_makes_the_same_network():
    options = {
        "positions": "learned",
        "mlp_activation": "tanh",
        "head": "linear",
        "qkv_bias": False,
        "head_dim": 6,
        "layer_norm_epsilon": 1e-3,
        "rematerialize": True,
    }
    for part in (
        ViTEncoder(**SIZES, **options, output_dim=4),
        ViTDecoder(**SIZES, **options, input_dim=4, output_channels=2),
    ):
        config = part.get_config()
        assert options.items() <= config.items()
        assert type(part).from_config(config).get_config() == config


# ------------------------------------------------------------------------------------- memory and mixed precision


def gradients(encoder, images, **settings):
    """Gradients of a scalar with respect to the images and every weight, from one tf.function."""
    weights = [weight.value for weight in encoder.trainable_weights]

    @tf.function(**settings)
    def run(images):
        with tf.GradientTape() as tape:
            tape.watch(images)
            scalar = tf.reduce_sum(encoder(images) ** 2)
        return tape.gradient(scalar, [images, *weights])

    return [np.asarray(gradient) for gradient in run(images)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("policy", "jit_compile"),
    [("float32", False), ("float32", True), ("mixed_float16", False), ("mixed_bfloat16", True)],
)
def test_rematerialization_changes_no_gradient(policy, jit_compile):
    images = tf.random.stateless_uniform([2, HEIGHT, WIDTH, 3], [1, 2])
    plain, lean = (built(num_layers=1, dtype=policy, rematerialize=lean) for lean in (False, True))
    for weight, other in zip(plain.weights, lean.weights, strict=True):
        other.assign(weight)
    expected, found = (gradients(encoder, images, jit_compile=jit_compile) for encoder in (plain, lean))
    for weight, one, other in zip(["images", *paths(plain)], expected, found, strict=True):
        # The compiler may fuse, and so round, in another order; bfloat16 rounds to 0.4 %.
        scale = np.abs(one).max()
        tolerance = {"float32": 1e-6, "mixed_float16": 1e-2, "mixed_bfloat16": 5e-2}[policy]
        np.testing.assert_allclose(other, one, rtol=0, atol=tolerance * scale, err_msg=weight)
        assert scale > 0


def test_rematerialization_calls_each_block_again_in_the_backward_pass(monkeypatch):
    encoder = built(rematerialize=True)
    calls = []
    for index, block in enumerate(encoder.blocks):
        call = block.call
        monkeypatch.setattr(block, "call", lambda inputs, i=index, call=call: calls.append(i) or call(inputs))
    with tf.GradientTape() as tape:
        scalar = tf.reduce_sum(encoder(tf.zeros([1, HEIGHT, WIDTH, 3])))
    assert calls == [0, 1]
    tape.gradient(scalar, [weight.value for weight in encoder.trainable_weights])
    assert calls == [0, 1, 1, 0]


class TestMixedPrecision:
    @pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
    def test_latents_are_float32_and_near_those_of_float32(self, policy):
        images = tf.random.stateless_uniform([2, HEIGHT, WIDTH, 3], [1, 2])
        full, mixed = built(), built(dtype=policy)
        for weight, other in zip(full.weights, mixed.weights, strict=True):
            other.assign(weight)
        latents = mixed(images)
        assert latents.dtype == tf.float32
        assert mixed.blocks[0](tf.zeros([1, NUM_TOKENS, 8])).dtype == policy.removeprefix("mixed_")
        np.testing.assert_allclose(latents, full(images), rtol=0, atol=0.05)

    def test_the_norms_statistics_are_float32(self):
        """Around 100, bfloat16 has steps of 0.5: a mean or variance in that type would be far off."""
        norm = built(dtype="mixed_bfloat16").blocks[0].attention_norm
        inputs = tf.cast(100 + tf.range(8, dtype="float32")[None, None] / 2, "bfloat16")
        values = inputs.numpy().astype("float64")
        expected = (values - values.mean()) / values.std()
        np.testing.assert_allclose(norm(inputs).numpy().astype("float64"), expected, rtol=2**-8, atol=2**-8)

    def test_the_softmax_is_float32(self, monkeypatch):
        seen = []
        softmax = keras.ops.softmax
        monkeypatch.setattr(keras.ops, "softmax", lambda x, axis: seen.append(x.dtype) or softmax(x, axis))
        built(dtype="mixed_float16")(tf.zeros([1, HEIGHT, WIDTH, 3]))
        assert seen == [tf.float32, tf.float32]
