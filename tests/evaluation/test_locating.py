"""The evidence of questions, found in documents: what is found where, and what is said of the rest."""

from dataclasses import replace

import pytest
from model_servers import pages

from dream.documents import load_documents
from dream.documents.loading import merge_pages
from dream.documents.stored_documents import TextSource
from dream.evaluation.evidence import Evidence, Place
from dream.evaluation.locating import known_evidence, locate, summary
from dream.records import EvidenceSpan, GoldenQuestion, Source
from dream.storage import LocalStorage

WELL = "The ice well is 17 metres deep and was dug in 1931."
MILL = "The salt mill was rebuilt in 1931 by Ida Brandt."
REPEATED = "All figures are in millions unless stated otherwise."
DOCUMENTS = [
    *pages("reports/wells.pdf", f"{WELL} {REPEATED}", f"Otters sleep here.\n{REPEATED}", "The last page of it all."),
    *pages("mill.pdf", MILL),
]
DIGEST = DOCUMENTS[0].metadata["file_digest"]


def question(
    *contexts: str, sources: tuple[Source, ...] = (), evidence: tuple[EvidenceSpan, ...] = ()
) -> GoldenQuestion:
    return GoldenQuestion("q", "Which?", "This.", contexts, sources, evidence=evidence)


def found(*contexts: str, **more) -> Evidence:
    return locate([question(*contexts, **more)], DOCUMENTS)["q"]


def test_a_reference_context_is_found_in_the_text_whatever_its_white_space():
    (place,) = found("The ice well is\n17 metres   deep").places
    whole = merge_pages(DOCUMENTS)[0].text
    assert whole[place.start : place.end] == "The ice well is 17 metres deep"
    assert (place.file, place.digest, place.pages, place.known_by) == ("reports/wells.pdf", DIGEST, ("1",), "position")


def test_a_context_across_pages_is_on_both():
    (place,) = found(f"{REPEATED} Otters sleep").places
    assert place.pages == ("1", "2")


def test_a_text_that_is_there_twice_is_compared_as_text():
    assert found(REPEATED) == Evidence((Place("", text=REPEATED),))
    named = found(REPEATED, sources=(Source("wells.pdf"),))
    assert named == Evidence((Place("reports/wells.pdf", text=REPEATED),))


def test_a_text_that_differs_a_little_is_compared_as_text():
    changed = "the ice well is 17 metres deep & was dug in 1931"
    assert found(changed, sources=(Source("wells.pdf", "1"),)).places == (Place("reports/wells.pdf", text=changed),)


def test_a_context_that_is_not_there_is_matched_by_its_page_or_not_at_all():
    paraphrase = "Somebody once excavated seventeen metres of frozen ground."
    by_page = found(paraphrase, sources=(Source("wells.pdf", "2"),))
    assert by_page.places == (Place("reports/wells.pdf", pages=("2",)),)
    assert found(paraphrase).unmatched == "reference context 1 is not in the documents"
    assert found(WELL, paraphrase).unmatched == "reference context 2 is not in the documents"
    assert not found(WELL, paraphrase).places


@pytest.mark.parametrize(
    ("source", "place"),
    [
        (Source("mill.pdf"), Place("mill.pdf")),
        (Source("MILL.PDF", "1"), Place("mill.pdf", pages=("1",))),
        (Source("C:\\reports\\Wells.pdf", "p. 2"), Place("reports/wells.pdf", pages=("2",))),
        (Source("wells.pdf", "2-3"), Place("reports/wells.pdf", pages=("2", "3"))),
        (Source("wells.pdf", "3–9"), Place("reports/wells.pdf", pages=("3",))),
    ],
)
def test_sources_are_matched_by_file_and_page(source: Source, place: Place):
    assert found(sources=(source,)) == Evidence((place,))


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (Source("gone.pdf"), "no document is called 'gone.pdf'"),
        (Source("wells.pdf", "12"), "page '12' of reports/wells.pdf cannot be matched: pages with text are 1 to 3"),
        (Source("wells.pdf", "iv"), "page 'iv' of reports/wells.pdf cannot be matched"),
    ],
)
def test_sources_that_are_not_there_are_told(source: Source, reason: str):
    assert reason in found(sources=(source,)).unmatched


def test_a_question_that_names_nothing_is_told():
    assert found().unmatched == "the question names neither reference contexts nor source files"
    assert known_evidence(question()) == found()


def test_generated_evidence_is_taken_as_it_is_until_the_file_changes():
    span = EvidenceSpan("reports/wells.pdf", DIGEST, 0, 30, ("1",))
    assert found(WELL, evidence=(span,)).places == (Place("reports/wells.pdf", DIGEST, 0, 30, ("1",), WELL),)
    changed = found(WELL, evidence=(replace(span, digest="of another version"),))
    assert [(place.digest, place.end) for place in changed.places] == [(DIGEST, len(WELL))]


def test_a_reference_context_that_was_edited_is_searched_anew():
    span = EvidenceSpan("reports/wells.pdf", DIGEST, 0, len(WELL), ("1",))
    (place,) = found(MILL, evidence=(span,)).places
    assert (place.file, place.start) == ("mill.pdf", 0)


def test_the_summary_counts_what_decides():
    everything = [found(WELL), found(REPEATED), found(sources=(Source("mill.pdf"),)), found(), found()]
    assert summary(everything) == (
        "evidence of 3 of 5 questions can be matched (1 by position, 1 by text, 1 by file); not of 2: the question "
        "names neither reference contexts nor source files"
    )


def test_of_texts_in_storage_only_those_of_the_files_that_questions_name_are_read(tmp_path, monkeypatch):
    folder, cache = LocalStorage(tmp_path / "documents"), LocalStorage(tmp_path / "cache")
    for name in ("wells.txt", "mill.txt", "sheep.txt"):
        folder.write_text(name, {"wells.txt": WELL, "mill.txt": MILL}.get(name, REPEATED))
    documents = load_documents(folder, cache=cache).documents
    read: list[str] = []
    reading = TextSource.reading
    monkeypatch.setattr(TextSource, "reading", lambda self, file: read.append(file.name) or reading(self, file))
    digest = next(file.digest for file in documents.files if file.name == "mill.txt")
    span = EvidenceSpan("mill.txt", digest, 0, 9, ("1",))
    given = locate([question(MILL[:9], evidence=(span,)), question(WELL, sources=(Source("wells.txt"),))], documents)
    assert given["q"].places and read == ["mill.txt", "wells.txt"]
    assert locate([question(evidence=(span,)), question(sources=(Source("sheep.txt"),))], documents) and len(read) == 2


@pytest.mark.parametrize(
    ("text", "context", "written"),
    [
        ("水泵站建于1987年，从旧堰的\n河流中取水。每六个月检查。", "从旧堰的河流中取水", "从旧堰的\n河流中取水"),
        ("ポンプ場は1987\n年に建設された。", "1987年に 建設", "1987\n年に建設"),
        ("สถานีสูบน้ำสร้าง\nขึ้นในปี 2530", "สูบน้ำสร้างขึ้นในปี", "สูบน้ำสร้าง\nขึ้นในปี"),
        ("펌프장은 1987년에 지어졌\n으며 오래된", "지어졌으며 오래된", "지어졌\n으며 오래된"),
    ],
)
def test_lines_of_scripts_without_spaces_go_on_without_one(text, context, written):
    documents = pages("a.txt", text)
    (place,) = locate([question(context)], documents)["q"].places
    assert place.known_by == "position" and merge_pages(documents)[0].text[place.start : place.end] == written
