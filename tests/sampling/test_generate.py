"""The token loop."""

import re

import numpy as np
import pytest
import tensorflow as tf
from scipy.special import softmax
from scipy.stats import chisquare

from vim_tf.errors import InputError
from vim_tf.models.language_model import LanguageModel
from vim_tf.sampling.generate import Sampler, cache_lengths, generate_tokens
from vim_tf.sampling.requests import Request, checked_request, request_specs

BATCH_SIZE, CODEBOOK_SIZE, NUM_CLASSES, NUM_TOKENS = 4, 7, 3, 6
SETTINGS = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "guidance_scale": 1.0}


def model_with(**settings):
    """A model whose weights are large enough for label and tokens to matter."""
    sizes = {"num_layers": 2, "num_heads": 2, "hidden_dim": 8, "mlp_dim": 16}
    model = LanguageModel(
        2, 3, 1, CODEBOOK_SIZE, **{"num_classes": NUM_CLASSES, "label_dropout": 0.1, **sizes, **settings}
    )
    model.build()
    random = np.random.default_rng(8)
    for weight in model.weights:
        mean, deviation = {"gamma": (1, 0.1), "beta": (0, 0.1), "bias": (0, 0.1)}.get(weight.name, (0, 0.5))
        weight.assign(random.normal(mean, deviation, weight.shape))
    for weight in (model.token_embedding.embeddings, model.label_embedding.embeddings, model.positions):
        weight.assign(weight * 4)
    return model


@pytest.fixture(scope="module")
def model():
    return model_with()


@pytest.fixture(scope="module")
def sampler(model):
    return Sampler(model, BATCH_SIZE)


@pytest.fixture(scope="module")
def large_sampler(model):
    return Sampler(model, 400)


@pytest.fixture(scope="module")
def request_tokens(model):
    """Tokens of a request in which every sample has different settings."""
    generate = tf.function(
        lambda request: generate_tokens(model, BATCH_SIZE, request),
        input_signature=[request_specs(NUM_TOKENS)],
        autograph=False,
    )

    def tokens(labels, seeds, prefix=None, prefix_length=None, **settings):
        n = len(labels)
        prefix = np.zeros([n, NUM_TOKENS], "int32") if prefix is None else prefix
        known = np.arange(NUM_TOKENS) < np.reshape(prefix_length or [0] * n, [n, 1])
        request = Request(labels, seeds, known_tokens=prefix, known=known, **settings)
        return generate(checked_request(model, request)).numpy()

    return tokens


class TestReproducibility:
    @pytest.mark.parametrize("settings", [{}, {"top_k": 3, "temperature": 0.7}, {"guidance_scale": 2.5}])
    def test_a_sample_depends_only_on_label_and_seed(self, sampler, settings):
        """By itself, first, last, in the second batch, in a request of one or three batches: always the same tokens."""
        single = sampler.sample([2], [77], **settings)[0]
        for labels, position in (([2, 0], 0), ([0, 1, 0, 2], 3), ([1, 1, 0, 0, 1, 2], 5), ([0] * 8 + [2, 1], 8)):
            seeds = np.arange(len(labels))
            seeds[position] = 77
            np.testing.assert_array_equal(sampler.sample(labels, seeds, **settings)[position], single)

    def test_another_seed_gives_other_tokens(self, sampler):
        tokens = sampler.sample([1] * 20, np.arange(20))
        assert len(np.unique(tokens, axis=0)) > 15

    def test_a_neighbours_settings_do_not_matter(self, request_tokens):
        labels, seeds = [0, 1, 2, 0], [5, 6, 7, 8]
        plain = request_tokens(labels, seeds)
        mixed = request_tokens(
            labels,
            seeds,
            top_k=[0, 2, 0, 0],
            top_p=[1, 1, 1, 0.5],
            temperature=[1, 3, 1, 1],
            guidance_scale=[1, 1, 4, 1],
        )
        np.testing.assert_array_equal(mixed[0], plain[0])

    def test_guidance_one_equals_no_guidance_next_to_a_guided_neighbour(self, request_tokens):
        labels, seeds = [0, 1, 2, 0] * 4, np.arange(16)
        scales = np.where(np.arange(16) % 2, 3.0, 1.0)
        plain, mixed = request_tokens(labels, seeds), request_tokens(labels, seeds, guidance_scale=scales)
        np.testing.assert_array_equal(mixed[::2], plain[::2])
        assert np.any(mixed[1::2] != plain[1::2])


