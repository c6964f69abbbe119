"""Digests of values."""

import hashlib
import json


def digest(value):
    """sha256 of a JSON value, hexadecimal."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
