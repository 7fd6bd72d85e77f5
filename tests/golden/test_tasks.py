"""Rounds of batches over many files: what one batch cannot give goes to others, and what is missing in the end is
told."""

import json
from pathlib import Path

import pytest
from lab import REPOSITORY
from model_servers import ModelServer

from dream.golden import generate_golden_dataset, plan_golden_dataset
from dream.golden.allotment import MULTI_HOP_ABSTRACT, MULTI_HOP_SPECIFIC, SINGLE_HOP, Batch, FileShare
from dream.golden.tasks import GeneratedBatch, shortfall_lines
from dream.records import Failure, GoldenQuestion
from dream.settings import Settings
from dream.storage import open_storage

SOURCES = REPOSITORY / "notebooks/sample_sources/text"


def settings_of(server: ModelServer, home: Path) -> Settings:
    return Settings.from_environment(
        {
            "DREAM_HOME": str(home),
            "DREAM_ENDPOINT_M_BASE_URL": server.base_url,
            "DREAM_ENDPOINT_M_API_KEY": server.key,
            "DREAM_GENERATOR_LLM": "judge@m",
            "DREAM_JUDGE_LLM": "judge@m",
            "DREAM_JUDGE_EMBED_MODEL": "embed-large@m",
        }
    )


def small_files(folder: Path, n: int) -> str:
    """Files of one piece each, cut from the texts of the sample documents."""
    texts, cut = [path.read_text(encoding="utf-8") for path in sorted(SOURCES.glob("*.md"))], []
    for text in texts:
        part = ""
        for paragraph in text.split("\n\n"):
            part += f"{paragraph}\n\n"
            if len(part) > 1050:
                cut.append(part)
                part = ""
    folder.mkdir()
    for i, part in enumerate(cut[:n]):
        (folder / f"note-{i:02}.txt").write_text(part)
    return str(folder)


@pytest.mark.whole
def test_thirty_small_files_give_every_kind_and_are_all_within_reach(model_server: ModelServer, tmp_path: Path):
    settings, told = settings_of(model_server, tmp_path / "home"), []
    documents_uri = small_files(tmp_path / "notes", 30)
    golden = generate_golden_dataset(
        9, documents_uri=documents_uri, engine="in_process", settings=settings, show=told.append
    )
    assert len(golden.questions) == 9
    kinds = [question.synthesizer for question in golden.questions]
    assert kinds.count(SINGLE_HOP) == 3
    assert any("9 questions from 9 of 30 files in 3 tasks: 3 " in line for line in told)
    asked = {question.document for question in golden.questions}
    assert len(asked) >= 6
    assert any(file >= "note-20.txt" for file in asked)
    manifest = open_storage(settings.golden_datasets_uri, settings).read_json("golden.manifest.json")
    assert sum(manifest["kinds"].values()) == 9
    assert manifest["shortfalls"][0].startswith("9 of 9 questions: ")  # of another kind than was wanted
    for question in golden.questions:
        evidence = manifest["evidence"][question.id]
        assert [place["file"] for place in evidence] == [source.file for source in question.sources]


@pytest.mark.whole
def test_a_long_document_costs_what_was_planned(model_server: ModelServer, tmp_path: Path):
    """46 calls of the LLM for three questions on 50 pieces. More only where other pieces had to be asked again."""
    (tmp_path / "long").mkdir()
    texts = "\n\n".join(path.read_text(encoding="utf-8") for path in sorted(SOURCES.glob("*.md")))
    (tmp_path / "long" / "one.md").write_text(texts, encoding="utf-8")
    settings, documents_uri = settings_of(model_server, tmp_path / "home"), str(tmp_path / "long")
    plan = plan_golden_dataset(3, documents_uri=documents_uri, settings=settings)
    assert model_server.counters()["by_path"] == {}
    told: list[str] = []
    golden = generate_golden_dataset(
        3, documents_uri=documents_uri, engine="in_process", settings=settings, show=told.append
    )
    assert len(golden.questions) == 3
    again = any(" missing; " in line for line in told)
    sent = model_server.chat_calls() - 1  # but the one that sees whether it answers
    assert 0.9 < sent / plan.calls[0].calls < (2 if again else 1.1), (sent, plan.calls)


def question(text: str, kind: str) -> GoldenQuestion:
    return GoldenQuestion(GoldenQuestion.make_id(text, "42"), text, "42", synthesizer=kind)


def asked(kinds: dict[str, int], *files: str, companion: str = "") -> Batch:
    shares = [FileShare(file, 1, 4) for file in files] + ([FileShare(companion, 0, 4)] if companion else [])
    return Batch(tuple(shares), kinds, 0, 0)


WANTED = {SINGLE_HOP: 2, MULTI_HOP_SPECIFIC: 1}
SINGLES = (question("a?", SINGLE_HOP), question("b?", SINGLE_HOP))
HOP = question("c?", MULTI_HOP_SPECIFIC)


@pytest.mark.parametrize(
    ("kind", "lines"),
    [
        (MULTI_HOP_SPECIFIC, []),
        (
            MULTI_HOP_ABSTRACT,
            [
                "3 of 3 questions: 0 of 1 multi_hop_specific; 1 multi_hop_abstract more in their place",
                "a.txt: 2 of 3 questions: not related",
            ],
        ),
    ],
)
def test_nothing_is_told_only_if_others_made_up_with_the_same_kind(kind: str, lines: list[str]):
    done = [
        (asked(WANTED, "a.txt"), GeneratedBatch(("a.txt",), SINGLES, ("not related",))),
        (asked({kind: 1}, "b.txt"), GeneratedBatch(("b.txt",), (question("c?", kind),))),
    ]
    assert shortfall_lines(done, WANTED) == lines


def test_kinds_that_are_missing_are_told_with_numbers_and_reasons():
    third = question("d?", SINGLE_HOP)
    done = [
        (asked(WANTED, "a.txt"), GeneratedBatch(("a.txt",), SINGLES, ("not related",))),
        (asked({MULTI_HOP_SPECIFIC: 1}, "b.txt", companion="c.txt"), GeneratedBatch(("b.txt",), (), ("not related",))),
        (asked({SINGLE_HOP: 1}, "d.txt"), GeneratedBatch(("d.txt",), (third,))),
    ]
    assert shortfall_lines(done, WANTED) == [
        "3 of 3 questions: 0 of 1 multi-hop; 1 single-hop more in their place",
        "a.txt, b.txt: 2 of 4 questions: not related",
    ]


def test_a_failure_is_told_though_others_made_up_for_it():
    failure = Failure.of(ValueError("unreadable"))
    done = [
        (asked(WANTED, "a.txt"), GeneratedBatch(("a.txt",), (), ("ValueError: unreadable (3 attempts)",), failure)),
        (asked(WANTED, "b.txt"), GeneratedBatch(("b.txt",), (*SINGLES, HOP))),
    ]
    assert shortfall_lines(done, WANTED) == ["a.txt: 0 of 3 questions: ValueError: unreadable (3 attempts)"]


@pytest.mark.parametrize("n", [20, 2000])
def test_shortfalls_of_many_files_are_few_lines(n: int):
    done = [
        (asked({SINGLE_HOP: 1}, f"{i}.txt"), GeneratedBatch((f"{i}.txt",), (), (f"reason {i % 3}",))) for i in range(n)
    ]
    lines = shortfall_lines(done, {SINGLE_HOP: n})
    assert len(lines) == 4
    assert len(json.dumps(lines)) < 1000
