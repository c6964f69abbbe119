"""Measuring tokenizers and language models: plain objects that know nothing of training, and the report."""
