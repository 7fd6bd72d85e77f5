"""Objects in a folder."""

import os

import pytest

from dream.errors import StorageError
from dream.settings import Settings
from dream.storage import StoredObject, open_storage

NOWHERE = Settings.from_environment({})


def test_a_folder_that_is_not_there_is_empty_and_is_made_by_a_write(tmp_path):
    storage = open_storage(str(tmp_path / "new" / "folder"), NOWHERE)
    assert storage.list() == []
    assert not storage.exists("a")
    storage.write_text("a/b", "")
    assert [item.key for item in storage.list()] == ["a/b"]


def test_a_file_is_not_a_folder(tmp_path):
    (tmp_path / "file").write_text("x")
    storage = open_storage(str(tmp_path / "file"), NOWHERE)
    for call in (storage.ensure, storage.list, lambda: storage.write_text("a", "")):
        with pytest.raises(StorageError, match=r"/file.*is a file, not a folder"):
            call()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_rights(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(StorageError, match="give this user the permission"):
        open_storage(str(tmp_path), NOWHERE).write_text("a", "")


def test_links_pipes_and_missing_targets_in_a_folder(tmp_path):
    (tmp_path / "elsewhere.txt").write_text("x")
    root = tmp_path / "root"
    root.mkdir()
    (root / "link.txt").symlink_to(tmp_path / "elsewhere.txt")
    (root / "broken.txt").symlink_to(tmp_path / "nothing")
    os.mkfifo(root / "pipe.txt")
    assert open_storage(str(root), NOWHERE).list() == [StoredObject("link.txt", 1)]
