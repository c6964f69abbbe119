"""Images and tokens on their way to a model."""
