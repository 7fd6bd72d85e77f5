"""CSV in the encodings, separators and quotings of spreadsheets and databases, with the row that Excel shows."""

import pytest

from dream.golden.csv_files import decoded, read_csv

HEAD = "question,ground_truth\n"


def rows_of(content: str | bytes) -> list[tuple[int, str, str]]:
    sheet = read_csv(content if isinstance(content, bytes) else content.encode())
    assert sheet.problems == ()
    return [(row.number, row.cells["question"], row.cells["ground_truth"]) for row in sheet.rows]


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("question;ground_truth\r\nHow much, roughly?;7,5 %\r\n", [(2, "How much, roughly?", "7,5 %")]),
        ("question\tground_truth\nHow high, then?\t42 m; or so\n", [(2, "How high, then?", "42 m; or so")]),
        ("question|ground_truth\nHow high?|42 m, or so\n", [(2, "How high?", "42 m, or so")]),
        ("note;question;ground_truth\na,b,c,d;How?;42 m\n", [(2, "How?", "42 m")]),
        ("sep=;\r\nquestion;ground_truth\r\nHow high?;42 m\r\n", [(2, "How high?", "42 m")]),
        ('"sep=;"\r\nquestion;ground_truth\r\nHow high?;42 m\r\n', [(2, "How high?", "42 m")]),
        ("SEP=^\nquestion^ground_truth\nHow high?^42 m\n", [(2, "How high?", "42 m")]),
        (HEAD + "How high?,42 m\n\n\n,\n  , \nHow low?,3 m\n\n", [(2, "How high?", "42 m"), (7, "How low?", "3 m")]),
        (HEAD + '"How\nhigh?","42\r\nm"\nHow low?,3 m\n', [(2, "How\nhigh?", "42\r\nm"), (3, "How low?", "3 m")]),
        ("\n\n" + HEAD + "How high?,42 m\n", [(4, "How high?", "42 m")]),
        (HEAD.replace("\n", "\r") + "How high?,42 m\rHow low?,3 m", [(2, "How high?", "42 m"), (3, "How low?", "3 m")]),
        (HEAD + "How high?,42 m,,\n", [(2, "How high?", "42 m")]),
        (HEAD + 'How high?, "42 m, more or less"\n', [(2, "How high?", "42 m, more or less")]),
        (HEAD + 'How high?,   "42 m"\n', [(2, "How high?", "42 m")]),
        (HEAD + '"How high?" , "42 m, more or less"  \n', [(2, "How high?", "42 m, more or less")]),
        (HEAD + '"He said \\"no, never\\"",42 m\n', [(2, 'He said "no, never"', "42 m")]),
        (HEAD + 'How "high" is it?,42 m\n', [(2, 'How "high" is it?', "42 m")]),
        (
            "| question | ground_truth |\n|---|:--:|\n| How high? | 42 m |\n\n|How low?|3 m|\n",
            [(3, "How high?", "42 m"), (5, "How low?", "3 m")],
        ),
        (HEAD + "“How high, then?”,“42 m, or so”\n", [(2, "How high, then?", "42 m, or so")]),
        (HEAD + "„Wie hoch, genau?“, „42 m“\r\n", [(2, "Wie hoch, genau?", "42 m")]),
        (HEAD + "«Quelle hauteur, alors?»,«42 m»\n", [(2, "Quelle hauteur, alors?", "42 m")]),
        (HEAD + "'How high, then?','42 m'\n", [(2, "How high, then?", "42 m")]),
        (HEAD + "“How high?”,42 m\n", [(2, "“How high?”", "42 m")]),
        ("question，ground_truth\n高さは？，42 m\n", [(2, "高さは？", "42 m")]),
        (HEAD + '"  spaces around ","007, NA"\n', [(2, "  spaces around ", "007, NA")]),
    ],
)
def test_separators_blank_rows_and_quotes(text: str, rows: list):
    assert rows_of(text) == rows


