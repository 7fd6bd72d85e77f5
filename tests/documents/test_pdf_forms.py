"""What a PDF holds besides its pages' text: fields and notes; what is on the page already is not read twice."""

from made_pdfs import filled_form, with_note
from sample_files import pdf, text_of

from dream.documents.pdf_forms import FormKind, form_kind


def kind(content: bytes) -> FormKind:
    import pypdfium2

    return form_kind(pypdfium2.PdfDocument(content))


def test_the_kind_of_form():
    assert kind(pdf(["text"])) == FormKind(False, False, False)
    assert kind(filled_form()) == FormKind(True, False, False)


def test_empty_fields_and_boxes_say_nothing():
    assert "Remark" not in text_of("a.pdf", filled_form())
    assert "Refused" not in text_of("a.pdf", filled_form())


def test_a_note_in_many_lines_is_one_line():
    assert text_of("a.pdf", with_note("text", "Checked\nin May")).splitlines() == ["text", "Note: Checked in May"]
