"""`vim_tf.encode_dataset`: the views of an image on disk."""

import numpy as np
import pytest
from PIL import Image

from tests.testing import save_untrained_tokenizer
from vim_tf import config as configs
from vim_tf import encode_dataset
from vim_tf.data.images.fit import fit_image
from vim_tf.data.images.pixels import to_float
from vim_tf.data.records import tokens as token_records
from vim_tf.errors import InputError
from vim_tf.stages import saved

SIZES = [(9, 9), (9, 12), (12, 9), (9, 15), (9, 9)]  # 9/8 of the tokenizer's 8 pixels: ten_crop resizes nothing


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    """Folder of an untrained tokenizer."""
    return save_untrained_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Folder of images, about a third of which are for validation."""
    folder = tmp_path_factory.mktemp("images")
    random = np.random.default_rng(0)
    for index, size in enumerate(SIZES):
        Image.fromarray(random.integers(0, 256, (*size, 3), dtype=np.uint8)).save(folder / f"{index}.png")
    return folder


def encode(tokenizer, images, output, **settings):
    data = configs.DataConfig(source=f"folder:{images}", validation_fraction=0.3)
    config = configs.EncodeCommand(tokenizer=tokenizer, data=data, output=str(output), batch_size=12, **settings)
    return encode_dataset.run(config), [token_records.load_tokens(str(output), split) for split in configs.SPLITS]


def crops(pixels):
    bottom, right = pixels.shape[0] - 8, pixels.shape[1] - 8
    corners = [(bottom // 2, right // 2), (0, 0), (0, right), (bottom, 0), (bottom, right)]
    return np.stack([pixels[top : top + 8, left : left + 8] for top, left in corners])


def centre(pixels):
    return fit_image(pixels, 8, 8).numpy()[None]


@pytest.mark.slow
def test_unusable_input_leaves_earlier_tokens_as_they_are(tokenizer, images, tmp_path):
    encode(tokenizer, images, tmp_path / "tokens")
    before = {path: path.read_bytes() for path in (tmp_path / "tokens").rglob("*") if path.is_file()}
    with pytest.raises(InputError, match="there is no folder"):
        encode(tokenizer, f"{images}-mistyped", tmp_path / "tokens")
    with pytest.raises(InputError, match="validation split is empty"):
        data = configs.DataConfig(source=f"folder:{images}", validation_fraction=0.0)
        encode_dataset.run(configs.EncodeCommand(tokenizer=tokenizer, data=data, output=str(tmp_path / "tokens")))
    assert {path: path.read_bytes() for path in (tmp_path / "tokens").rglob("*") if path.is_file()} == before


def test_an_output_that_can_not_be_written_is_named(tokenizer, images, tmp_path):
    (tmp_path / "file").write_bytes(b"mine")
    with pytest.raises(InputError, match="--output=.*/file/tokens can't be written"):
        encode(tokenizer, images, tmp_path / "file" / "tokens")


@pytest.mark.slow
@pytest.mark.parametrize(("views", "first_half"), [("flips", centre), ("ten_crop", crops)])
def test_tokens_are_those_of_each_view(views, first_half, tokenizer, images, tmp_path):
    manifest, splits = encode(tokenizer, images, tmp_path, views=views, num_shards=2)
    loaded = saved.load_tokenizer(tokenizer)
    seen = 0
    for data in splits:
        for tokens, key in zip(data.tokens, data.keys, strict=True):
            half = first_half(np.asarray(Image.open(images / key.decode())))
            expected = np.concatenate([half, half[:, :, ::-1]])
            np.testing.assert_array_equal(tokens, loaded.encode(to_float(expected)))
            assert manifest.views == len(expected)
            seen += 1
    assert seen == len(SIZES)


def test_by_default_there_is_one_view(tokenizer, images, tmp_path):
    manifest, (train, _) = encode(tokenizer, images, tmp_path)
    assert manifest.views == train.tokens.shape[1] == 1


@pytest.mark.slow
def test_the_scale_reaches_the_crops(tokenizer, images, tmp_path):
    _, (train, _) = encode(tokenizer, images, tmp_path, views="ten_crop", view_scale=1.0)
    loaded = saved.load_tokenizer(tokenizer)
    square = next(i for i, key in enumerate(train.keys) if SIZES[int(key[:1])] == (9, 9))
    pixels = np.asarray(Image.open(images / train.keys[square].decode()))
    expected = loaded.encode(to_float(np.concatenate([centre(pixels)] * 5)))
    np.testing.assert_array_equal(train.tokens[square, :5], expected)
