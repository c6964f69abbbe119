"""A tiny checkpoint with enhancing-transformers' names becomes a tokenizer with PyTorch's tokens and pixels."""

import pathlib

import numpy as np
import pytest
import tensorflow as tf

from vim_tf.errors import InputError
from vim_tf.interop import conversion, enhancing_transformers
from vim_tf.models.tokenizer import build_tokenizer

REFERENCE = pathlib.Path(__file__).parents[1] / "references" / "vit.npz"
LOSSES = {
    "loss.discriminator.blocks.0.0.weight": np.zeros((8, 3, 1, 1), "float32"),
    "loss.perceptual_loss.lin0.model.1.weight": np.zeros((1, 64, 1, 1), "float32"),
}


@pytest.fixture(scope="module")
def reference():
    with np.load(REFERENCE) as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def tensors(reference):
    return {name.removeprefix("weight:"): value for name, value in reference.items() if name.startswith("weight:")}


@pytest.fixture(scope="module")
def imported(tensors):
    return enhancing_transformers.import_tokenizer(tensors | LOSSES)


@pytest.fixture(scope="module")
def tokenizer(imported):
    tokenizer = build_tokenizer(imported.model)
    conversion.assign(tokenizer, imported.weights)
    return tokenizer


def without(tensors, *names):
    return {name: value for name, value in tensors.items() if name not in names}


class TestSettings:
    def test_sizes_are_read_from_shapes(self, imported):
        model = imported.model
        assert (model.height, model.width, model.patch_size) == (8, 12, 4)
        assert (model.quantizer.codebook_size, model.quantizer.codebook_dim) == (24, 4)
        sizes = [
            (side.num_layers, side.num_heads, side.hidden_dim, side.mlp_dim) for side in (model.encoder, model.decoder)
        ]
        assert sizes == [(2, 1, 8, 12), (1, 2, 12, 20)]

    def test_the_grid_is_the_one_whose_positions_were_saved(self, tensors):
        turned = dict(tensors)
        for name in ("encoder.en_pos_embedding", "decoder.de_pos_embedding"):
            grid = tensors[name].reshape(2, 3, -1)
            columns, rows = np.split(grid.transpose(1, 0, 2), 2, axis=-1)
            turned[name] = np.concatenate([rows, columns], -1).reshape(1, 6, -1)
        model = enhancing_transformers.import_tokenizer(turned).model
        assert (model.height, model.width) == (12, 8)

    def test_the_weights_of_the_losses_are_left_out(self, imported):
        assert imported.left_out == sorted(LOSSES)


class TestAgainstPyTorch:
    def test_tokens_are_equal(self, reference, tokenizer):
        assert len(np.unique(reference["tokens"])) > 4
        np.testing.assert_array_equal(tokenizer.encode(reference["images"]), reference["tokens"])

    def test_reconstructions_agree(self, reference, tokenizer):
        outputs = tokenizer(reference["images"])
        np.testing.assert_allclose(outputs.images, reference["pixels"], rtol=1e-4, atol=1e-4)

    def test_decoded_tokens_are_pytorchs_pixels_within_the_range_of_images(self, reference, tokenizer):
        images = tokenizer.decode(reference["tokens"])
        np.testing.assert_allclose(images, reference["pixels"].clip(0, 1), rtol=1e-4, atol=1e-4)

    def test_latents_agree(self, reference, tokenizer):
        np.testing.assert_allclose(tokenizer.encoder(reference["images"]), reference["latents"], rtol=1e-4, atol=1e-5)


