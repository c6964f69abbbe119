"""Sharded files of images and tokens, which are stored between the stages."""