class TestDistribution:
    def test_greedy_tokens_are_the_argmax_of_the_full_pass(self, model, sampler):
        labels = np.array([0, 1, 2, 1], "int32")
        tokens = sampler.sample(labels, [1, 2, 3, 4], top_k=1)
        assert len(np.unique(tokens)) > 3
        np.testing.assert_array_equal(tokens, np.argmax(model(tokens, labels), axis=-1))

    def test_greedy_guided_tokens_are_the_argmax_of_the_guided_full_passes(self, model, sampler):
        labels = np.array([0, 1, 2, 1], "int32")
        tokens = sampler.sample(labels, [1, 2, 3, 4], top_k=1, guidance_scale=3.0)
        shown, null = (model(tokens, each).numpy() for each in (labels, np.full(4, NUM_CLASSES, "int32")))
        np.testing.assert_array_equal(tokens, np.argmax(null + 3 * (shown - null), axis=-1))
        assert np.any(tokens != np.argmax(shown, axis=-1))

    def test_a_guidance_of_zero_ignores_the_label(self, request_tokens):
        one, other = (request_tokens([label] * 4, [1, 2, 3, 4], guidance_scale=0.0) for label in (0, 2))
        np.testing.assert_array_equal(one, other)

    @pytest.mark.slow
    @pytest.mark.parametrize("jit_compile", [False, True])
    def test_the_smallest_temperature_leaves_the_likeliest_token(self, model, jit_compile):
        sampler = Sampler(model, 2, jit_compile=jit_compile)
        expected = sampler.sample([1, 2], [3, 4], top_k=1)
        assert expected.any()
        np.testing.assert_array_equal(sampler.sample([1, 2], [3, 4], temperature=1e-6), expected)
        np.testing.assert_array_equal(sampler.sample([1, 2], [3, 4], top_p=1e-6), expected)

    @pytest.mark.parametrize("temperature", [0.7, 3.0])
    def test_first_tokens_are_distributed_as_the_model_says(self, model, large_sampler, temperature):
        tokens = large_sampler.sample([1] * 1200, np.arange(1200), temperature=temperature)[:, 0]
        logits = model(np.zeros([1, NUM_TOKENS], "int32"), np.array([1], "int32")).numpy()[0, 0].astype("float64")
        observed = np.bincount(tokens, minlength=CODEBOOK_SIZE)
        assert chisquare(observed, softmax(logits / temperature) * 1200).pvalue > 1e-3

    def test_numbers_of_different_positions_are_independent(self, sampler):
        """Two neighbouring positions of a model without preferences take all pairs equally often."""
        flat = model_with(num_layers=1)
        flat.output_projection.kernel.assign(np.zeros([8, CODEBOOK_SIZE]))
        flat.output_projection.bias.assign(np.zeros(CODEBOOK_SIZE))
        tokens = Sampler(flat, 500).sample([0] * 2000, np.arange(2000))
        pairs = tokens[:, :-1] * CODEBOOK_SIZE + tokens[:, 1:]
        for column in pairs.T:
            assert chisquare(np.bincount(column, minlength=CODEBOOK_SIZE**2)).pvalue > 1e-4


