"""Reads, prepares and stores the images and tokens that models are trained on."""
