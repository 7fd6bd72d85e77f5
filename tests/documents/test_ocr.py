"""The OCR command runs for scanned files only; its failure is told, and what was read stays."""

import sys
from pathlib import Path

import pytest
from sample_files import GOOD, pdf, png

from dream.documents import ocr
from dream.documents.file_types import ReadingOptions
from dream.documents.readers import read_file


def command(tmp_path: Path, program: str) -> ReadingOptions:
    (tmp_path / "ocr.py").write_text(program)
    return ReadingOptions(ocr_command=f"{sys.executable} '{tmp_path}/ocr.py' {{input}} {{output}}")


GOOD_OCR = "import sys, pathlib; pathlib.Path(sys.argv[2]).write_bytes(pathlib.Path({!r}).read_bytes())"


def test_a_scanned_file_is_read_after_ocr(tmp_path):
    (tmp_path / "good.pdf").write_bytes(pdf(["What the scan says."]))
    options = command(tmp_path, GOOD_OCR.format(str(tmp_path / "good.pdf")))
    reading = read_file("a.pdf", pdf([png()]), options)
    assert reading.pages == ((1, "What the scan says.\n"),)
    assert reading.complete


def test_a_file_with_text_needs_none(tmp_path):
    reading = read_file("a.pdf", GOOD, command(tmp_path, "raise SystemExit('must not run')"))
    assert reading.complete and reading.n_pages == 3


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("raise SystemExit('no such language')", "exit code 1, no such language"),
        ("pass", "FileNotFoundError"),
        ("import sys; open(sys.argv[2], 'w').write('no PDF')", "DamagedFile"),
        ("import time; time.sleep(60)", "it took longer than 1 s"),
    ],
)
def test_ocr_that_fails_is_told(tmp_path, monkeypatch, program, reason):
    monkeypatch.setattr(ocr, "OCR_SECONDS", 1)
    reading = read_file("a.pdf", pdf(["text", png()]), command(tmp_path, program))
    assert reading.pages == ((1, "text\n"),)
    assert f"OCR failed ({reason}" in reading.problem
    assert reading.remedy.startswith("check DREAM_OCR_COMMAND")


def test_a_command_that_is_not_there(tmp_path):
    reading = read_file("a.pdf", pdf([png()]), ReadingOptions(ocr_command="no-such-program {input} {output}"))
    assert "OCR failed (FileNotFoundError" in reading.problem
