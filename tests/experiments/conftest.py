"""Fixtures of whole experiments."""

import pytest

from dream.settings import Settings
from dream.storage.opening import open_storage


@pytest.fixture(scope="module")
def mlflow_is_not_waited_for():
    """For the tests of a file whose MLflow is down."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        yield


@pytest.fixture
def documents(home: Settings) -> Settings:
    """A home with a small document."""
    storage = open_storage(home.documents_uri, home)
    storage.ensure()
    storage.write_bytes("town.txt", b"Ida Brandt tunes the harbour organ. " * 30)
    return home
