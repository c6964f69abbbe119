"""A module's folder, its card and its archive."""

import tarfile

import pytest

from pipelines.components.hub_pusher import write_module


@pytest.mark.parametrize(("replace_card", "expected"), [(False, "first"), (True, "second")])
def test_another_card_is_written_if_wanted_and_the_model_stays(replace_card, expected, tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "saved_model.pb").write_text("model")
    module = tmp_path / "7"
    write_module(str(tmp_path / "model"), "first", str(module))
    (tmp_path / "model" / "saved_model.pb").write_text("another")
    write_module(str(tmp_path / "model"), "second", str(module), replace_card)
    assert (module / "model_card.md").read_text() == expected
    assert (module / "saved_model.pb").read_text() == "model"
    with tarfile.open(f"{module}.tar.gz") as archive:
        assert archive.extractfile("model_card.md").read().decode() == expected
        assert archive.extractfile("saved_model.pb").read() == b"model"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["7", "7.tar.gz", "model"]
