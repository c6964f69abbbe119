"""Training: step models, optimizers, strategies, checkpoints, callbacks."""
