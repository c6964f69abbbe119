"""VIM: what each position sees, the cache, the dropouts, the labels."""

import numpy as np
import pytest
import tensorflow as tf

from vim_tf import config as configs
from vim_tf.models.language_model import LanguageModel, build_language_model

CODEBOOK_SIZE, NUM_CLASSES, NUM_TOKENS = 7, 3, 6
NULL = NUM_CLASSES


def model_with(**settings):
    """A model whose weights are large enough for everything to matter."""
    sizes = {"num_layers": 2, "num_heads": 2, "hidden_dim": 8, "mlp_dim": 16}
    grid = {"grid_height": 2, "grid_width": 3, "depth": 1}
    model = LanguageModel(
        **{
            **grid,
            **sizes,
            "codebook_size": CODEBOOK_SIZE,
            "num_classes": NUM_CLASSES,
            "label_dropout": 0.1,
            **settings,
        }
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
def tokens():
    return np.random.default_rng(1).integers(0, CODEBOOK_SIZE, (4, NUM_TOKENS)).astype("int32")


LABELS = np.array([0, 2, 1, NULL], "int32")


@pytest.fixture(scope="module")
def logits(model, tokens):
    return model(tokens, LABELS).numpy()


class TestWhatAPositionSees:
    @pytest.mark.parametrize("position", range(NUM_TOKENS))
    def test_a_token_leaves_the_logits_up_to_its_own_bitwise_equal(self, model, tokens, logits, position):
        changed = tokens.copy()
        changed[:, position] = (changed[:, position] + 1) % CODEBOOK_SIZE
        after = model(changed, LABELS).numpy()
        np.testing.assert_array_equal(after[:, : position + 1], logits[:, : position + 1])

    @pytest.mark.parametrize("position", range(NUM_TOKENS - 1))
    def test_a_token_moves_all_later_logits(self, model, tokens, logits, position):
        changed = tokens.copy()
        changed[:, position] = (changed[:, position] + 1) % CODEBOOK_SIZE
        after = model(changed, LABELS).numpy()
        assert np.all(np.any(after[:, position + 1 :] != logits[:, position + 1 :], axis=-1))

    def test_the_label_moves_all_logits(self, model, tokens, logits):
        after = model(tokens, (LABELS + 1) % (NUM_CLASSES + 1)).numpy()
        assert np.all(np.any(after != logits, axis=-1))

    def test_the_order_of_the_tokens_before_matters(self, model):
        one, other = (
            model(np.array([row], "int32"), LABELS[:1]).numpy() for row in ([1, 2, 3, 0, 0, 0], [2, 1, 3, 0, 0, 0])
        )
        assert not np.allclose(one[:, 3], other[:, 3])

    def test_images_of_a_batch_do_not_see_each_other(self, model, tokens, logits):
        np.testing.assert_allclose(model(tokens[1:2], LABELS[1:2]), logits[1:2], atol=1e-5)


class TestCache:
    def test_every_step_equals_the_full_pass(self, model, tokens, logits):
        cache = model.empty_cache(4)
        previous = np.zeros(4, "int32")
        for position in range(NUM_TOKENS):
            step_logits, cache = model.step(tf.constant(previous), tf.constant(LABELS), cache, tf.constant(position))
            np.testing.assert_allclose(step_logits, logits[:, position], rtol=1e-5, atol=1e-5)
            previous = tokens[:, position]

    def test_steps_with_packed_kernels_equal_the_full_pass(self, tokens):
        model = model_with(hidden_dim=64, mlp_dim=128)
        cache, project = model.empty_cache(4), model.packed_kernels()
        previous, logits = np.zeros(4, "int32"), model(tokens, LABELS).numpy()
        for position in range(NUM_TOKENS):
            arguments = (tf.constant(previous), tf.constant(LABELS), cache, tf.constant(position))
            step_logits, cache = model.step(*arguments, project)
            np.testing.assert_allclose(step_logits, logits[:, position], rtol=1e-5, atol=1e-5 * np.abs(logits).max())
            previous = tokens[:, position]

    def test_the_first_step_does_not_look_at_the_token_before(self, model):
        steps = [
            model.step(tf.fill([4], token), tf.constant(LABELS), model.empty_cache(4), tf.constant(0))[0]
            for token in (0, 5)
        ]
        np.testing.assert_array_equal(*steps)


@pytest.fixture(scope="module")
def dropped():
    return model_with(dropout=0.3, label_dropout=0.0)


class TestDropout:
    def test_equal_seeds_give_equal_logits(self, dropped, tokens):
        first, second = (dropped(tokens, LABELS, seed=tf.constant([1, 2])).numpy() for _ in range(2))
        np.testing.assert_array_equal(first, second)

    @pytest.mark.parametrize("seed", [[1, 3], [2, 2]])
    def test_another_step_or_seed_gives_other_logits(self, dropped, tokens, seed):
        first, second = (dropped(tokens, LABELS, seed=tf.constant(each)).numpy() for each in ([1, 2], seed))
        assert not np.allclose(first, second)

    def test_without_a_seed_nothing_is_dropped(self, dropped, tokens, logits):
        np.testing.assert_array_equal(dropped(tokens, LABELS), logits)

    def test_every_place_has_a_seed_of_its_own(self, tokens, monkeypatch):
        model = model_with(dropout=0.3)
        seeds = []
        for layer in (model.embedding_dropout, *(block.seeded_dropout for block in model.blocks)):
            monkeypatch.setattr(layer, "call", lambda inputs, seed=None: seeds.append(tuple(seed.numpy())) or inputs)
        model(tokens, LABELS, seed=tf.constant([1, 2]))
        assert len(seeds) == len(set(seeds)) == 1 + 3 * 2


@pytest.mark.slow
@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("seed", [None, [1, 2]])
def test_rematerialization_changes_no_gradient(tokens, seed, jit_compile):
    def gradients(rematerialize):
        model = model_with(dropout=0.3, rematerialize=rematerialize)
        weights = [weight.value for weight in model.trainable_weights]

        # A training step and a validation are graphs.
        @tf.function(jit_compile=jit_compile)
        def run():
            with tf.GradientTape() as tape:
                logits = model(tokens, LABELS, seed=None if seed is None else tf.constant(seed))
                scalar = tf.reduce_mean(logits**2)
            return tape.gradient(scalar, weights)

        return [tf.convert_to_tensor(gradient).numpy() for gradient in run()]

    for one, other in zip(gradients(False), gradients(True), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-5 * np.abs(one).max())


class TestLabels:
    def hidden(self, model, seed, num=600):
        """For each of `num` images of label 0, whether the model was shown the null label."""
        tokens = np.zeros([num, NUM_TOKENS], "int32")
        labels = np.zeros(num, "int32")
        shown, null = (model(tokens[:1], np.array([label], "int32")).numpy() for label in (0, NULL))
        logits = model(tokens, labels, seed=tf.constant(seed)).numpy()
        is_null, is_shown = (np.isclose(logits, case, atol=1e-5).all(axis=(1, 2)) for case in (null, shown))
        assert np.all(is_null ^ is_shown)
        return is_null

    def test_label_dropout_hides_its_share_of_the_labels(self, model):
        share = self.hidden(model, [1, 2]).mean()
        assert abs(share - 0.1) < 5 * np.sqrt(0.1 * 0.9 / 600)

    def test_which_labels_are_hidden_depends_on_the_seed(self, model):
        first, again, other = (self.hidden(model, seed) for seed in ([1, 2], [1, 2], [1, 3]))
        np.testing.assert_array_equal(first, again)
        # Of independent draws, 0.1 * 0.1 + 0.9 * 0.9 agree.
        assert np.mean(first == other) == pytest.approx(0.82, abs=0.08)

    def test_without_label_dropout_no_label_is_hidden(self):
        assert not self.hidden(model_with(num_layers=1, label_dropout=0.0), [1, 2]).any()

    def test_a_missing_label_becomes_the_null_label(self, model):
        np.testing.assert_array_equal(model.known_labels(np.array([-1, 0, 2], "int32")), [NULL, 0, 2])

    def test_an_unconditional_model_knows_the_null_label_only(self):
        model = model_with(num_classes=0)
        np.testing.assert_array_equal(model.known_labels(np.array([-1, 0, 2], "int32")), [0, 0, 0])
        assert model.label_embedding.embeddings.shape == (1, 8)

    @pytest.mark.parametrize(
        ("num_classes", "label_dropout", "guidable"), [(3, 0.1, True), (3, 0.0, False), (0, 0.1, False)]
    )
    def test_guidance_needs_labels_and_label_dropout(self, num_classes, label_dropout, guidable):
        settings = {"num_classes": num_classes, "label_dropout": label_dropout}
        model = LanguageModel(1, 1, 1, 4, num_layers=1, num_heads=1, hidden_dim=4, mlp_dim=4, **settings)
        assert model.can_be_guided is guidable


class TestFeatures:
    def by_hand(self, model, tokens, num_blocks):
        weights = model.token_embedding.embeddings.numpy(), model.label_embedding.embeddings.numpy()
        first = np.repeat(weights[1][NULL][None, None], len(tokens), axis=0)
        hidden = np.concatenate([first, weights[0][tokens[:, :-1]]], axis=1) + model.positions.numpy()
        for block in model.blocks[:num_blocks]:
            hidden = block(hidden)
        return np.mean(hidden, axis=1)

    @pytest.mark.parametrize("block", [0, 1])
    def test_they_are_the_mean_output_of_the_block(self, tokens, block):
        model = model_with(features_block=block)
        np.testing.assert_allclose(model.features(tokens), self.by_hand(model, tokens, block + 1), rtol=1e-4, atol=1e-5)

    def test_the_default_block_is_at_five_twelfths_of_the_depth(self, tokens):
        model = model_with(num_layers=5)
        np.testing.assert_allclose(model.features(tokens), self.by_hand(model, tokens, 3), rtol=1e-4, atol=1e-5)

    def test_the_classes_embeddings_do_not_matter(self, tokens):
        model = model_with()
        before = model.features(tokens).numpy()
        table = model.label_embedding.embeddings.numpy()
        table[:NULL] = 9
        model.label_embedding.embeddings.assign(table)
        np.testing.assert_array_equal(model.features(tokens), before)

    def test_all_blocks_in_one_pass_are_those_of_each_block(self, tokens):
        model = model_with(features_block=0)
        together = model.block_features(tokens).numpy()
        assert together.shape == (len(tokens), model.num_layers, model.hidden_dim)
        for block in range(model.num_layers):
            model.features_block = block
            np.testing.assert_array_equal(together[:, block], model.features(tokens))


class TestBuildLanguageModel:
    def build(self, **settings):
        sizes = {"num_layers": 1, "num_heads": 2, "hidden_dim": 8, "mlp_dim": 16}
        tokens = configs.TokenFacts("abc", grid_height=2, grid_width=3, depth=2, codebook_size=9, num_classes=4)
        return build_language_model(configs.LanguageModelConfig(**sizes, tokens=tokens, **settings))

    def test_sizes_come_from_the_tokens(self):
        model = self.build()
        assert (model.num_tokens, model.codebook_size, model.num_classes, model.null_label) == (12, 9, 4, 4)
        assert model.positions.shape == (12, 8)
        assert model(np.zeros([1, 12], "int32"), np.zeros(1, "int32")).shape == (1, 12, 9)

    def test_an_unconditional_model_ignores_the_tokens_classes(self):
        assert self.build(class_conditional=False).num_classes == 0
