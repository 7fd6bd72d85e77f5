"""PDFs, good and damaged: what is missing or doubtful is named."""

from collections.abc import Callable

import pytest
from made_pdfs import filled_form, scan_with_stamp, with_font, with_note, xfa_form
from sample_files import GOOD, SENTENCE, encrypted, lines_of, pdf, png, text_of

from dream.documents import load_documents, pdf as pdf_reader
from dream.storage import MemoryStorage


@pytest.mark.parametrize("algorithm", ["RC4-128", "AES-128", "AES-256"])
def test_a_pdf_that_only_its_owner_may_change_is_read(algorithm):
    assert text_of("a.pdf", encrypted("", algorithm)) == f"{SENTENCE}\n"


def test_pages_without_text_are_named():
    loaded = load_documents(MemoryStorage("m", {"a.pdf": pdf(["one", png(), "three", png(), png(), "", "seven"])}))
    assert [document.metadata["page_label"] for document in loaded.documents] == ["1", "3", "7"]
    assert str(loaded.report[0]).startswith("partly   a.pdf, 7 pages: no text on page(s) 2, 4-6 (blank or scanned)")


def test_a_page_that_cannot_be_read_costs_only_itself(monkeypatch):
    original: Callable = pdf_reader.read_page

    def read_page(document, number, form, **options):
        if number == 2:
            raise RecursionError("too deep")
        return original(document, number, form, **options)

    monkeypatch.setattr(pdf_reader, "read_page", read_page)
    loaded = load_documents(MemoryStorage("m", {"a.pdf": GOOD}))
    assert [document.metadata["page_label"] for document in loaded.documents] == ["1", "3"]
    assert "page(s) 2 cannot be read (RecursionError: too deep)" in str(loaded.report[0])


def test_missing_pages_are_named():
    assert b"/Count 3" in GOOD
    line = lines_of({"a.pdf": GOOD.replace(b"/Count 3", b"/Count 5")})["a.pdf"]
    assert line.startswith("partly   a.pdf, 5 pages: page(s) 4-5 cannot be read")


EFFICIENCY = ["The pump e\ufb03ciency of the \ufb01rst o\ufb03ce"] * 3


@pytest.mark.parametrize(
    ("content", "text", "problem"),
    [
        (with_font(EFFICIENCY, {"\ufb03": "ffi", "\ufb01": "fi"}), "The pump efficiency of the first office", ""),
        (
            with_font(EFFICIENCY, {"\ufb03": "\ue000", "\ufb01": "\ue001"}),
            "The pump e\ue000ciency",
            "page(s) 1: private-use characters",
        ),
        (with_font(["In \uf001ne \uf731\uf739 days", "more"], {}), "In fine 19 days\nmore", ""),
        (with_font(["\uf0b7 an item", "\uf0b7 another"], {}), "• an item\n• another", ""),
        (
            with_font(EFFICIENCY, {"\ufb03": "\0", "\ufb01": "\0"}),
            "The pump e\ufffdciency of the \ufffdrst o\ufffdce",
            "page(s) 1: characters that stand for no letter",
        ),
        (
            with_font(EFFICIENCY, {"\ufb03": "\x03", "\ufb01": "\x07"}),
            "The pump e\ufffdciency",
            "page(s) 1: characters that stand for no letter",
        ),
        (with_font(EFFICIENCY, None), "", "page(s) 1: letters without a character map"),
        (
            scan_with_stamp("RECEIVED 3 MAY"),
            "A page of text.\n|RECEIVED 3 MAY",
            "page(s) 2: a picture covers the page and there is little text",
        ),
    ],
    ids=["mapped", "private", "known private", "bullets", "nul", "control", "no map", "stamp"],
)
def test_doubtful_pages_are_named(content, text, problem):
    loaded = load_documents(MemoryStorage("m", {"a.pdf": content}))
    assert "|".join(document.text for document in loaded.documents).startswith(text)
    assert loaded.report[0].status == ("partly" if problem else "read")
    assert loaded.report[0].problem.startswith(problem)


def test_values_of_a_form_are_read():
    assert (
        text_of("a.pdf", filled_form()) == "Order form\nCustomer: Brightwater Council\nApproved: Yes\nDelivery: Rail\n"
    )


def test_notes_are_read():
    assert text_of("a.pdf", with_note(SENTENCE, "Checked in May")) == f"{SENTENCE}\nNote: Checked in May\n"


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (xfa_form("Please wait...", dynamic=True), "skipped"),
        (xfa_form("Please wait... If this message is not eventually replaced", dynamic=False), "skipped"),
        (xfa_form("The grant is 4,200 crowns.", dynamic=True), "skipped"),
        (xfa_form("The grant is 4,200 crowns.", dynamic=False), "read"),
        (pdf(["Please wait..."]), "read"),
    ],
)
def test_a_form_that_only_adobe_draws_is_not_its_placeholder(content, status):
    line = lines_of({"a.pdf": content})["a.pdf"]
    assert line.startswith(status)
    assert ("dynamic XFA form" in line) == (status == "skipped")
