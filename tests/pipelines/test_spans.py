"""Spans and versions of the images, as TFX's ExampleGen finds them."""

import pytest

from vim_tf.config import DataConfig
from vim_tf.errors import InputError

pytestmark = pytest.mark.slow  # for importing TFX


@pytest.fixture
def resolve(tmp_path):
    """Function from a path below tmp_path, a span and a version to the path, span and version that are found."""
    from pipelines import spans

    for span, version in ((1, 1), (2, 1), (2, 10), (2, 9), (10, 1)):
        for split in ("train", "validation"):
            (tmp_path / f"span-{span}" / f"v{version}" / split).mkdir(parents=True)
            (tmp_path / f"span-{span}" / f"v{version}" / split / "x.tar").write_bytes(b"")

    def run(path, span=-1, version=-1, kind="folder"):
        data, *numbers = spans.resolve(DataConfig(f"{kind}:{tmp_path}/{path}"), span, version)
        return data.source.removeprefix(f"{kind}:{tmp_path}/"), *numbers

    return run


def test_the_latest_span_and_its_latest_version_are_numbers_not_texts(resolve):
    assert resolve("span-{SPAN}/v{VERSION}/{split}") == ("span-10/v1/{split}", 10, 1)
    assert resolve("span-{SPAN}/v{VERSION}/{split}", span=2) == ("span-2/v10/{split}", 2, 10)


def test_a_version_can_be_given(resolve):
    assert resolve("span-{SPAN}/v{VERSION}/{split}", span=2, version=9) == ("span-2/v9/{split}", 2, 9)
    assert resolve("span-{SPAN}/v{VERSION}/{split}", version=10) == ("span-2/v10/{split}", 2, 10)


def test_a_folder_without_split_and_a_glob_of_files_are_found_too(resolve):
    assert resolve("span-{SPAN}/v{VERSION}/") == ("span-10/v1/", 10, 1)
    assert resolve("span-{SPAN}/v1/{split}/*.tar", kind="webdataset") == ("span-10/v1/{split}/*.tar", 10, 0)


def test_a_date_is_the_days_since_1970(tmp_path):
    from pipelines import spans

    (tmp_path / "1970-01-11").mkdir()
    (tmp_path / "1970-02-01").mkdir()
    data, span, version = spans.resolve(DataConfig(f"folder:{tmp_path}/{{YYYY}}-{{MM}}-{{DD}}"), -1, -1)
    assert (data.source, span, version) == (f"folder:{tmp_path}/1970-02-01", 31, 0)


def test_other_sources_stay_as_they_are():
    from pipelines import spans

    data = DataConfig("digits")
    assert spans.resolve(data, -1, -1) == (data, 0, 0)


def test_what_cannot_be_resolved_is_reported(resolve, tmp_path):
    def refusal(*arguments, **settings):
        with pytest.raises(InputError) as caught:
            resolve(*arguments, **settings)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "Cannot find matching" in refusal("span-{SPAN}/v{VERSION}/{split}", span=3)
    assert "--span=3 needs a {SPAN}" in refusal("span-2/v1", span=3)
    assert "--version=3 needs a {VERSION}" in refusal("span-{SPAN}/v1", version=3)
    assert "Span or Date spec is not present" in refusal("span-2/v{VERSION}")
    (tmp_path / "span-11" / "v1" / "train").mkdir(parents=True)
    assert "Latest span should be the same for each split" in refusal("span-{SPAN}/v{VERSION}/{split}")
    (tmp_path / "span-020").mkdir()
    assert "leading zeros" in refusal("span-{SPAN}")
