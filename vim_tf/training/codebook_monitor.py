"""Measures how much of a codebook training uses, and restarts codes that nothing chooses."""

import tensorflow as tf


class CodebookMonitor:
    """Usage of the codes over a window of steps, and their restart.

    Metrics: codebook/window_usage, share of the codes chosen in the last `window_steps` steps (1 until that many have
    passed); codebook/window_perplexity, exp of the entropy of the codes' frequencies, which fade with a half-life of
    about 0.7 windows; codebook/dead_codes, number of codes that the window didn't use.

    Args:
        trainer: Trainer that holds the state.
        tokenizer: ImageTokenizer.
        restart_unused_steps: int, steps without use after which a code is set to a latent of the batch; 0 = never.
        window_steps: int.
    """

    METRICS = ("codebook/window_usage", "codebook/window_perplexity", "codebook/dead_codes")

    def __init__(self, trainer, tokenizer, restart_unused_steps, window_steps):
        self.quantizer = tokenizer.quantizer
        self.restart_unused_steps = restart_unused_steps
        self.window_steps = window_steps
        self._trainer = trainer
        size = self.quantizer.codebook_size
        self.unused_steps = trainer.state("unused_steps", (size,), "int32")
        self.frequencies = trainer.state("code_frequencies", (size,))

    def counts(self, tokens):
        """How often each code was chosen: float32 [codebook_size]; integers would be reduced by another collective."""
        tokens = tf.reshape(tokens, [-1])
        # Not tf.math.bincount: its GPU kernel refuses to run where results must be deterministic, and XLA can't infer
        # its shape.
        return tf.math.unsorted_segment_sum(tf.ones_like(tokens, tf.float32), tokens, self.quantizer.codebook_size)

    def candidates(self, latents, microbatch):
        """Vectors that unused codes can be set to, laid out so that the sum over microbatches and replicas holds all.

        Args:
            latents: float32 [batch, length, codebook_dim], of one microbatch on one replica.
            microbatch: int32 [], its number.

        Returns:
            list of one float32 [replicas * microbatches, candidates, codebook_dim], zero except for this microbatch;
            empty where codes aren't restarted.
        """
        if not self.restart_unused_steps:
            return []
        replica = tf.cast(tf.distribute.get_replica_context().replica_id_in_sync_group, tf.int32)
        num_parts = self._trainer.num_replicas * self._trainer.num_microbatches
        position = tf.one_hot(replica * self._trainer.num_microbatches + microbatch, num_parts)
        return [position[:, None, None] * self.quantizer.restart_candidates(latents)]

    def update(self, counts, candidates):
        """Adds one step of the whole batch, and restarts codes.

        Args:
            counts: float32 [codebook_size], all-reduced.
            candidates: as from `candidates`, all-reduced.

        Returns:
            dict from metric name to float32 [].
        """
        unused_steps = tf.where(counts > 0, 0, self.unused_steps + 1)
        frequencies = (1 - 1 / self.window_steps) * self.frequencies + counts
        if self.restart_unused_steps:
            is_due = (unused_steps > 0) & (unused_steps % self.restart_unused_steps == 0)
            pool = tf.reshape(candidates[0], [-1, self.quantizer.codebook_dim])
            seed = tf.stack([self._trainer.seed, tf.cast(self._trainer.step.value, tf.int32)])
            chosen = tf.random.stateless_uniform(
                [self.quantizer.codebook_size], seed, maxval=tf.shape(pool)[0], dtype=tf.int32
            )
            self.quantizer.restart(is_due, tf.gather(pool, chosen))
        self.unused_steps.assign(unused_steps)
        self.frequencies.assign(frequencies)
        is_dead = unused_steps >= self.window_steps
        shares = frequencies / tf.reduce_sum(frequencies)
        entropy = -tf.reduce_sum(tf.math.xlogy(shares, shares))
        return {
            "codebook/window_usage": 1 - tf.reduce_mean(tf.cast(is_dead, tf.float32)),
            "codebook/window_perplexity": tf.exp(entropy),
            "codebook/dead_codes": tf.reduce_sum(tf.cast(is_dead, tf.float32)),
        }

    def checkpointed(self):
        """The variables that a resume needs, by name."""
        return {"unused_steps": self.unused_steps, "code_frequencies": self.frequencies}
