"""The learned codebook by hand: what is nearest, what the losses are, where gradients go, restarts, moving averages."""

import numpy as np
import pytest
import tensorflow as tf

from vim_tf.models.quantizers import EMAVectorQuantizer, VectorQuantizer

CODEBOOK = [[1.0, 0.0], [0.0, 2.0], [-3.0, 0.0]]


def quantizer_with(codebook, l2_normalize=False, **settings):
    kind = EMAVectorQuantizer if "ema_decay" in settings else VectorQuantizer
    quantizer = kind(*np.shape(codebook), l2_normalize=l2_normalize, **settings)
    quantizer.build()
    quantizer.codebook.assign(np.asarray(codebook, "float32"))
    return quantizer


def test_latents_on_codes_come_back_unchanged_with_zero_loss():
    latents = tf.constant([[[0.0, 2.0], [-3.0, 0.0], [1.0, 0.0]]])
    outputs = quantizer_with(CODEBOOK)(latents)
    np.testing.assert_array_equal(outputs.tokens, [[1, 2, 0]])
    np.testing.assert_array_equal(outputs.quantized, latents)
    assert float(outputs.losses["codebook_loss"]) == float(outputs.losses["commitment_loss"]) == 0.0


def test_losses_are_means_over_every_number():
    # (2, 0) is 1 away from (1, 0); (0, 2) is equal to its code: 1 / 4 numbers.
    losses = quantizer_with(CODEBOOK)(tf.constant([[[2.0, 0.0], [0.0, 2.0]]])).losses
    assert float(losses["codebook_loss"]) == pytest.approx(0.25)
    assert float(losses["commitment_loss"]) == pytest.approx(0.25)


def test_losses_compare_directions_where_the_quantizer_normalizes():
    # (0, 7) becomes (0, 1), one of length 1 from (1, 0): |(-1, 1)|^2 / 2 numbers.
    losses = quantizer_with([[5.0, 0.0]], l2_normalize=True)(tf.constant([[[0.0, 7.0]]])).losses
    assert float(losses["codebook_loss"]) == pytest.approx(1.0)
    assert float(losses["commitment_loss"]) == pytest.approx(1.0)


def test_the_nearest_code_is_not_the_one_of_largest_product():
    # Of (1.2, 0.1), code 0 is 0.2 away; the product with (5, 5) would be larger.
    assert quantizer_with([[1.0, 0.0], [5.0, 5.0]]).tokens([[[1.2, 0.1]]]).numpy() == [[0]]


def test_normalized_lookup_looks_at_directions_only():
    quantizer = quantizer_with([[1.0, 0.0], [0.1, 0.1]], l2_normalize=True)
    np.testing.assert_array_equal(quantizer.tokens([[[9.0, 8.0], [0.009, 0.001]]]), [[1, 0]])


def test_normalized_lookup_gives_codes_of_length_one():
    codes = quantizer_with([[3.0, 4.0], [0.1, 0.0]], l2_normalize=True).lookup(np.array([[0, 1]]))
    np.testing.assert_allclose(codes, [[[0.6, 0.8], [1.0, 0.0]]], rtol=1e-6)


def gradients_of(name, quantizer, latents):
    latents = tf.constant(latents)
    with tf.GradientTape() as tape:
        tape.watch(latents)
        outputs = quantizer(latents)
        scalar = tf.reduce_sum(outputs.quantized if name == "quantized" else outputs.losses[name])
    return tape.gradient(scalar, [latents, quantizer.codebook.value])


LATENTS = [[[2.0, 0.5], [0.1, 2.5]]]


def test_codebook_loss_sends_no_gradient_to_the_latents():
    of_latents, of_codebook = gradients_of("codebook_loss", quantizer_with(CODEBOOK), LATENTS)
    assert of_latents is None
    # 2 (code - latent) / 4 numbers; nothing chose the third code.
    expected = [[-0.5, -0.25], [-0.05, -0.25], [0.0, 0.0]]
    np.testing.assert_allclose(tf.convert_to_tensor(of_codebook), expected, rtol=1e-5)


def test_commitment_loss_sends_no_gradient_to_the_codebook():
    of_latents, of_codebook = gradients_of("commitment_loss", quantizer_with(CODEBOOK), LATENTS)
    assert of_codebook is None
    # 2 (latent - code) / 4 numbers.
    np.testing.assert_allclose(of_latents, [[[0.5, 0.25], [0.05, 0.25]]], rtol=1e-5)


def test_the_gradient_passes_straight_through_to_the_latents():
    of_latents, of_codebook = gradients_of("quantized", quantizer_with(CODEBOOK), LATENTS)
    np.testing.assert_array_equal(of_latents, np.ones([1, 2, 2]))
    assert of_codebook is None


