"""What makes a cached result stale."""

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
