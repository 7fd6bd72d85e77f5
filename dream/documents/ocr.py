"""OCR of scanned files with the user's command (DREAM_OCR_COMMAND), such as ocrmypdf."""

import shlex
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path

from dream.documents.file_types import Reading
from dream.documents.pdf import read_pdf

OCR_SECONDS = 1800


def after_ocr(reading: Reading, content: bytes, command: str) -> Reading:
    """The reading of a scanned PDF after OCR; if OCR fails, the original reading with the reason.

    `command` is split as by a shell, and run without one; {input} and {output} in it are replaced by file names.
    """
    with tempfile.TemporaryDirectory(prefix="dream-ocr-") as folder:
        source, target = Path(folder, "input.pdf"), Path(folder, "output.pdf")
        source.write_bytes(content)
        arguments = [
            part.replace("{input}", str(source)).replace("{output}", str(target)) for part in shlex.split(command)
        ]
        try:
            done = subprocess.run(arguments, capture_output=True, timeout=OCR_SECONDS, check=False)
            if done.returncode:
                return _failed(reading, f"exit code {done.returncode}, {_last_words(done.stderr)}")
            return read_pdf(target.read_bytes())
        except subprocess.TimeoutExpired:
            return _failed(reading, f"it took longer than {OCR_SECONDS} s")
        except Exception as error:  # noqa: BLE001 - whatever the command leaves behind
            return _failed(reading, f"{type(error).__name__}: {error}"[:300])


def _last_words(output: bytes) -> str:
    return " ".join(output.decode(errors="replace").split())[-300:] or "no message"


def _failed(reading: Reading, reason: str) -> Reading:
    problem = f"{reading.problem}; OCR failed ({reason})"
    remedy = "check DREAM_OCR_COMMAND, and run it by hand on this file"
    return replace(reading, problem=problem, remedy=remedy, is_repeatable=False)
