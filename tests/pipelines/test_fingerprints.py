"""What makes a cached result stale."""

import pytest

from pipelines import fingerprints


def test_code_version_changes_with_every_edit_of_the_source(tmp_path, monkeypatch):
    for package in ("vim_tf", "pipelines"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text("")
    monkeypatch.setattr(fingerprints.vim_tf, "__file__", str(tmp_path / "vim_tf" / "__init__.py"))
    before = fingerprints.code_version()
    assert fingerprints.code_version() == before
    (tmp_path / "pipelines" / "__init__.py").write_text("edited = True\n")
    assert fingerprints.code_version() != before


@pytest.mark.parametrize("kind", ["tfrecord", "parquet", "webdataset"])
def test_the_fingerprint_of_a_glob_changes_with_its_files(kind, tmp_path):
    (tmp_path / "train-0").write_bytes(b"a")
    name = f"{kind}:{tmp_path}/{{split}}-*"
    before = fingerprints.source_fingerprint(name, ("train", "validation"))
    assert fingerprints.source_fingerprint(name, ("train", "validation")) == before
    (tmp_path / "validation-0").write_bytes(b"b")
    assert fingerprints.source_fingerprint(name, ("train", "validation")) != before
