"""Drawing tokens from a language model."""