@pytest.mark.parametrize(
    ("straight_through", "expected"),
    # Normalising (0, 4) keeps a quarter of what is across it, and nothing of what is along it.
    [("latents", [[[1.0, 1.0]]]), ("normalized", [[[0.25, 0.0]]])],
)
def test_the_gradient_goes_to_latents_as_they_are_or_as_they_are_compared(straight_through, expected):
    quantizer = quantizer_with(CODEBOOK, l2_normalize=True, straight_through=straight_through)
    of_latents, _ = gradients_of("quantized", quantizer, [[[0.0, 4.0]]])
    np.testing.assert_allclose(of_latents, expected, atol=1e-6)


def test_another_straight_through_is_refused():
    with pytest.raises(ValueError, match="latents or normalized, not 'codes'"):
        VectorQuantizer(4, 2, straight_through="codes")


@pytest.mark.parametrize("jit_compile", [False, True])
def test_a_compiled_quantizer_inside_a_tape_gives_the_gradient_of_the_codebook(jit_compile):
    quantizer = quantizer_with(CODEBOOK)
    compiled = tf.function(quantizer, jit_compile=jit_compile)
    with tf.GradientTape() as tape:
        loss = compiled(tf.constant(LATENTS)).losses["codebook_loss"]
    gradient = tf.convert_to_tensor(tape.gradient(loss, quantizer.codebook.value))
    np.testing.assert_allclose(gradient, [[-0.5, -0.25], [-0.05, -0.25], [0.0, 0.0]], rtol=1e-5)


class TestRestart:
    UNUSED = np.array([False, True, False])
    CANDIDATES = np.array([[7.0, 7.0], [8.0, 9.0], [7.0, 7.0]], "float32")

    def test_only_unused_codes_become_their_candidates(self):
        quantizer = quantizer_with(CODEBOOK)
        quantizer.restart(self.UNUSED, self.CANDIDATES)
        np.testing.assert_array_equal(quantizer.codebook, [[1, 0], [8, 9], [-3, 0]])

    def test_candidates_are_the_latents_as_they_are_compared(self):
        latents = tf.constant([[[3.0, 4.0], [0.0, 2.0]], [[1.0, 0.0], [0.0, -5.0]]], tf.float16)
        plain = quantizer_with(CODEBOOK).restart_candidates(latents)
        np.testing.assert_array_equal(plain, [[3, 4], [0, 2], [1, 0], [0, -5]])
        unit = quantizer_with(CODEBOOK, l2_normalize=True).restart_candidates(latents)
        np.testing.assert_allclose(unit, [[0.6, 0.8], [0, 1], [1, 0], [0, -1]], rtol=1e-6)

    def test_a_latent_that_a_code_was_set_to_lies_on_it(self):
        quantizer = quantizer_with(CODEBOOK, l2_normalize=True)
        latents = tf.constant([[[5.0, 5.0]]])
        quantizer.restart(self.UNUSED, tf.tile(quantizer.restart_candidates(latents), [3, 1]))
        assert quantizer.tokens(latents).numpy() == [[1]]
        assert float(quantizer(latents).losses["commitment_loss"]) < 1e-12


def make_step(quantizer, latents):
    """One step of training by moving averages; the tokens that were chosen in it."""
    tokens = quantizer.tokens(latents)
    quantizer.update(quantizer.statistics(latents, tokens))
    return tokens.numpy()


