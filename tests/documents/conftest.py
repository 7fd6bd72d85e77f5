"""An empty folder for documents."""

from pathlib import Path

import pytest

from dream.settings import Settings
from dream.storage import Storage, open_storage


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return open_storage(str(tmp_path / "documents"), Settings.from_environment({}))
