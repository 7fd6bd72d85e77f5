"""Files on disk: a write succeeds wholly or changes nothing."""

import os
import subprocess
import sys

import pytest

from dream.errors import StorageError
from dream.settings import Settings
from dream.storage import StoredObject, open_storage

NOWHERE = Settings.from_environment({})


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (PermissionError(13, "Permission denied"), "give this user the permission"),
        (OSError(28, "No space left"), "free some space"),
    ],
)
def test_a_write_that_the_disk_refuses_changes_nothing(tmp_path, monkeypatch, error, advice):
    storage = open_storage(str(tmp_path), NOWHERE)
    storage.write_text("a", "old")

    def refuse(*_):
        raise error

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(StorageError, match=rf"{tmp_path}/a: .*{advice}"):
        storage.write_text("a", "new")
    assert storage.read_text("a") == "old"
    assert os.listdir(tmp_path) == ["a"]


def test_a_writer_that_is_killed_leaves_the_old_content_and_nothing_to_list(tmp_path):
    storage = open_storage(str(tmp_path), NOWHERE)
    storage.write_text("a", "old")
    program = (
        "import sys, pathlib; from dream.storage import local_files\n"
        "def content():\n    yield b'half'; print('half is written', flush=True); sys.stdin.read()\n"
        "local_files.write(pathlib.Path(sys.argv[1]), content())"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "a")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"half is written\n"
        writer.kill()
    assert len(os.listdir(tmp_path)) == 2
    assert storage.list() == [StoredObject("a", 3)]
    assert storage.read_text("a") == "old"
