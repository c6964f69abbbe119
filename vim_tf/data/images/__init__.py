"""Decodes image files and fits the pixels to a model's size."""
