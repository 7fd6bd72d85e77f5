"""One's own questions: read as they are meant, or refused on a page that names every mistake with its row."""

import gzip
import io
import json
import zipfile

import pandas
import pytest

from dream.errors import DataError
from dream.golden.own_questions import OwnQuestions, is_question_file, read_questions
from dream.records import EvidenceSpan, GoldenQuestion, Source

HEAD = "question,ground_truth\n"


def read(content: str | bytes) -> OwnQuestions:
    return read_questions(content if isinstance(content, bytes) else content.encode(), "mine")


def refused(content: str | bytes) -> list[str]:
    with pytest.raises(DataError) as caught:
        read(content)
    return str(caught.value).splitlines()


def pairs(content: str | bytes) -> list[tuple[str, str]]:
    return [(one.question, one.ground_truth) for one in read(content).questions]


def workbook(table: pandas.DataFrame) -> bytes:
    stream = io.BytesIO()
    table.to_excel(stream, index=False)
    return stream.getvalue()


def parquet(table: pandas.DataFrame) -> bytes:
    stream = io.BytesIO()
    table.to_parquet(stream)
    return stream.getvalue()


TABLE = pandas.DataFrame(
    {
        "user_input": ["How high, about?", "How low?"],
        "reference_contexts": [["It is 42 m.", "Or so."], ["3 m."]],
        "reference": ["42 m", "3 m"],
        "source_file": ["a.pdf", None],
        "source_page": [3, None],
    }
)


@pytest.mark.parametrize(
    "content",
    [
        TABLE.to_csv().encode(),
        TABLE.to_csv(index=False, sep=";").encode("utf-16"),
        TABLE.to_csv(index=False, sep="\t").encode("utf-8-sig"),
        TABLE.to_csv(index=False, lineterminator="\r\n").encode("cp1252"),
        TABLE.to_json(orient="records").encode(),
        TABLE.to_json(orient="records", lines=True).encode(),
        TABLE.to_json().encode(),
        TABLE.to_json(orient="split").encode(),
        json.dumps({"examples": json.loads(TABLE.to_json(orient="records"))}).encode(),
        workbook(TABLE),
        parquet(TABLE),
        gzip.compress(TABLE.to_csv(index=False).encode()),
    ],
)
def test_what_pandas_and_ragas_write_is_the_same_in_every_form(content: bytes):
    questions = read(content).questions
    assert [(one.question, one.ground_truth) for one in questions] == [
        ("How high, about?", "42 m"),
        ("How low?", "3 m"),
    ]
    assert [one.reference_contexts for one in questions] == [("It is 42 m.", "Or so."), ("3 m.",)]
    assert [one.sources for one in questions] == [(Source("a.pdf", "3"),), ()]


def test_the_testset_of_ragas_0_1_keeps_its_contexts_and_files():
    content = (
        "question,contexts,ground_truth,evolution_type,metadata,episode_done\n"
        "How high?,\"['It is 42 m.']\",42 m,simple,\"[{'source': 'a.pdf'}]\",True\n"
    )
    own = read(content)
    (one,) = own.questions
    assert (one.reference_contexts, one.sources, one.synthesizer) == (("It is 42 m.",), (Source("a.pdf"),), "simple")
    assert "unused columns: episode_done" in own.notes


def test_what_a_system_retrieved_is_no_reference_and_told():
    own = read("question,answer,contexts,ground_truths\nHow high?,41 m,\"['x']\",\"['42 m', '42 metres']\"\n")
    (one,) = own.questions
    assert (one.ground_truth, one.reference_contexts) == ("42 m", ())
    assert "unused columns: answer, contexts" in own.notes
    assert "row 2: several ground truths; the first is used" in own.notes


def test_one_passage_as_it_is():
    (one,) = read("question,ground_truth,context\nHow high?,42 m,[sic] It is 42 m.\n").questions
    assert one.reference_contexts == ("[sic] It is 42 m.",)


def test_a_column_in_dreams_own_names_tells_nothing():
    assert (
        read("id,question,ground_truth,reference_contexts,source_file,source_page,synthesizer\n,a,b,,,,\n").notes == ()
    )


