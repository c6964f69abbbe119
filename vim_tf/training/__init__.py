"""Training: trainers, optimizers, strategies, checkpoints, callbacks."""