TEXT = "question;ground_truth\r\nWie hoch ist Köln über dem Meer?;42 m – größer als „früher“\r\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("mark", [False, True])
def test_unicode_is_known_with_and_without_its_mark(encoding: str, mark: bool):
    text = f"\ufeff{TEXT}" if mark and encoding in ("utf-16-le", "utf-16-be") else TEXT
    assert decoded(text.encode(encoding))[1] == ""
    assert rows_of(text.encode(encoding)) == [(2, "Wie hoch ist Köln über dem Meer?", "42 m – größer als „früher“")]


NAMES = {"cp1252": "Windows-1252", "cp1251": "Windows-1251", "cp932": "Shift-JIS", "gb18030": "GB18030 (GBK)"}


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (TEXT, "cp1252"),
        (HEAD + "Quelle est la durée prévue à l’été?,Une année\n", "cp1252"),
        (HEAD + "Wo liegt Köln?,Am Rhein\nWie heißt er?,Müller\n", "cp1252"),
        (HEAD + "Какая высота у плотины?,Сорок два метра над уровнем моря\n", "cp1251"),
        (HEAD + "高さは何メートルですか?,四十二メートルです。\n", "cp932"),
        (HEAD + "水坝的高度是多少?,四十二米。\n", "gb18030"),
    ],
)
def test_other_encodings_are_guessed_and_the_guess_is_told(text: str, encoding: str):
    assert decoded(text.encode(encoding)) == (
        text,
        f"it is not UTF-8; its encoding was guessed, and read as {NAMES[encoding]}: "
        "if characters look wrong, save it as 'CSV UTF-8'",
    )
    assert read_csv(text.encode(encoding)).notes[0].startswith("it is not UTF-8")


@pytest.mark.parametrize("letters", ["Größe, Länge, Höhe", "Größe", "é"])
def test_one_bad_byte_costs_one_character(letters: str):
    text, note = decoded(letters.encode() + b"\xff")
    assert text == f"{letters}\ufffd"
    assert note.startswith("1 broken character(s)")


@pytest.mark.parametrize(
    ("text", "row", "problem"),
    [
        (HEAD + "a,b\nHow many, roughly?,7\n", 3, "3 fields, but the header (row 1) has 2; the first extra one is '7'"),
        (HEAD + "\n\nHow many, roughly?,7\n", 4, "3 fields"),
        (HEAD + '"one\ntwo",b\nHow many, roughly?,7\n', 3, "3 fields"),
        (HEAD + 'a,b\n"How "high"?",42 m\n', 3, "quotes are not balanced"),
        (HEAD + 'a,b\n"How high?,42 m\nc,d\n', 3, "quotes are not balanced"),
    ],
)
def test_a_broken_record_is_named_with_its_row(text: str, row: int, problem: str):
    sheet = read_csv(text.encode())
    (found,) = sheet.problems
    assert found[0] == row
    assert problem in found[1]
    assert "write its own quotes twice" in sheet.remedy


def test_short_records_are_filled_up_and_told():
    sheet = read_csv(b"question,ground_truth,note\na,b\nc,d\ne,f,g\n")
    assert [row.cells["note"] for row in sheet.rows] == ["", "", "g"]
    assert sheet.notes == ("rows 2-3: fewer fields than the header; missing ones are read as empty",)


def test_nothing_at_all_is_a_sheet_without_columns():
    assert read_csv(b"") == read_csv(b"\n\n") == read_csv(b"\xef\xbb\xbf")
    assert read_csv(b"").columns == ()


@pytest.mark.parametrize("question", ["“Yes”, he said, “it is”", "“How “high”, then?”"])
def test_typographic_quotes_that_do_not_pair_are_named(question: str):
    sheet = read_csv((HEAD + f"{question},42 m\n").encode())
    assert sheet.problems[0][0] == 2
    assert "typographic quotes" in sheet.remedy
    assert "typographic" not in read_csv((HEAD + "a,b,c\n").encode()).remedy
