"""Tests; a package, so that it isn't confused with another `tests` on the path."""
