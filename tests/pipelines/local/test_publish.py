"""Results of the pushed run under fixed names."""

import os

import pytest

from pipelines.local import publish
from vim_tf.errors import InputError


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def publish_run(output, run):
    folders = {}
    for name in publish.LINKS:
        write(output / "artifacts" / run / name / "which", run)
        folders[name] = str(output / "artifacts" / run / name)
    for name in publish.FILES:
        write(output / "artifacts" / run / "evaluation" / name, run)
    publish.publish(str(output), folders, str(output / "artifacts" / run / "evaluation"))


def test_a_later_run_replaces_an_earlier_one(tmp_path):
    for run in ("first", "second"):
        publish_run(tmp_path, run)
        assert [(tmp_path / name / "which").read_text() for name in publish.LINKS] == [run] * 3
        assert [(tmp_path / name).read_text() for name in publish.FILES] == [run] * 2
    assert sorted(os.listdir(tmp_path)) == sorted(["artifacts", *publish.LINKS, *publish.FILES])


def test_results_survive_a_move_of_the_output(tmp_path):
    publish_run(tmp_path / "here", "run")
    os.rename(tmp_path / "here", tmp_path / "there")
    assert (tmp_path / "there" / "tokenizer" / "which").read_text() == "run"


def test_a_folder_of_the_same_name_is_not_overwritten(tmp_path):
    write(tmp_path / "tokenizer" / "config.json", "mine")
    with pytest.raises(InputError, match="tokenizer was not made by the pipeline"):
        publish.check_free(str(tmp_path))


def test_own_links_are_no_obstacle(tmp_path):
    publish_run(tmp_path, "run")
    publish.check_free(str(tmp_path))


def test_a_version_without_its_last_file_is_removed_and_what_pusher_did_not_make_stays(tmp_path):
    write(tmp_path / "1700000001" / "saved_model.pb", "whole")
    write(tmp_path / "1700000002" / "variables" / "half", "half")
    write(tmp_path / "other_models" / "1" / "saved_model.pb", "of another model")
    write(tmp_path / "2" / "notes", "mine")
    publish.remove_unfinished_pushes(str(tmp_path))
    assert sorted(os.listdir(tmp_path)) == ["1700000001", "2", "other_models"]


def test_a_lost_version_comes_back_from_the_archive(tmp_path):
    write(tmp_path / "archive" / "saved_model.pb", "model")
    write(tmp_path / "serving" / "1" / "saved_model.pb", "kept")
    for version in ("1", "2"):
        publish.restore_pushed_model(str(tmp_path / "archive"), str(tmp_path / "serving" / version))
    assert (tmp_path / "serving" / "1" / "saved_model.pb").read_text() == "kept"
    assert (tmp_path / "serving" / "2" / "saved_model.pb").read_text() == "model"
