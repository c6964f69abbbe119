"""Weights of other projects: reads their files and sets our models' weights to them."""
