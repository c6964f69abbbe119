"""Keras models: the tokenizer, its discriminator and the language model."""