class TestMovingAverages:
    def test_the_first_step_moves_each_chosen_code_to_the_mean_of_its_latents(self):
        quantizer = quantizer_with(CODEBOOK, ema_decay=0.75)
        tokens = make_step(quantizer, tf.constant([[[2.0, 0.0], [4.0, 0.0], [0.0, 3.0]]]))
        assert tokens.tolist() == [[0, 0, 1]]
        np.testing.assert_allclose(quantizer.codebook, [[3, 0], [0, 3], [-3, 0]], rtol=1e-4)
        np.testing.assert_allclose(quantizer.counts, [0.25 * 2, 0.25 * 1, 0.0])
        np.testing.assert_allclose(quantizer.sums, [[0.25 * 6, 0], [0, 0.25 * 3], [0, 0]])

    def test_the_second_step_weighs_both_steps_by_their_latents(self):
        quantizer = quantizer_with(CODEBOOK, ema_decay=0.75)
        make_step(quantizer, tf.constant([[[2.0, 0.0], [4.0, 0.0], [0.0, 3.0]]]))
        make_step(quantizer, tf.constant([[[7.0, 0.0]]]))
        # Sum 0.75 * 1.5 + 0.25 * 7, count 0.75 * 0.5 + 0.25 * 1; the others stay where they are.
        np.testing.assert_allclose(quantizer.codebook, [[2.875 / 0.625, 0], [0, 3], [-3, 0]], rtol=1e-4)

    def test_counts_are_smoothed_as_if_each_code_had_a_hundred_thousandth_of_a_latent_more(self):
        quantizer = quantizer_with(CODEBOOK, ema_decay=0.999)
        make_step(quantizer, tf.constant([[[2.0, 0.0]]]))
        # Its count 0.001 becomes (0.001 + 1e-5) of 0.001 + 3 * 1e-5, scaled to 0.001 in all.
        np.testing.assert_allclose(quantizer.codebook[0], [2 * 0.00103 / 0.00101, 0], rtol=1e-5)

    def test_a_code_is_never_moved_by_steps_that_do_not_choose_it(self):
        # After 20 steps its count and sum are too small for float32.
        quantizer = quantizer_with(CODEBOOK, ema_decay=0.001)
        make_step(quantizer, tf.constant([[[0.0, 3.0], [1.5, 0.0]]]))
        before = quantizer.codebook.numpy()
        for _ in range(20):
            make_step(quantizer, tf.constant([[[1.5, 0.0]]]))
        np.testing.assert_array_equal(quantizer.codebook[1:], before[1:])
        make_step(quantizer, tf.constant([[[0.0, 4.0]]]))
        np.testing.assert_allclose(quantizer.codebook[1], [0, 4], rtol=1e-4)

    def test_statistics_of_two_halves_add_up_to_those_of_the_whole(self):
        latents = tf.constant(np.random.default_rng(1).normal(size=(4, 5, 2)), tf.float32)
        quantizer = quantizer_with(CODEBOOK, l2_normalize=True, ema_decay=0.9)
        tokens = quantizer.tokens(latents)
        whole = quantizer.statistics(latents, tokens)
        halves = [quantizer.statistics(latents[part], tokens[part]) for part in (slice(0, 2), slice(2, 4))]
        assert float(tf.reduce_sum(whole["counts"])) == 20
        for name, total in whole.items():
            np.testing.assert_allclose(halves[0][name] + halves[1][name], total, rtol=1e-6, err_msg=name)

    def test_codes_converge_to_the_means_of_the_clusters(self):
        random = np.random.default_rng(2)
        centers = np.array([[4.0, 0.0], [0.0, 6.0], [-5.0, -5.0]])
        quantizer = quantizer_with(CODEBOOK, ema_decay=0.9)
        clusters = centers[:, None] + random.normal(0, 0.3, size=(3, 40, 2))
        for _ in range(60):
            chosen = random.permutation(40)[:20]
            make_step(quantizer, tf.constant(clusters[:, chosen], tf.float32))
        np.testing.assert_allclose(quantizer.codebook, clusters.mean(1), atol=0.05)

    def test_normalized_codes_are_averages_of_directions(self):
        quantizer = quantizer_with([[1.0, 0.0], [0.0, 1.0]], l2_normalize=True, ema_decay=0.5)
        latents = tf.constant([[[10.0, 0.0], [4.0, 3.0]]])
        make_step(quantizer, latents)
        # (1, 0) and (0.8, 0.6); the code is looked up at length 1.
        np.testing.assert_allclose(quantizer.codebook[0], [0.9, 0.3], rtol=1e-4)
        np.testing.assert_allclose(quantizer.lookup([[0]])[0, 0], np.array([3, 1]) / 10**0.5, rtol=1e-4)

    def test_training_has_no_gradient_for_the_codebook(self):
        quantizer = quantizer_with(CODEBOOK, ema_decay=0.9)
        assert quantizer.trainable_weights == []
        assert set(quantizer(tf.constant(LATENTS)).losses) == {"commitment_loss"}

    def test_a_restarted_code_forgets_its_averages(self):
        quantizer = quantizer_with(CODEBOOK, ema_decay=0.9)
        make_step(quantizer, tf.constant([[[0.0, 2.0], [0.0, 3.0], [1.0, 0.0]]]))
        quantizer.restart(np.array([False, True, False]), tf.constant([[7.0, 7.0], [8.0, 9.0], [7.0, 7.0]]))
        np.testing.assert_allclose(quantizer.codebook, [[1, 0], [8, 9], [-3, 0]], rtol=1e-4)
        np.testing.assert_allclose(quantizer.counts, [0.1, 0, 0], rtol=1e-5)
        np.testing.assert_allclose(quantizer.sums, [[0.1, 0], [0, 0], [0, 0]], rtol=1e-5)
        make_step(quantizer, tf.constant([[[8.0, 8.0]]]))
        np.testing.assert_allclose(quantizer.codebook[1], [8, 8], rtol=1e-3)
