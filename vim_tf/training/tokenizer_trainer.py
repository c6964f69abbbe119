"""One training step of the tokenizer and its discriminator."""

import math

import tensorflow as tf

from vim_tf.losses.adversarial import (
    adaptive_weight,
    adversarial_factor,
    discriminator_loss,
    generator_loss,
    lecam_loss,
    r1_penalty,
)
from vim_tf.training.codebook_monitor import CodebookMonitor
from vim_tf.training.loss_terms import computed_terms
from vim_tf.training.trainer import Trainer, is_loss_scaled, loss_scale


class TokenizerTrainer(Trainer):
    """Generator and discriminator, both updated from one forward pass.

    Args:
        tokenizer: ImageTokenizer.
        discriminator: model of images to logits, or None where the adversarial weight is 0.
        perceptual: function of images and reconstructions to distances [batch], or None where its weight is 0.
        losses: TokenizerLossConfig.
        optimizer: built optimizer of the tokenizer.
        discriminator_optimizer: built optimizer of the discriminator, or None.
        quantizer_settings: QuantizerConfig, of which training uses the restarts and the annealing of temperatures.
        window_steps: int, steps over which the codebook's usage is measured.
        jit_compile: whether XLA compiles the tokenizer's part and the updates. The convolutions of discriminator and
            perceptual distance aren't compiled: XLA's are slower than TensorFlow's on CPUs.
        seed: int; the other arguments are those of `Trainer`.
    """

    def __init__(
        self,
        tokenizer,
        discriminator,
        perceptual,
        losses,
        optimizer,
        discriminator_optimizer,
        quantizer_settings,
        window_steps,
        jit_compile,
        seed,
        **kwargs,
    ):
        terms = computed_terms(tokenizer, losses)
        names = ["tokenizer/loss", *(f"tokenizer/{term.name}" for term in terms)]
        names += ["tokenizer/perceptual_loss"] if perceptual else []
        names += ["tokenizer/gradient_norm", *CodebookMonitor.METRICS]
        if discriminator:
            names += ["tokenizer/generator_loss", "tokenizer/discriminator_loss", "tokenizer/adversarial_weight"]
            names += ["tokenizer/discriminator_gradient_norm"]
        super().__init__(tokenizer, seed, names, compile_updates=jit_compile, **kwargs)
        self.tokenizer = tokenizer
        self.discriminator = discriminator
        self._terms = terms
        self.perceptual = perceptual
        self.losses_config = losses
        self.discriminator_optimizer = discriminator_optimizer
        self.quantizer_settings = quantizer_settings
        self.codebook_monitor = CodebookMonitor(self, tokenizer, quantizer_settings.restart_unused_steps, window_steps)
        # Moving averages of the logits of real and generated images.
        self.lecam_means = self.state("lecam_means", (2,))
        self._compiled_reconstruct = tf.function(self._reconstruct, jit_compile=jit_compile, autograph=False)
        self._compiled_gradients = tf.function(self._gradients, jit_compile=jit_compile, autograph=False)
        self.built = True
        self.compile(optimizer=optimizer)

    def train_step(self, batch):
        sums = self.all_reduce(self.over_microbatches(self._microbatch, batch["image"]))
        metrics = dict(sums["terms"])
        gradients, weights = sums["generator"], self.tokenizer.trainable_variables
        if self.discriminator:
            if self.losses_config.adaptive_weight:
                metrics["tokenizer/adversarial_weight"] = self._adaptive_weight(gradients, sums["adversarial"])
                gradients = [
                    gradient + metrics["tokenizer/adversarial_weight"] * adversarial
                    for gradient, adversarial in zip(gradients, sums["adversarial"], strict=True)
                ]
            else:
                metrics["tokenizer/adversarial_weight"] = self._adversarial_weight()
            metrics["tokenizer/loss"] += metrics["tokenizer/adversarial_weight"] * metrics["tokenizer/generator_loss"]
            norm = self.apply(
                self.discriminator_optimizer, sums["discriminator"], self.discriminator.trainable_variables
            )
            metrics["tokenizer/discriminator_gradient_norm"] = self.gradient_norm(norm, self.discriminator_optimizer)
            decay = self.losses_config.lecam_decay
            self.lecam_means.assign(decay * self.lecam_means + (1 - decay) * sums["logit_means"])
        norm = self.apply(self.optimizer, gradients, weights)
        metrics["tokenizer/gradient_norm"] = self.gradient_norm(norm, self.optimizer)
        self.tokenizer.quantizer.update(sums["statistics"])
        metrics |= self.codebook_monitor.update(sums["counts"], sums["candidates"])
        self.update_means(metrics)
        self.finish_step()

    def _microbatch(self, images, index):
        """A microbatch's part of everything that the step sums over microbatches and replicas."""
        if self.perceptual or self.discriminator:
            outputs, sums = self._gradients_with_networks(images, index)
        else:
            scale = loss_scale(self.optimizer)
            outputs, sums = self._compiled_gradients(images, self.step_seed(index), self._temperature(), scale)
        return sums | {
            "counts": self.codebook_monitor.counts(outputs.quantized.tokens),
            "statistics": self.tokenizer.quantizer.statistics(outputs.latents, outputs.quantized.tokens),
            "candidates": self.codebook_monitor.candidates(outputs.latents, index),
        }

    def _gradients(self, images, seed, temperature, scale):
        """The tokenizer's outputs, and the terms and gradients that involve no other network."""
        with tf.GradientTape() as tape:
            total, terms, outputs = self._reconstruct(images, seed, temperature)
            scaled_total = scale * self.mean_share(total)
        gradients = self.gradients(tape, scaled_total, self.tokenizer.trainable_variables)
        return outputs, {"terms": self.mean_share(terms | {"tokenizer/loss": total}), "generator": gradients}

    def _gradients_with_networks(self, images, index):
        """The same with perceptual distance and discriminator, which has its own gradients."""
        generator_scale = loss_scale(self.optimizer)
        adaptive = self.losses_config.adaptive_weight
        with tf.GradientTape(persistent=True) as tape:
            total, terms, outputs = self._compiled_reconstruct(images, self.step_seed(index), self._temperature())
            if self.perceptual:
                distance = tf.reduce_mean(self.perceptual(images, outputs.images))
                terms["tokenizer/perceptual_loss"] = distance
                total += self.losses_config.perceptual_weight * distance
            terms["tokenizer/loss"] = total
            if self.discriminator:
                adversarial_terms, discriminator_total, logit_means = self._discriminate(images, outputs.images)
                terms |= adversarial_terms
                adversarial = adversarial_terms["tokenizer/generator_loss"]
                if not adaptive:
                    total += self._adversarial_weight() * adversarial
                scaled_adversarial = generator_scale * self.mean_share(adversarial)
                scaled_discriminator = loss_scale(self.discriminator_optimizer) * self.mean_share(discriminator_total)
            scaled_total = generator_scale * self.mean_share(total)
        weights = self.tokenizer.trainable_variables
        sums = {"terms": self.mean_share(terms), "generator": self.gradients(tape, scaled_total, weights)}
        if self.discriminator:
            sums["logit_means"] = self.mean_share(logit_means)
            discriminator_weights = self.discriminator.trainable_variables
            gradients = self.gradients(tape, scaled_discriminator, discriminator_weights)
            sums["discriminator"] = self._add_r1(gradients, discriminator_weights, images)
            if adaptive:
                sums["adversarial"] = self.gradients(tape, scaled_adversarial, weights)
        return outputs, sums

    def _reconstruct(self, images, seed, temperature):
        """Weighted sum of the terms that need no other network, the terms, and the tokenizer's outputs."""
        outputs = self.tokenizer(images, seed=seed, temperature=temperature)
        settings = self.losses_config
        values = [(term, term.value(images, outputs, self.tokenizer, settings)) for term in self._terms]
        # Not tf.add_n, which adds the terms in the order in which they become ready.
        total = sum(getattr(settings, term.weight) * value for term, value in values)
        terms = {f"tokenizer/{term.name}": value for term, value in values}
        return total, terms, outputs

    def _discriminate(self, images, reconstructions):
        """Adversarial terms by name, the discriminator's total loss, and the two mean logits."""
        kind = self.losses_config.adversarial_loss
        # One pass for both; the groups of the minibatch deviation don't mix them.
        logits = self.discriminator(tf.concat([images, reconstructions], axis=0))
        real_logits, fake_logits = tf.split(logits, 2)
        loss = discriminator_loss(real_logits, fake_logits, kind)
        terms = {
            "tokenizer/generator_loss": generator_loss(fake_logits, kind),
            "tokenizer/discriminator_loss": loss,
        }
        if self.losses_config.lecam_weight:
            steps = tf.cast(self.step.value, tf.float32)
            # The averages start from 0 and are corrected for that; before the first step there are none.
            means = self.lecam_means / tf.maximum(1 - self.losses_config.lecam_decay**steps, 1e-8)
            weight = self.losses_config.lecam_weight * tf.cast(steps > 0, tf.float32)
            loss += weight * lecam_loss(real_logits, fake_logits, means[0], means[1])
        return terms, loss, tf.stack([tf.reduce_mean(real_logits), tf.reduce_mean(fake_logits)])

    def _adversarial_weight(self):
        settings = self.losses_config
        factor = adversarial_factor(self.step.value, settings.adversarial_start_step, settings.adversarial_warmup_steps)
        return settings.adversarial_weight * factor

    def _adaptive_weight(self, gradients, adversarial_gradients):
        """Weight of the adversarial gradient that makes it as long as the others' at the decoder's last layer."""
        weights = self.tokenizer.trainable_variables
        last = next(i for i, weight in enumerate(weights) if weight is self.tokenizer.decoder.last_kernel)
        lengths = [tf.norm(each[last]) / loss_scale(self.optimizer) for each in (gradients, adversarial_gradients)]
        ratio = adaptive_weight(*lengths, self.losses_config.adaptive_weight_max)
        if is_loss_scaled(self.optimizer):
            # When a scaled gradient overflows, the optimizer skips the step; the weight's mean must, too.
            ratio = tf.where(tf.math.is_finite(ratio), ratio, 0.0)
        return self._adversarial_weight() * ratio

    def _add_r1(self, gradients, weights, images):
        """Adds the lazy R1 penalty's gradient every `r1_interval_steps` steps."""
        interval = self.losses_config.r1_interval_steps
        if not self.losses_config.r1_gamma:
            return gradients

        def penalized():
            scale = loss_scale(self.discriminator_optimizer)
            with tf.GradientTape() as tape:
                # The square of its gradient then has the size of the loss scale: half for each of the two derivatives.
                inner_scale = 2.0 ** tf.floor(tf.math.log(scale) / math.log(4))
                penalty = r1_penalty(self.discriminator, images, inner_scale)
                factor = self.losses_config.r1_gamma / 2 * interval * scale
                scaled = factor * self.mean_share(penalty)
            # The last bias moves all logits equally, so the penalty doesn't depend on it.
            extra = self.gradients(tape, scaled, weights)
            return [gradient + more for gradient, more in zip(gradients, extra, strict=True)]

        return tf.cond(self.step.value % interval == 0, penalized, lambda: list(gradients))

    def _temperature(self):
        """Temperature of quantizers that draw, annealed along half a cosine: float32 []."""
        settings = self.quantizer_settings
        first, last = settings.gumbel_temperature, settings.gumbel_final_temperature
        progress = tf.minimum(tf.cast(self.step.value, tf.float32) / settings.gumbel_anneal_steps, 1.0)
        return last + (first - last) * 0.5 * (1 + tf.cos(math.pi * progress))

    def checkpointed(self):
        objects = super().checkpointed() | self.codebook_monitor.checkpointed() | {"lecam_means": self.lecam_means}
        if self.discriminator:
            objects |= {
                "discriminator": self.discriminator,
                "discriminator_optimizer": self.discriminator_optimizer,
            }
        return objects
