"""`vim_tf.evaluate` on images with an empty class."""

import json

import numpy as np
import pytest
import tensorflow as tf

from tests.data.sources.container_files import write_parquet
from tests.testing import language_model_config, replace, save_untrained_tokenizer
from vim_tf import config as configs
from vim_tf import evaluate
from vim_tf.data import sources
from vim_tf.data.records.encode import tokenizer_facts
from vim_tf.models.language_model import build_language_model
from vim_tf.stages import saved


@pytest.fixture(scope="module")
def shifted_digits(tmp_path_factory):
    """Source of scans whose labels begin at 1: 11 classes, the first of which has no image."""
    folder = tmp_path_factory.mktemp("digits")
    for split in configs.SPLITS:
        scans = list(sources.open_source("digits", split, 8, 8).ordered().take(100).as_numpy_iterator())
        images = [tf.io.encode_png(scan["image"]).numpy() for scan in scans]
        write_parquet(folder / f"{split}-0.parquet", images, [int(scan["label"]) + 1 for scan in scans])
    return f"parquet:{folder}/{{split}}-*"


@pytest.mark.slow
def test_no_samples_of_an_empty_class_are_drawn_and_the_report_names_it(shifted_digits, tmp_path):
    tokenizer = save_untrained_tokenizer(tmp_path / "tokenizer")
    facts = configs.TokenFacts(**tokenizer_facts(saved.load_tokenizer(tokenizer)), num_classes=11)
    config = replace(language_model_config(tmp_path / "language_model", "unused"), model={"tokens": facts})
    saved.save_stage(build_language_model(config.model), config, config.workdir)
    evaluate.run(
        configs.EvaluateCommand(
            tokenizer=tokenizer,
            language_model=config.workdir,
            data=configs.DataConfig(shifted_digits),
            evaluation=configs.EvaluationConfig(kind=("generation",), samples_per_label=2, feature_steps=5),
            output=f"{tmp_path}/evaluation",
        )
    )
    measured = json.loads((tmp_path / "evaluation" / "metrics.json").read_text())["conditions"]
    measured = measured["generation/label_accuracy"]["measured"]
    assert (measured["num_images"], measured["labels_drawn"]) == (20, "10 of 11")
    report = (tmp_path / "evaluation" / "report.html").read_text()
    assert "classes without a training image" in report
    labels = sources.open_source(shifted_digits, "train", 8, 8).labels
    assert np.unique(labels).tolist() == list(range(1, 11))