class TestRefusals:
    def test_a_decoder_without_positions_is_named_as_the_versions_that_wrote_it(self, tensors):
        with pytest.raises(InputError, match="no decoder.de_pos_embedding.*1e5e8cc"):
            enhancing_transformers.import_tokenizer(without(tensors, "decoder.de_pos_embedding"))

    def test_missing_and_left_over_tensors_are_listed(self, tensors):
        strange = without(tensors, "pre_quant.bias") | {"encoder.cls_token": np.zeros((1, 1, 8), "float32")}
        with pytest.raises(InputError, match=r"1 missing tensors \(pre_quant.bias\) and 1 unknown .*encoder.cls_token"):
            enhancing_transformers.import_tokenizer(strange)

    def test_of_many_tensors_ten_are_listed_and_the_others_counted(self, tensors):
        strange = tensors | {f"extra.{index:02}": np.zeros(1, "float32") for index in range(14)}
        with pytest.raises(InputError, match=r"14 unknown tensors \(extra.00, .*extra.09 and 4 more\)") as refusal:
            enhancing_transformers.import_tokenizer(strange)
        assert "extra.10" not in str(refusal.value)

    @pytest.mark.parametrize("name", ["encoder.en_pos_embedding", "decoder.de_pos_embedding"])
    def test_positions_that_are_not_the_fixed_ones_are_refused(self, tensors, name):
        moved = tensors[name].copy()
        moved[0, 3, 2] += 1e-4
        with pytest.raises(InputError, match=f"{name}.*not the fixed sine and cosine"):
            enhancing_transformers.import_tokenizer(tensors | {name: moved})

    def test_another_projects_checkpoint_is_refused(self):
        with pytest.raises(InputError, match="isn't a checkpoint of enhancing-transformers.*encoder.en_pos_embedding"):
            enhancing_transformers.import_tokenizer({"encoder.conv_in.weight": np.zeros((8, 3, 3, 3), "float32")})

    def test_heads_that_are_not_64_wide_are_refused(self, tensors):
        name = "encoder.transformer.layers.0.0.fn.to_qkv.weight"
        with pytest.raises(InputError, match="channels, not a multiple of 64"):
            enhancing_transformers.import_tokenizer(tensors | {name: tensors[name][:96]})

    def test_patches_that_are_not_square_are_refused(self, tensors):
        name = "encoder.to_patch_embedding.0.weight"
        with pytest.raises(InputError, match="squares"):
            enhancing_transformers.import_tokenizer(tensors | {name: tensors[name][..., :2]})

    def test_a_tensor_with_too_many_axes_is_refused(self, tensors):
        strange = tensors | {"pre_quant.weight": tensors["pre_quant.weight"][None]}
        with pytest.raises(InputError, match=r"shapes don't fit encoder/head_output/kernel.*\(1, 4, 8\)"):
            enhancing_transformers.import_tokenizer(strange)

    def test_weights_of_another_size_are_listed_before_anything_is_assigned(self, imported, tokenizer):
        before = tokenizer.encoder.embedding.bias.numpy()
        wrong = imported.weights | {"encoder/embedding/bias": np.zeros(9), "encoder/head_output/bias": np.zeros(5)}
        with pytest.raises(InputError, match=r"embedding/bias is \(9,\) and not \(8,\); encoder/head_output/bias"):
            conversion.assign(tokenizer, wrong)
        np.testing.assert_array_equal(tokenizer.encoder.embedding.bias, before)

    def test_a_trained_weight_without_values_is_an_error(self, imported, tokenizer):
        with pytest.raises(InputError, match="quantizer/codebook is missing"):
            conversion.assign(tokenizer, without(imported.weights, "quantizer/codebook"))


def test_the_embedding_gives_images_in_0_to_1_the_same_patches(reference, tokenizer):
    """The whole projection of one patch by hand: W x + b of the checkpoint on the unchanged image."""
    image = reference["images"][0, 4:8, 8:12]
    weight, bias = (reference[f"weight:encoder.to_patch_embedding.0.{name}"] for name in ("weight", "bias"))
    expected = np.einsum("dcyx,yxc->d", weight, image) + bias
    patches = tf.reshape(image * 2 - 1, [1, 1, 48])
    np.testing.assert_allclose(tokenizer.encoder.embedding(patches)[0, 0], expected, rtol=1e-5, atol=1e-5)