class TestCacheLengths:
    def test_they_are_few_and_end_with_the_sequence(self):
        assert cache_lengths(16) == [16]
        assert cache_lengths(128) == [128]
        assert cache_lengths(150) == [128, 150]
        assert cache_lengths(256) == [128, 256]
        assert cache_lengths(1024) == [205, 410, 615, 820, 1024]

    @pytest.mark.slow
    @pytest.mark.parametrize("jit_compile", [False, True])
    def test_tokens_after_every_length_are_the_argmax_of_the_full_pass(self, jit_compile):
        model = LanguageModel(10, 15, 1, CODEBOOK_SIZE, NUM_CLASSES, 2, 2, 8, 16, label_dropout=0.1)
        model.build()
        random = np.random.default_rng(3)
        for weight in model.weights:
            weight.assign(random.normal(1 if weight.name == "gamma" else 0, 0.5, weight.shape))
        labels = np.array([0, 2], "int32")
        sampler = Sampler(model, 2, jit_compile=jit_compile)
        tokens = sampler.sample(labels, [1, 2], top_k=1, guidance_scale=2.0)
        shown, null = (model(tokens, each).numpy() for each in (labels, np.full(2, NUM_CLASSES, "int32")))
        np.testing.assert_array_equal(tokens, np.argmax(2 * shown - null, axis=-1))
        assert len(np.unique(tokens[:, 128:])) > 1

    def test_xla_compiles_once_for_all_settings(self, model):
        sampler = Sampler(model, 2, jit_compile=True)
        for settings in (SETTINGS, {"temperature": 0.5, "top_k": 3, "top_p": 0.9, "guidance_scale": 2.0}):
            for labels in ([0], [1, 2, 0]):
                sampler.sample(labels, labels, **settings)
        assert sampler._generate.experimental_get_tracing_count() == 1


class TestPackedKernels:
    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("batch_size", "jit_compile", "packs"),
        [(2, True, True), (16, True, True), (17, True, False), (2, False, False)],
    )
    def test_only_xla_draws_few_samples_with_them(self, monkeypatch, batch_size, jit_compile, packs):
        model, packed = model_with(hidden_dim=64, mlp_dim=128, label_dropout=0.0), []
        packed_kernels = LanguageModel.packed_kernels
        # It only counts: an exception from tf.map_fn would break the process's variable scope for later tests.
        monkeypatch.setattr(LanguageModel, "packed_kernels", lambda self: packed.append(1) or packed_kernels(self))
        labels = np.array([0, 2], "int32")
        tokens = Sampler(model, batch_size, jit_compile=jit_compile).sample(labels, [1, 2], top_k=1)
        np.testing.assert_array_equal(tokens, np.argmax(model(tokens, labels), axis=-1))
        assert bool(packed) == packs


class TestGuidanceSchedule:
    def test_a_linear_one_guides_the_last_token_only_of_two(self):
        """Greedy tokens of a model of two tokens: the first one without guidance, the second one with full guidance."""
        model = LanguageModel(1, 2, 1, 50, NUM_CLASSES, 1, 2, 8, 16, label_dropout=0.1)
        model.build()
        random = np.random.default_rng(1)
        for weight in model.weights:
            weight.assign(random.normal(1 if weight.name == "gamma" else 0, 0.7, weight.shape))
        labels = np.array([0, 1, 2], "int32")
        tokens = Sampler(model, 3, "linear").sample(labels, labels, top_k=1, guidance_scale=5.0)
        shown, null = (model(tokens, each).numpy() for each in (labels, np.full(3, NUM_CLASSES, "int32")))
        guided = null + 5 * (shown - null)
        np.testing.assert_array_equal(tokens[:, 0], np.argmax(shown[:, 0], axis=-1))
        np.testing.assert_array_equal(tokens[:, 1], np.argmax(guided[:, 1], axis=-1))
        assert np.any(np.argmax(shown, axis=-1) != np.argmax(guided, axis=-1))


