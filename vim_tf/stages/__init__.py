"""The training stages: building, training, saving and loading each of them."""
