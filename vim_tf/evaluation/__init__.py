"""Measures tokenizers and language models with plain objects that know nothing about training; writes the report."""