def test_the_place_of_evidence_is_read_as_dream_writes_it_and_anything_else_is_a_mistake():
    header = "question,ground_truth,evidence_spans\n"
    place = '"[{""file"": ""a.md"", ""digest"": ""9f"", ""start"": 3, ""end"": 17, ""pages"": [""1""]}]"'
    first, second = read(f"{header}a?,b,{place}\nc?,d,\n").questions
    assert first.evidence == (EvidenceSpan("a.md", "9f", 3, 17, ("1",)),)
    assert second.evidence == ()
    for wrong in ("page 3", place.replace("17", "2"), place.replace("start", "begin")):
        with pytest.raises(DataError, match="row 2: evidence_spans is not in DREAM's format"):
            read(f"{header}a?,b,{wrong}\n")


@pytest.mark.parametrize("truth", ["nan", "None", "N/A", ""])
def test_a_text_that_dream_wrote_is_kept_though_it_looks_like_nothing(truth: str):
    id_ = GoldenQuestion.make_id("How many?", truth)
    row = f"{id_},How many?,{truth}\n"
    if truth:
        assert pairs(f"id,{HEAD}{row}") == [("How many?", truth)]
    else:
        assert refused(f"id,{HEAD}{row}")[1:] == ["  - row 2: ground_truth is empty"]


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (
            HEAD + "How high?,nan\nWho?,NaN\nWhat?,42\n",
            ["row 2: ground_truth is 'nan', which counts as an empty cell", "row 3: ground_truth is 'NaN'"],
        ),
        (HEAD + "How high?,42 m\n\n\nHow low?,\n", ["row 5: ground_truth is empty"]),
        (HEAD + "".join(f"How {i}?,\n" for i in range(1000)), ["rows 2-1001: ground_truth is empty"]),
        (HEAD + "How\0 high?,42 m\n", ["row 2: question contains a NUL character (U+0000)"]),
        ('{"question": "a", "ground_truth": "\\ud800"}', ["item 1: ground_truth contains half of a character"]),
        ("question,ground_truth,Question\na,b,c\n", ["row 1: the column 'question' occurs 2 times (A and C)"]),
        (HEAD + "How high?,42 m\n,\nHow high?,42 m\n", ["row 4: the same question and ground truth as row 2"]),
        ("user_input,reference\na,\n", ["row 2: ground_truth (reference) is empty"]),
        ("question,answer\na,b\n", ["missing column(s) ground_truth; it has: question, answer. 'answer' is what"]),
        ("How high?,42 m\n", ["missing column(s) question, ground_truth; it has: How high?, 42 m. row 1 must name"]),
        ("", ["missing column(s) question, ground_truth; it has: none"]),
        (HEAD + "\n,\n", ["it has no rows: give at least one question"]),
        (b"%PDF-1.7 ...", []),
        ("\n<!DOCTYPE html><table>", []),
        (b"\xd0\xcf\x11\xe0 old", []),
        ('[{"question": "a", "ground_truth": "b"}, {"question": "c"}]', ["item 2: ground_truth is empty"]),
        ('{"question": "a", "ground_truth": "b"}\n\n{"question": "", "ground_truth": "d"}', ["line 3: question"]),
        (HEAD + "a,b\nHow many, roughly?,7\n", ["row 3: 3 fields, but the header (row 1) has 2", "put quotes around"]),
    ],
)  # fmt: skip
def test_mistakes_are_named_with_the_row_that_a_spreadsheet_shows(content: str | bytes, lines: list[str]):
    head, *told = refused(content)
    assert "mine" in head
    assert len(told) == len(lines)
    for line, begins in zip(told, lines, strict=True):
        assert line.startswith(f"  - {begins}")


@pytest.mark.parametrize(
    "content",
    [
        HEAD + "".join(f"{'How?' * (i % 3 > 0)},{'42 m' * (i % 2)}\n,\n" for i in range(9000)),
        HEAD + "".join(f"a{i},b,c{i}\n" for i in range(9000)),
        HEAD + "a,b\n" * 9000,
        ",".join(f"column {i}" for i in range(9000)) + "\n" + "x" * 100_000,
        "\n".join('{"question": "a", }' for _ in range(9000)) + "\n",
        HEAD + '"a' + "b,c\n" * 9000,
    ],
)
def test_thousands_of_mistakes_are_told_on_a_page(content: str):
    with pytest.raises(DataError) as caught:
        read(content)
    assert len(str(caught.value)) < 4000


