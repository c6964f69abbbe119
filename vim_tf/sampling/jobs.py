"""Splits a large request into files that any number of processes fill: resumable, no image twice, none lost."""

import dataclasses
import json
import sys
import time
from typing import Any

import numpy as np
import tensorflow as tf

from vim_tf.errors import InputError
from vim_tf.storage import npz
from vim_tf.storage.digests import digest_of_parts
from vim_tf.storage.files import write_whole
from vim_tf.training.callbacks import duration

SETTINGS_NAME = "job.json"


@dataclasses.dataclass(frozen=True)
class SampleJob:
    """The images to draw, and the files to write them to.

    File number s holds the groups number s, s + num_shards, s + 2 * num_shards and so on, so that each file is about as
    balanced over the labels as the whole.

    Attributes:
        folder: folder of the files.
        labels: int32 [n].
        seeds: int32 [n].
        num_shards: number of files; at most that of groups.
        settings: dict that JSON can hold, of everything that determines the images besides labels and seeds.
        group: number of neighbouring images that stay in one file, since rejection draws them together.
        class_names: tuple of str, name of each label, which every file holds; empty = not known.
    """

    folder: str
    labels: Any
    seeds: Any
    num_shards: int
    settings: dict
    group: int = 1
    class_names: tuple = ()

    def __post_init__(self):
        if not 0 < self.num_shards <= self._num_groups:
            raise InputError(
                f"{len(self.labels)} images can't fill {self.num_shards} files; choose num_shards from 1 to "
                f"{self._num_groups}"
            )

    def path(self, shard):
        """File of a shard: samples-00000-of-00050.npz."""
        return f"{self.folder}/samples-{shard:05d}-of-{self.num_shards:05d}.npz"

    def indices(self, shard):
        """Numbers of the images in a shard: int64 [images]."""
        groups = np.arange(shard, self._num_groups, self.num_shards)
        indices = (groups[:, None] * self.group + np.arange(self.group)).reshape(-1)
        return indices[indices < len(self.labels)]

    @property
    def _num_groups(self):
        return -(-len(self.labels) // self.group)

    def missing(self):
        """Shards that don't exist yet; one that exists is complete."""
        return [shard for shard in range(self.num_shards) if not tf.io.gfile.exists(self.path(shard))]


def run_job(job, draw, process=0, num_processes=1):
    """Fills the missing files; each process fills those whose number modulo `num_processes` is `process`.

    Args:
        job: SampleJob.
        draw: function of labels int32 [k] and seeds int32 [k] to dict of arrays with a first axis of k, such as
            tokens and images.
        process: int in [0, num_processes).
        num_processes: int.

    Returns:
        list of the shards that no process has filled yet.

    Raises:
        InputError: the folder holds files of another job.
    """
    _claim(job)
    own = [shard for shard in job.missing() if shard % num_processes == process]
    total, done, start = sum(len(job.indices(shard)) for shard in own), 0, time.monotonic()
    for shard in own:
        indices = job.indices(shard)
        labels, seeds = job.labels[indices], job.seeds[indices]
        drawn = {"indices": indices, "labels": labels, "seeds": seeds, **draw(labels, seeds)}
        npz.write(job.path(shard), drawn | {"class_names": np.array(job.class_names, str)}, compressed=True)
        done += len(indices)
        rate = done / (time.monotonic() - start)
        print(
            f"{job.path(shard)}  {done}/{total} images  {rate:.1f} images/s  {duration((total - done) / rate)} left",
            file=sys.stderr,
            flush=True,
        )
    return job.missing()


def recorded_settings(folder):
    """Settings of the job whose files a folder holds: dict as `_claim` writes it, empty where there is no job.

    Raises:
        InputError: the record is damaged.
    """
    path = f"{folder}/{SETTINGS_NAME}"
    if not tf.io.gfile.exists(path):
        return {}
    with tf.io.gfile.GFile(path) as file:
        try:
            return dict(json.loads(file.read()))
        except (ValueError, TypeError) as error:
            raise InputError(f"{path} is damaged: {error}; use another --output") from error


def _claim(job):
    """Records the job in its folder, or checks that the folder's files belong to this job."""
    path = f"{job.folder}/{SETTINGS_NAME}"
    wanted = json.loads(
        json.dumps(
            job.settings
            | {
                "num_images": len(job.labels),
                "num_shards": job.num_shards,
                # In order: the same labels in another order are another job.
                "labels_and_seeds": digest_of_parts([np.stack([job.labels, job.seeds]).tobytes()]),
            }
        )
    )
    found = recorded_settings(job.folder)
    if not found:
        write_whole(path, json.dumps(wanted, indent=2, sort_keys=True) + "\n")
        return
    different = sorted(name for name in wanted if found.get(name) != wanted[name])
    if different:
        raise InputError(
            f"{job.folder} holds images of another job (different: {', '.join(different)}); use another --output"
        )
