"""One batch of questions, seen on the wire: what one bad answer costs, the language, and the evidence."""

import json
from pathlib import Path

import pytest
from lab import REPOSITORY
from model_servers import Relay, Reply, Seen, chat_reply, pages
from texts_of_languages import TEXTS

from dream.documents.loading import load_documents, merge_pages
from dream.golden.allotment import MULTI_HOP_SPECIFIC, PIECE_TOKENS, SINGLE_HOP, Batch, FileShare
from dream.golden.generator import LANGUAGE, chosen_pieces, generate_questions
from dream.records import page_label
from dream.storage import MemoryStorage, open_storage
from dream.tokens import count_tokens

MODELS = ("judge@relay", "embed-large@relay")
FILE = "tidal-array-operations.pdf"
GERMAN = """Die Talsperre Hohenau staut seit 1934 den Fluss Lenne oberhalb der Stadt Brückental. Ihre Staumauer ist 42
Meter hoch und 310 Meter lang; sie besteht aus Bruchstein und wurde 1987 mit Beton verstärkt. Der Stausee fasst 27
Millionen Kubikmeter Wasser und versorgt rund 180.000 Menschen in drei Landkreisen. Im Sommer 2003 sank der Pegel wegen
der Trockenheit auf 21 Meter, den niedrigsten Stand seit dem Bau. Die Wasserwerke Brückental erhöhten danach die
Mindestabgabe auf 0,8 Kubikmeter in der Sekunde, damit die Fische im Unterlauf überleben."""


@pytest.fixture
def documents():
    storage = open_storage(str(REPOSITORY / "notebooks/sample_documents"), None)  # type: ignore[arg-type]
    return merge_pages(load_documents(storage, keys=[FILE]).documents)


def batch(kinds: dict[str, int], pieces: int = 6, file: str = FILE, seed: int = 0) -> Batch:
    return Batch((FileShare(file, sum(kinds.values()), pieces),), kinds, seed, 0)


@pytest.mark.parametrize("kind", TEXTS)
def test_the_pieces_of_a_document_are_where_the_evidence_says(kind: str):
    middle = len(TEXTS[kind]) // 2
    (document,) = merge_pages(pages("a.pdf", TEXTS[kind][:middle], TEXTS[kind][middle:]))
    pieces = chosen_pieces([document], batch({SINGLE_HOP: 3}, pieces=100, file="a.pdf"))
    assert pieces
    for piece in pieces:
        assert document.text[piece.evidence.start : piece.evidence.end] == piece.text
        assert piece.source.page == page_label(piece.evidence.pages)
        assert count_tokens(piece.text) <= 2 * PIECE_TOKENS
    assert {page for piece in pieces for page in piece.evidence.pages} == {"1", "2"}


def is_question(seen: Seen) -> bool:
    return "GeneratedQueryAnswer" in seen.text and "embeddings" not in seen.path


@pytest.mark.whole
@pytest.mark.usefixtures("gateway")
class TestOneBatch:
    @pytest.mark.parametrize(
        ("query", "reason"),
        [
            ("How\ud800 high?", "single_hop_specific gave 2 of 3"),  # no client takes such a text
            ("How\0 high?", "a NUL character"),
            ("  ", "a question or its answer was empty"),
        ],
    )
    def test_one_bad_text_costs_one_question(self, documents, relay: Relay, query: str, reason: str):
        spoilt: list[str] = []

        def script(seen: Seen) -> Reply | None:
            if not is_question(seen) or (spoilt and not seen.prompt.startswith(spoilt[0])):
                return None
            spoilt.append(seen.prompt)
            return chat_reply(json.dumps({"query": query, "answer": "42 m"}))

        relay.script = script
        generated, reasons = generate_questions(documents, batch({SINGLE_HOP: 3}), *MODELS)
        assert spoilt
        assert len(generated) == 2
        assert any(reason in line for line in reasons), reasons

    def test_a_piece_that_cannot_be_extracted_from_costs_a_piece(self, documents, relay: Relay):
        spoilt: list[str] = []

        def script(seen: Seen) -> Reply | None:
            if "NEROutput" not in seen.text or (spoilt and seen.text != spoilt[0]):
                return None
            spoilt.append(seen.text)
            return Reply(400, {"error": {"message": "this text is refused", "type": "invalid_request_error"}})

        relay.script = script
        generated, reasons = generate_questions(documents, batch({SINGLE_HOP: 3}), *MODELS)
        assert spoilt
        assert (len(generated), reasons) == (3, [])

    def test_the_language_is_asked_for_with_each_question(self, relay: Relay):
        storage = MemoryStorage("memory", {"talsperre.txt": GERMAN.encode()})
        german = merge_pages(load_documents(storage).documents)
        generated, _ = generate_questions(german, batch({SINGLE_HOP: 2}, file="talsperre.txt"), *MODELS)
        asked = [seen for seen in relay.requests if is_question(seen)]
        assert asked
        assert all(LANGUAGE in seen.prompt for seen in asked)
        assert all(one.question.startswith("Was wird über ") for one in generated)

    def test_evidence_leads_to_the_text_and_all_its_pages(self, documents):
        (document,) = documents
        kinds = {SINGLE_HOP: 2, MULTI_HOP_SPECIFIC: 2}
        generated, _ = generate_questions(documents, batch(kinds), *MODELS)
        assert {one.synthesizer for one in generated} == set(kinds)
        for one in generated:
            assert len(one.evidence) == len(one.sources) == len(one.reference_contexts)
            for place, context, source in zip(one.evidence, one.reference_contexts, one.sources, strict=True):
                assert context.endswith(document.text[place.start : place.end])
                assert place.digest == document.metadata["file_digest"]
                assert (place.file, place.pages[0]) == (source.file, source.page)

    def test_evidence_across_pages_names_them_all(self, relay: Relay):
        text = GERMAN.replace("\n", " ")
        sentences = text.split(". ")
        document = merge_pages(pages("dam.pdf", ". ".join(sentences[:2]) + ".", ". ".join(sentences[2:])))
        generated, _ = generate_questions(document, batch({SINGLE_HOP: 1}, file="dam.pdf"), *MODELS)
        assert [place.pages for one in generated for place in one.evidence] == [("1", "2")]

    def test_the_seed_chooses_the_pieces(self, documents, relay: Relay):
        read = []
        for seed in (0, 0, 1):
            relay.reset()
            generated, _ = generate_questions(documents, batch({SINGLE_HOP: 1}, pieces=2, seed=seed), *MODELS)
            read.append([one.question for one in generated])
        assert read[0] == read[1] != read[2]

    def test_text_that_is_too_short_is_told(self, relay: Relay, tmp_path: Path):
        storage = MemoryStorage("memory", {"short.txt": b"Short."})
        short = merge_pages(load_documents(storage).documents)
        generated, reasons = generate_questions(short, batch({SINGLE_HOP: 1}, file="short.txt"), *MODELS)
        assert (generated, relay.requests) == ([], [])
        assert "100 tokens" in reasons[0]