class TestKnown:
    def test_known_tokens_can_be_anywhere(self, model, sampler):
        """A token drawn between them depends only on those before it."""
        random = np.random.default_rng(3)
        given = random.integers(0, CODEBOOK_SIZE, [8, NUM_TOKENS]).astype("int32")
        known = np.tile([False, True, False, False, True, True], [8, 1])
        tokens = sampler.sample([1] * 8, np.arange(8), top_k=1, known_tokens=given, known=known)
        np.testing.assert_array_equal(tokens[known], given[known])
        likeliest = np.argmax(model(tokens, np.ones(8, "int32")), axis=-1)
        np.testing.assert_array_equal(tokens[~known], likeliest[~known])


class TestPrefix:
    def test_it_is_kept_and_continued(self, request_tokens):
        prefix = np.array([[6, 5, 4, 3, 2, 1]] * 4, "int32")
        tokens = request_tokens([0, 1, 2, 0], [1, 2, 3, 4], prefix=prefix, prefix_length=[0, 2, 4, 6])
        for row, length in zip(tokens, [0, 2, 4, 6], strict=True):
            np.testing.assert_array_equal(row[:length], prefix[0, :length])
        np.testing.assert_array_equal(tokens[0], request_tokens([0], [1])[0])

    def test_what_follows_is_conditioned_on_it(self, model, request_tokens):
        prefix = np.random.default_rng(3).integers(0, CODEBOOK_SIZE, [8, NUM_TOKENS]).astype("int32")
        tokens = request_tokens([1] * 8, range(8), prefix=prefix, prefix_length=[3] * 8, top_k=1)
        np.testing.assert_array_equal(tokens[:, :3], prefix[:, :3])
        full = np.argmax(model(tokens, np.ones(8, "int32")), axis=-1)
        np.testing.assert_array_equal(tokens[:, 3:], full[:, 3:])

    def test_tokens_of_the_prefix_beyond_its_length_do_not_matter(self, request_tokens):
        one, other = (np.array([[6, 5, *rest]], "int32") for rest in ([0, 0, 0, 0], [4, 3, 2, 1]))
        results = [request_tokens([0], [1], prefix=prefix, prefix_length=[2]) for prefix in (one, other)]
        np.testing.assert_array_equal(*results)

    def test_a_samples_own_prefix_gives_the_sample_again(self, request_tokens):
        tokens = request_tokens([2], [9])
        np.testing.assert_array_equal(request_tokens([2], [9], prefix=tokens, prefix_length=[4]), tokens)


