"""Weights of other projects: reading their files and giving our models their weights."""
