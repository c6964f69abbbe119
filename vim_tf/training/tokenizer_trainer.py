"""One training step of the tokenizer and its discriminator."""

import tensorflow as tf

from vim_tf.losses.adversarial import discriminator_loss, generator_loss, r1_penalty
from vim_tf.losses.reconstruction import l2_loss, logit_laplace_loss
from vim_tf.models.quantizers import restart_unused_codes
from vim_tf.training.step_model import StepModel

GENERATOR_METRICS = (
    "tokenizer/loss",
    "tokenizer/l2_loss",
    "tokenizer/logit_laplace_loss",
    "tokenizer/codebook_loss",
    "tokenizer/commitment_loss",
    "tokenizer/batch_codebook_usage",
)
ADVERSARIAL_METRICS = ("tokenizer/generator_loss", "tokenizer/discriminator_loss")


class TokenizerTrainer(StepModel):
    """Generator and discriminator, both updated from one forward pass.

    Args:
        tokenizer: ViTVQGAN.
        discriminator: model of images to logits, or None where the adversarial weight is 0.
        losses: TokenizerLossConfig.
        optimizer: built optimizer of the tokenizer.
        discriminator_optimizer: built optimizer of the discriminator, or None.
        restart_unused_steps: steps without use after which a code is set to a current latent; 0 = never.
        jit_compile: whether XLA compiles the tokenizer's part. The discriminator stays out of it: XLA's convolutions
            are slower than TensorFlow's on CPUs.
        seed: int.
    """

    def __init__(
        self,
        tokenizer,
        discriminator,
        losses,
        optimizer,
        discriminator_optimizer,
        restart_unused_steps,
        jit_compile,
        seed,
        **kwargs,
    ):
        super().__init__(seed, GENERATOR_METRICS + (ADVERSARIAL_METRICS if discriminator else ()), **kwargs)
        self.tokenizer = tokenizer
        self.discriminator = discriminator
        self.losses_config = losses
        self.discriminator_optimizer = discriminator_optimizer
        self.restart_unused_steps = restart_unused_steps
        self.unused_steps = self.add_weight(
            name="unused_steps",
            shape=(tokenizer.codebook_size,),
            dtype="int32",
            initializer="zeros",
            trainable=False,
            aggregation="only_first_replica",
        )
        self._compiled_reconstruct = tf.function(self._reconstruct, jit_compile=jit_compile, autograph=False)
        self.built = True
        self.compile(optimizer=optimizer)

    def train_step(self, batch):
        images = batch["image"]
        generator_weights = self.tokenizer.trainable_variables
        with tf.GradientTape(persistent=True) as tape:
            total, terms, outputs = self._compiled_reconstruct(images)
            if self.discriminator:
                # One pass for both; the groups of the minibatch deviation don't mix them.
                logits = self.discriminator(tf.concat([images, outputs.images], axis=0))
                real_logits, fake_logits = tf.split(logits, 2)
                terms["tokenizer/generator_loss"] = generator_loss(fake_logits)
                terms["tokenizer/discriminator_loss"] = discriminator_loss(real_logits, fake_logits)
                total += self._adversarial_weight() * terms["tokenizer/generator_loss"]
                scaled_discriminator_loss = terms["tokenizer/discriminator_loss"] / self.num_replicas
            scaled_total = total / self.num_replicas
        gradients = self.gradients(tape, scaled_total, generator_weights)
        if self.discriminator:
            judge_weights = self.discriminator.trainable_variables
            judge_gradients = self.gradients(tape, scaled_discriminator_loss, judge_weights)
            judge_gradients = self._add_r1(judge_gradients, judge_weights, images)
            self.discriminator_optimizer.apply(judge_gradients, judge_weights)
        counts = self._codebook_counts(outputs.quantized.tokens)
        # The seed is of this step: applying the gradients moves the step counter.
        seed = self.step_seed()
        self.optimizer.apply(gradients, generator_weights)
        if self.restart_unused_steps:
            self._restart_codes(outputs.latents, counts, seed)
        usage = tf.reduce_mean(tf.cast(counts > 0, tf.float32))
        self.update_means({"tokenizer/loss": total, "tokenizer/batch_codebook_usage": usage, **terms})

    def _reconstruct(self, images):
        outputs = self.tokenizer(images)
        terms = {
            "tokenizer/l2_loss": l2_loss(images, outputs.images),
            "tokenizer/logit_laplace_loss": logit_laplace_loss(
                images,
                outputs.location,
                outputs.log_scale,
                min_log_scale=self.losses_config.logit_laplace_min_log_scale,
                margin=self.losses_config.logit_laplace_margin,
            ),
            "tokenizer/codebook_loss": outputs.quantized.codebook_loss,
            "tokenizer/commitment_loss": outputs.quantized.commitment_loss,
        }
        weights = self.losses_config
        total = (
            weights.l2_weight * terms["tokenizer/l2_loss"]
            + weights.logit_laplace_weight * terms["tokenizer/logit_laplace_loss"]
            + weights.codebook_weight * terms["tokenizer/codebook_loss"]
            + weights.commitment_weight * terms["tokenizer/commitment_loss"]
        )
        return total, terms, outputs

    def _adversarial_weight(self):
        started = self.step.value >= self.losses_config.adversarial_start_step
        return self.losses_config.adversarial_weight * tf.cast(started, tf.float32)

    def _add_r1(self, gradients, weights, images):
        """Adds the lazy R1 penalty's gradient every `r1_interval_steps` steps."""
        interval = self.losses_config.r1_interval_steps
        factor = self.losses_config.r1_gamma / 2 * interval / self.num_replicas
        if not factor:
            return gradients

        def penalized():
            with tf.GradientTape() as tape:
                penalty = factor * r1_penalty(self.discriminator, images)
            extra = tape.gradient(penalty, weights)
            # The last bias moves every logit alike, so the penalty doesn't depend on it.
            return [
                gradient if more is None else gradient + more for gradient, more in zip(gradients, extra, strict=True)
            ]

        return tf.cond(self.step.value % interval == 0, penalized, lambda: list(gradients))

    def _codebook_counts(self, tokens):
        """How often each code was chosen by the whole batch: int32 [codebook_size], the same on every replica."""
        size = self.tokenizer.codebook_size
        counts = tf.math.bincount(tf.reshape(tokens, [-1]), minlength=size, maxlength=size)
        return tf.distribute.get_replica_context().all_reduce("sum", counts)

    def _restart_codes(self, latents, counts, seed):
        quantizer = self.tokenizer.quantizer
        # Gathered in replica order, so that two replicas choose what one with the whole batch would.
        pool = tf.distribute.get_replica_context().all_gather(
            tf.reshape(quantizer.normalized(latents), [-1, quantizer.codebook_dim]), axis=0
        )
        # Replica 0's seed for all of them.
        shared_seed = tf.stack([seed[0], seed[1] // self.num_replicas])
        chosen = tf.random.stateless_uniform(
            [quantizer.codebook_size], shared_seed, maxval=tf.shape(pool)[0], dtype=tf.int32
        )
        codebook, unused_steps = restart_unused_codes(
            quantizer.codebook.value,
            self.unused_steps.value,
            counts,
            tf.gather(pool, chosen),
            self.restart_unused_steps,
        )
        quantizer.codebook.assign(codebook)
        self.unused_steps.assign(unused_steps)

    def checkpointed(self):
        """What a resume needs, by name; `model` is what the other commands load."""
        objects = {"model": self.tokenizer, "optimizer": self.optimizer, "unused_steps": self.unused_steps}
        if self.discriminator:
            objects |= {
                "discriminator": self.discriminator,
                "discriminator_optimizer": self.discriminator_optimizer,
            }
        return objects
