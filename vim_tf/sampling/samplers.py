"""Builds the sampler that a config describes, and decodes its tokens to pixels."""

import dataclasses

import numpy as np

from vim_tf import ranges
from vim_tf.data.images.pixels import to_uint8
from vim_tf.devices import compilation
from vim_tf.sampling.generate import Sampler
from vim_tf.sampling.rejection import Classifier, RejectionSampler


def decode(tokenizer, tokens, batch_size):
    """Pixels of tokens, `batch_size` images at a time: uint8 [n, height, width, 3]."""
    return np.concatenate(
        [
            to_uint8(tokenizer.decode(tokens[start : start + batch_size])).numpy()
            for start in range(0, len(tokens), batch_size)
        ]
    )


def build_sampler(language_model, sampling, tokenizer):
    """The sampler that a SamplingConfig describes.

    Args:
        language_model: LanguageModel.
        sampling: SamplingConfig.
        tokenizer: tokenizer of its tokens, to decode candidates for a classifier.

    Raises:
        InputError: the classifier can't be used.
    """
    is_compiled = settled(sampling).jit_compile == "on"
    sampler = Sampler(language_model, sampling.batch_size, sampling.guidance_schedule, is_compiled)
    if not sampling.classifier:
        return sampler
    return RejectionSampler(
        sampler,
        lambda tokens: decode(tokenizer, tokens, sampling.batch_size),
        Classifier(sampling.classifier, sampling.batch_size),
        sampling.rejection_keep,
        sampling.rejection_candidates,
    )


def settled(sampling):
    """A SamplingConfig with `jit_compile` set to on or off, as suits this machine's device."""
    # Trained models are loaded in float32, in any precision they were trained in.
    choice = compilation.choose(sampling.jit_compile, "float32")
    return dataclasses.replace(sampling, jit_compile=choice)


def sampler_settings(sampling):
    """dict of the settings of `Sampler.sample` in a SamplingConfig; its other fields configure the sampler."""
    return {name: getattr(sampling, name) for name in ranges.SAMPLING}
