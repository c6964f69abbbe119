"""Publishes the pushed run's results under fixed names in the output folder."""

import os
import re
import shutil

from vim_tf.errors import InputError
from vim_tf.storage.files import whole_file, whole_folder

LINKS = ("tokenizer", "language_model", "tokens")
FILES = ("report.html", "metrics.json")


def check_free(output):
    """Refuses an output folder in which other files have the names of results.

    Raises:
        InputError: something other than a link has such a name.
    """
    for name in LINKS:
        path = os.path.join(output, name)
        if os.path.lexists(path) and not os.path.islink(path):
            raise InputError(f"{path} was not made by the pipeline: move it away or choose another --output")


def publish(output, folders, evaluation_folder):
    """Creates the links and files of the pushed run; each atomically replaces its predecessor.

    Args:
        output: folder on this machine.
        folders: dict from each of LINKS to the artifact's folder.
        evaluation_folder: folder that holds FILES.
    """
    for name in LINKS:
        replace_link(os.path.join(output, name), folders[name])
    for name in FILES:
        path = os.path.join(output, name)
        with whole_file(path) as unfinished:
            shutil.copyfile(os.path.join(evaluation_folder, name), unfinished)


def replace_link(path, folder):
    """Atomically makes `path` a link to a folder, replacing an existing link."""
    with whole_file(path) as unfinished:
        # A relative link stays valid if both are moved together.
        os.symlink(os.path.relpath(folder, os.path.dirname(path)), unfinished)


def restore_pushed_model(archive, destination):
    """Restores a pushed model that is missing from the serving folder, since a cached Pusher pushes nothing.

    Args:
        archive: folder of the PushedModel artifact, which keeps a copy.
        destination: serving/<version> folder.
    """
    if not os.path.isdir(destination):
        # A model server takes only folders whose name is a number.
        with whole_folder(destination) as unfinished:
            shutil.copytree(archive, unfinished)


def is_version(name):
    """Whether a folder's name is a version made by Pusher, in seconds since 1970."""
    return re.fullmatch(r"\d{10,}", name) is not None


def remove_unfinished_pushes(serving_folder):
    """Removes versions that a killed Pusher left behind: it writes saved_model.pb last."""
    for name in os.listdir(serving_folder) if os.path.isdir(serving_folder) else ():
        folder = os.path.join(serving_folder, name)
        if is_version(name) and os.path.isdir(folder) and not os.path.exists(os.path.join(folder, "saved_model.pb")):
            shutil.rmtree(folder)
