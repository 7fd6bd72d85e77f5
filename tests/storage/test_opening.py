"""URIs of storage: valid ones open, others are refused with what is valid."""

from pathlib import Path

import pytest

from dream.errors import ConfigurationError
from dream.settings import Settings
from dream.storage import open_storage

NOWHERE = Settings.from_environment({})


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("s3://bucket", "s3://bucket"),
        ("s3://bucket/", "s3://bucket"),
        ("S3://bucket/a b/ü/", "s3://bucket/a b/ü"),
        ("s3://bucket/a#b?c", "s3://bucket/a#b?c"),
        ("file:///tmp/a%20b/", "/tmp/a b"),
        ("/tmp/a#b", "/tmp/a#b"),
    ],
)
def test_uris(uri, expected):
    opened = open_storage(uri, NOWHERE)
    assert opened.uri() == expected
    assert opened.uri("k/l") == f"{expected}/k/l"
    assert open_storage(opened.uri(), NOWHERE) == opened


@pytest.mark.parametrize("uri", ["", " ", "s3:/bucket", "s3://", "gs://bucket/x", "file://host/x", "https://host/x"])
def test_a_uri_that_is_none_says_what_is_valid(uri):
    with pytest.raises(ConfigurationError, match="s3://bucket/prefix"):
        open_storage(uri, NOWHERE) if uri != "s3://" else open_storage("s3:", NOWHERE)


@pytest.mark.parametrize(
    "name", ["", "ab", "a" * 64, "Upper", "under_score", "-a-", "a..b", "10.0.0.1", "a b", "bücket"]
)
def test_an_impossible_bucket_name_says_the_rule(name):
    with pytest.raises(ConfigurationError, match="3 to 63 lower-case letters"):
        open_storage(f"s3://{name}/x", NOWHERE)


def test_a_path_is_taken_as_it_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert open_storage("data", NOWHERE).uri("a") == str(Path(tmp_path, "data", "a"))