def test_what_is_doubtful_is_read_and_told_in_one_line_each():
    own = read("id,question,ground_truth\nq1,How high?,42 m\nq1,How low?,3 m\nq2,How high?,43 m\n")
    assert len(own.questions) == 3
    assert own.notes == (
        "row 3: the same id as row 2, 'q1'; ids are not used",
        "row 4: the same question as row 2, with another ground truth",
    )


def test_names_of_files_with_questions():
    assert all(map(is_question_file, ("a.csv", "A.CSV", "b.XLSX", "c.jsonl", "d.tsv", "e.csv.gz", "f.parquet")))
    assert not any(map(is_question_file, ("golden", "golden.pdf", "csv")))


@pytest.mark.parametrize(
    ("content", "file", "page"),
    [
        ('question,ground_truth,source_file,source_page\nA?,b,a.pdf,"3; 4"\n', ["a.pdf"], ["3, 4"]),
        ('question,ground_truth,source_file,source_page\nA?,b,a.pdf,"[3, 4]"\n', ["a.pdf"], ["3, 4"]),
        ('question,ground_truth,source_file,source_page\nA?,b,a.pdf; b.pdf,"3; 4"\n', ["a.pdf", "b.pdf"], ["3", "4"]),
        (
            """question,ground_truth,source_file,source_page\nA?,b,"['a.pdf', 'b.pdf']","[3, 4]"\n""",
            ["a.pdf", "b.pdf"],
            ["3", "4"],
        ),
        ('{"question": "A?", "ground_truth": "b", "source_file": "a.pdf", "source_page": [3, 4]}', ["a.pdf"], ["3, 4"]),
    ],
)  # fmt: skip
def test_pages_of_one_file_and_of_several(content, file, page):
    (question,) = read_questions(content.encode(), "q").questions
    assert [source.file for source in question.sources] == file
    assert [source.page for source in question.sources] == page


@pytest.mark.parametrize("cell", ["array(['a', 'b'], dtype=object)", "('a', 'b')", "np.array(['a' 'b'])"])
def test_lists_as_python_shows_them(cell):
    (question,) = read_questions(f'question,ground_truth,contexts\nA?,b,"{cell}"\n'.encode(), "q").questions
    assert question.reference_contexts == ("a", "b")


@pytest.mark.parametrize(
    "content",
    [
        "Our questions\n\nquestion,ground_truth\nA?,b\n",
        "question\0,ground_truth\nA?,b\n",
        '{"question": "A?", "ground_truth": "b"},\n{"question": "C?", "ground_truth": "d"}\n',
        "[{'question': 'A?', 'ground_truth': 'b'}]",
    ],
    ids=["title", "nul", "commas", "python"],
)
def test_small_slips_are_understood(content):
    assert read_questions(content.encode(), "q").questions[0].ground_truth == "b"


def test_a_record_with_other_names_is_told_by_them():
    with pytest.raises(DataError, match=r"missing column.*instruction, output"):
        read_questions(b'{"instruction": "A?", "output": "b"}', "q")


def archive(*names: str) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as packed:
        for name in names:
            packed.writestr(name, "<x/>")
    return stream.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (archive("mimetype", "content.xml"), "it is an OpenDocument file (LibreOffice): open it in its application"),
        (archive("Index/Document.iwa"), "it is a document of Apple Numbers: open it in its application"),
        (archive("word/document.xml"), "it is a Word document: open it"),
        (archive("other"), "the workbook cannot be read"),
        (b"SQLite format 3\0" + bytes(90), "it is a SQLite database, not a table: save the questions as CSV"),
        (b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "it is binary data, not a table: save the questions as CSV"),
    ],
    ids=["ods", "numbers", "docx", "zip", "sqlite", "png"],
)
def test_what_is_no_table_says_what_to_save(content: bytes, message: str):
    (line,) = refused(content)
    assert message in line
