"""The documentation's site builds without a warning: no dead link, no missing page, no unknown name."""

import pathlib
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.system


def test_the_site_builds_strictly_and_loads_nothing_from_elsewhere(tmp_path):
    setup = subprocess.run(["make", "setup-docs"], cwd=ROOT, capture_output=True, text=True)
    if setup.returncode:
        pytest.skip(f"the documentation's environment can't be installed: {setup.stderr.strip()[-300:]}")
    site = tmp_path / "site"
    build = [ROOT / ".venv-docs/bin/python", "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", site]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    pages = {path.relative_to(site).with_suffix(".md").as_posix() for path in site.rglob("*.html")}
    sources = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    assert pages - {"404.md"} == sources
    quantizers = (site / "api" / "quantizers.html").read_text(encoding="utf-8")
    assert "Nearest code of a codebook that is trained by gradients." in quantizers
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        for loaded in ('<script src="http', '<link rel="stylesheet" href="http', '<img src="http'):
            assert loaded not in text, page
    shutil.rmtree(site)