class TestRequests:
    def test_no_samples_are_an_empty_array(self, sampler):
        assert sampler.sample([], []).shape == (0, NUM_TOKENS)

    @pytest.mark.parametrize("label", [-1, NUM_CLASSES])
    def test_a_label_out_of_range_is_named(self, sampler, label):
        with pytest.raises(InputError, match=rf"label {label} is out of range: it must be in \[0, 2\]"):
            sampler.sample([0, label], [1, 2])

    def test_guidance_of_a_model_without_label_dropout_is_refused(self):
        with pytest.raises(
            InputError, match="guidance_scale 2.0 is out of range: it must be in .1, 1., since .*label_dropout"
        ):
            Sampler(model_with(num_layers=1, label_dropout=0.0), 2).sample([0], [1], guidance_scale=2.0)

    def test_an_unconditional_model_takes_label_zero_only(self):
        sampler = Sampler(model_with(num_layers=1, num_classes=0), 2)
        assert sampler.sample([0, 0], [1, 2]).shape == (2, NUM_TOKENS)
        with pytest.raises(InputError, match="label 1 is out of range"):
            sampler.sample([1], [1])

    @pytest.mark.parametrize(
        ("setting", "value", "shown"),
        [
            ("temperature", 0, r"\[1e-06, 1e\+06\]"),
            ("temperature", -1.0, r"\[1e-06, 1e\+06\]"),
            ("temperature", float("nan"), r"\[1e-06, 1e\+06\]"),
            ("temperature", float("inf"), r"\[1e-06, 1e\+06\]"),
            ("temperature", 1e-50, r"\[1e-06, 1e\+06\]"),
            ("top_p", 0, r"\[1e-06, 1\]"),
            ("top_p", 1.5, r"\[1e-06, 1\]"),
            ("top_k", -3, r"\[0, 2147483647\]"),
            ("top_k", 2**40, r"\[0, 2147483647\]"),
            ("guidance_scale", 1e38, r"\[0, 1e\+06\]"),
            ("guidance_scale", 1e60, r"\[0, 1e\+06\]"),
            ("guidance_scale", -0.5, r"\[0, 1e\+06\]"),
        ],
    )
    def test_a_setting_out_of_range_is_refused_with_the_range(self, sampler, setting, value, shown):
        message = rf"{setting} {re.escape(str(value))} is out of range: it must be in {shown}$"
        with pytest.raises(InputError, match=message):
            sampler.sample([0], [1], **{setting: value})
        with pytest.raises(InputError, match=message):
            sampler.check([0], [1], **{setting: value})

    @pytest.mark.parametrize("seed", [2**31, -(2**31) - 1, 2**63, 2**70])
    def test_a_seed_that_int32_would_wrap_is_refused_with_the_range(self, sampler, seed):
        with pytest.raises(
            InputError, match=rf"seed {seed} is out of range: it must be in \[-2147483648, 2147483647\]"
        ):
            sampler.sample([0, 0], [1, seed])

    def test_seeds_at_both_ends_are_accepted(self, sampler):
        assert sampler.sample([0, 0], [-(2**31), 2**31 - 1]).shape == (2, NUM_TOKENS)

    @pytest.mark.parametrize(("name", "values"), [("labels", [0.5]), ("seeds", [1.5]), ("labels", ["a"])])
    def test_a_value_that_is_not_a_whole_number_is_refused(self, sampler, name, values):
        with pytest.raises(InputError, match=f"{name[:-1]} must be whole numbers"):
            sampler.sample(**({"labels": [0], "seeds": [1]} | {name: values}))

    def test_seeds_and_settings_of_a_number_other_than_that_of_labels_are_refused(self, sampler):
        with pytest.raises(InputError, match=r"seed has shape \[3\], but there are 2 labels"):
            sampler.sample([0, 1], [1, 2, 3])
        with pytest.raises(InputError, match=r"top_k has shape \[3\], but there are 2 labels"):
            sampler.sample([0, 1], [1, 2], top_k=[1, 2, 3])

    def test_a_setting_can_differ_from_sample_to_sample(self, sampler):
        mixed = sampler.sample([1, 1], [5, 5], top_k=[0, 1])
        np.testing.assert_array_equal(mixed[0], sampler.sample([1], [5])[0])
        np.testing.assert_array_equal(mixed[1], sampler.sample([1], [5], top_k=1)[0])

    @pytest.mark.parametrize("token", [-1, CODEBOOK_SIZE, 2**32])
    def test_a_kept_token_that_does_not_exist_is_refused(self, sampler, token):
        """XLA would return it, or one that wrapped around."""
        tokens, known = np.zeros([1, NUM_TOKENS], np.int64), np.zeros([1, NUM_TOKENS], bool)
        tokens[0, 2] = token
        sampler.sample([0], [1], known_tokens=tokens, known=known)  # ignored
        known[0, 2] = True
        with pytest.raises(InputError, match=rf"known_tokens {token} is out of range: it must be in \[0, 6\]"):
            sampler.sample([0], [1], known_tokens=tokens, known=known)

    def test_known_tokens_come_with_which_are_known_for_each_label(self, sampler):
        tokens = np.zeros([1, NUM_TOKENS], np.int32)
        with pytest.raises(InputError, match="known_tokens and known go together"):
            sampler.sample([0], [1], known_tokens=tokens)
        with pytest.raises(InputError, match=r"known_tokens has shape \[1, 6\]; 2 labels need \[2, 6\]"):
            sampler.sample([0, 1], [1, 2], known_tokens=tokens, known=tokens)
