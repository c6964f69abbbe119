"""Measures how much of the codebook a set of images uses."""

import numpy as np


class CodebookUsage:
    """Counts how often each code was chosen, batch by batch.

    - usage: share of codes that were chosen at least once, in [0, 1], higher is better. It grows with the number of
      tokens counted: state how many.
    - perplexity: exp of the entropy (nats) of the codes' frequencies, in [1, codebook_size], higher is better; equal
      to codebook_size when all codes are equally frequent.

    Attributes:
        counts: int64 [codebook_size], how often each code was chosen.
    """

    def __init__(self, codebook_size):
        self.codebook_size = codebook_size
        self.counts = np.zeros(codebook_size, np.int64)

    def update(self, tokens):
        """Takes in tokens: integers of any shape in [0, codebook_size).

        Raises:
            ValueError: a token is out of range.
        """
        tokens = np.asarray(tokens).reshape(-1)
        if tokens.size and not (0 <= tokens.min() and tokens.max() < self.codebook_size):
            outside = tokens[(tokens < 0) | (tokens >= self.codebook_size)][0]
            raise ValueError(f"token {outside} is outside a codebook of {self.codebook_size} codes")
        self.counts += np.bincount(tokens, minlength=self.codebook_size)

    @property
    def num_tokens(self):
        """Number of tokens counted."""
        return int(self.counts.sum())

    def result(self):
        """Dict of usage and perplexity; without any tokens usage is 0 and perplexity is 1."""
        used = self.counts[self.counts > 0]
        frequencies = used / max(self.num_tokens, 1)
        entropy = -np.sum(frequencies * np.log(frequencies))
        return {"usage": len(used) / self.codebook_size, "perplexity": float(np.exp(entropy))}


class UsageInBatches:
    """Share of the codes that a batch of `num_images` images uses, averaged over batches: the paper's codebook usage.

    In [0, 1], higher is better. Images are taken in order; an incomplete batch at the end doesn't count.

    References:
        Yu et al., 2022, https://arxiv.org/abs/2110.04627, caption of table 4.
    """

    def __init__(self, codebook_size, num_images=256):
        self.codebook_size = codebook_size
        self.num_images = num_images
        self.num_images_seen = 0
        self._used = np.zeros(codebook_size, bool)
        self._seen = 0
        self._shares = []

    def update(self, tokens):
        """Takes in tokens in [0, codebook_size): integers [images, tokens], any number of images at a time."""
        for row in np.asarray(tokens):
            self._used[row] = True
            self.num_images_seen += 1
            self._seen += 1
            if self._seen == self.num_images:
                self._shares.append(self._used.mean())
                self._used[:], self._seen = False, 0

    @property
    def num_batches(self):
        """Whole batches so far."""
        return len(self._shares)

    def result(self):
        """float in [0, 1], or None if the images don't fill one batch."""
        return float(np.mean(self._shares)) if self._shares else None
