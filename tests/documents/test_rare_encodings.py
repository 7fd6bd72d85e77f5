"""Encodings that show themselves by their own marks, and short texts of DOS: guessed and told."""

import unicodedata

import pytest

from dream.documents.rare_encodings import is_vietnamese, utf_32_without_mark
from dream.documents.text_encoding import Decoded, decode

TEXTS = {
    "de": "Die Überprüfung der Förderhöhe ist größtenteils abgeschlossen.",
    "ru": "Насосная станция была построена в 1987 году.",
    "zh": "泵站建于一九八七年，每秒输送四十二升水。",
}
VIETNAMESE = "Trạm bơm được xây dựng năm 1987 và lấy nước từ con sông ở đập cũ."
TONES = "\u0300\u0301\u0303\u0309\u0323"


def in_windows_1258(text: str) -> bytes:
    """Vietnamese as Windows writes it: letters of the alphabet, each with its tone behind it."""
    toned = []
    for letter in text:
        marks = unicodedata.normalize("NFD", letter)
        tones = "".join(mark for mark in marks if mark in TONES)
        toned.append(unicodedata.normalize("NFC", "".join(mark for mark in marks if mark not in TONES)) + tones)
    return "".join(toned).encode("cp1258")


@pytest.mark.parametrize("lines", [1, 30])
def test_vietnamese(lines):
    content = in_windows_1258(f"{VIETNAMESE}\n" * lines)
    decoded = decode(content)
    assert decoded.text == f"{VIETNAMESE}\n" * lines
    assert decoded.problem.endswith("read as Windows-1258") and not decoded.is_certain
    assert decode(content, "windows-1258").text == decoded.text


@pytest.mark.parametrize(
    ("text", "encoding", "name"),
    [
        ("这个泵站建于一九八七年。Pump A 42 l/s\n", "hz", "HZ (GB2312)"),
        ("Die Überprüfung der Förderhöhe ist größtenteils abgeschlossen.\n", "utf-7", "UTF-7"),
        ("泵站建于一九八七年，每秒输送四十二升水。主轴 A 每六个月检查一次。\n", "utf-7", "UTF-7"),
        ("PUMP STATION 12 WAS BUILT IN 1987\nand takes its water from the river, at the old weir.\n", "cp037",
         "EBCDIC (IBM037)"),
        ("Die Pumpe wurde 1987 gebaut und nimmt ihr Wasser aus dem Fluss am alten Wehr.\n", "cp500",
         "EBCDIC (IBM037)"),
    ],
)  # fmt: skip
def test_encodings_that_show_themselves_are_guessed_and_told(text, encoding, name):
    decoded = decode(text.encode(encoding))
    assert decoded.text == text
    assert decoded.problem == f"it is not UTF-8; its encoding was guessed, and read as {name}"
    assert not decoded.is_certain


@pytest.mark.parametrize(
    "text",
    [
        "a ~{ b ~} in code, ~{x} and 1+1=2, C++ and C+-; +49-30-1234, +4930123456 and +12025550123.",
        "cat a+b- c+d- > e; dXNlcjpwYXNz+YWJj+abc-",
        "The weir is 42 m high.",
    ],
)
def test_plain_ascii_stays_as_it_is(text):
    assert decode(text.encode()) == Decoded(text)


@pytest.mark.parametrize("encoding", ["utf-32-le", "utf-32-be"])
@pytest.mark.parametrize("language", ["de", "ru", "zh"])
def test_utf_32_without_a_mark(encoding, language):
    assert decode(TEXTS[language].encode(encoding)) == Decoded(TEXTS[language])


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("Größe", "cp850"),
        ("Müller", "cp850"),
        ("Le café est fermé", "cp850"),
        ("Die Überprüfung der Förderhöhe ist abgeschlossen.", "cp850"),
        ("¿Qué altura tiene el señor?", "cp850"),
        ("Stacja pobiera wodę z rzeki. Załoga sprawdza główny wirnik.", "cp852"),
        ("Výška hráze je čtyřicet metrů.", "cp852"),
        ("He said “no”, then… „ja“, it’s 5 €", "cp1252"),
        ("naïve café", "cp1252"),
        ("l’été", "cp1252"),
    ],
)
def test_one_line_of_dos_or_windows(text, encoding):
    decoded = decode(text.encode(encoding))
    assert (decoded.text, decoded.is_certain) == (text, False)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("label", ["iso-8859-1", "shift_jis", "utf-7", "no-such"])
def test_a_mark_is_more_than_a_label(encoding, label):
    assert decode(TEXTS["de"].encode(encoding), label).text.removeprefix("\ufeff") == TEXTS["de"]


def test_what_only_looks_like_these():
    assert utf_32_without_mark(b"\x00\x01" * 50) is None
    assert not is_vietnamese("Può essere che ciò sia però così.".encode("cp1252"))
    assert not is_vietnamese(TEXTS["ru"].encode("cp1251"))
