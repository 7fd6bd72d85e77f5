"""An empty place in each kind of storage, and each S3 server."""

import uuid

import pytest

from dream.settings import Settings
from dream.storage import Storage, open_storage

SERVERS = ("moto", "minio")


@pytest.fixture(params=["local", *SERVERS])
def storage(request, tmp_path) -> Storage:
    """An empty place in each kind of storage."""
    if request.param == "local":
        opened = open_storage(str(tmp_path / "root"), Settings.from_environment({}))
    else:
        settings = request.getfixturevalue(request.param).settings()
        opened = open_storage(f"s3://tests/{uuid.uuid4().hex}/with space é", settings)
    opened.ensure()
    return opened


@pytest.fixture(params=SERVERS)
def server(request):
    return request.getfixturevalue(request.param)
