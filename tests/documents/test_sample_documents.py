"""The sample PDFs: up to date with their sources, reproducible, and readable by pypdf with every sign intact."""

import re
import runpy
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pypdf
import pytest

from dream.documents.sample_documents import sample_documents

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
SOURCES = NOTEBOOKS / "sample_sources"
PDFS = sorted((NOTEBOOKS / "sample_documents").glob("*.pdf"))
every_pdf = pytest.mark.parametrize("pdf", PDFS, ids=lambda path: path.stem)


@pytest.fixture(scope="module")
def script() -> SimpleNamespace:
    return SimpleNamespace(**runpy.run_path(str(SOURCES / "make_sample_documents.py")))


@pytest.fixture(scope="module")
def written(script, tmp_path_factory) -> list[Path]:
    return script.make_sample_documents(tmp_path_factory.mktemp("written"))


def test_the_package_leads_to_the_pdfs_of_the_notebooks():
    assert sample_documents().resolve() == (NOTEBOOKS / "sample_documents").resolve()
    assert sorted(path.name for path in sample_documents().glob("*.pdf")) == [path.name for path in PDFS]


def page_texts(pdf: Path) -> list[str]:
    return [page.extract_text() for page in pypdf.PdfReader(pdf).pages]


def source_of(script, pdf: Path) -> tuple[dict[str, str], str]:
    return script.split_front_matter((SOURCES / "text" / f"{pdf.stem}.md").read_text(encoding="utf-8"))


def unpacked(pdf: Path) -> list:
    """Return the objects of a PDF with their streams unpacked: zlib libraries pack the same bytes differently."""
    reader = pypdf.PdfReader(pdf)
    objects = [reader.get_object(number) for number in range(1, reader.trailer["/Size"])]
    return [o.get_data() if isinstance(o, pypdf.generic.StreamObject) else repr(o) for o in objects]


def test_there_is_one_pdf_for_each_source():
    assert len(PDFS) >= 9
    assert [pdf.stem for pdf in PDFS] == sorted(source.stem for source in SOURCES.glob("text/*.md"))


def test_files_are_small():
    assert max(pdf.stat().st_size for pdf in PDFS) < 100_000
    assert sum(pdf.stat().st_size for pdf in PDFS) < 700_000


def test_writing_twice_gives_the_same_bytes(script, written, tmp_path):
    again = script.make_sample_documents(tmp_path)
    assert [path.name for path in again] == [path.name for path in written]
    assert [path.read_bytes() for path in again] == [path.read_bytes() for path in written]


@every_pdf
def test_pdf_in_the_folder_is_what_the_script_writes(pdf, written):
    fresh = next(path for path in written if path.name == pdf.name)
    if fresh.read_bytes() != pdf.read_bytes():
        assert unpacked(fresh) == unpacked(pdf), f"{pdf.name} is out of date: run make_sample_documents.py"


@every_pdf
def test_three_to_eight_pages_and_all_have_text(pdf):
    texts = page_texts(pdf)
    assert 3 <= len(texts) <= 8
    assert min(len(text.split()) for text in texts) > 80


@every_pdf
def test_every_character_of_the_source_can_be_extracted(script, pdf):
    _, body = source_of(script, pdf)
    wanted = Counter(re.sub(r"[\s*#|`-]", "", body))
    missing = wanted - Counter("".join(page_texts(pdf)))
    markers = Counter("barslabel:" if "```bars" in body else "")
    assert not missing - markers


@every_pdf
def test_a_number_stays_with_its_unit(script, pdf):
    _, body = source_of(script, pdf)
    text = " ".join(" ".join(page_texts(pdf)).split())
    measurements = re.findall(r"[\d.,]+\N{NO-BREAK SPACE}[%°\w/]+", script.inline(body))
    assert len(measurements) >= 20
    assert [found for found in measurements if found.replace("\N{NO-BREAK SPACE}", " ") not in text] == []


@every_pdf
def test_metadata(script, pdf):
    meta, _ = source_of(script, pdf)
    found = pypdf.PdfReader(pdf).metadata
    assert (found.title, found.subject, found.author) == (meta["title"], meta["subject"], meta["publisher"])
    assert found.keywords == meta["keywords"]
