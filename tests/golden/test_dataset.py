"""Golden questions made on a real cluster, and one's own: nothing is altered, nothing falls short in silence."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import pandas
import pytest
from lab import LAB_DOCUMENTS, REPOSITORY, Lab, S3Server
from model_servers import offline_models

from dream.documents.loading import load_documents, merge_pages, page_of
from dream.errors import ConfigurationError, DataError, ServiceError
from dream.golden import dataset
from dream.golden.dataset import (
    COLUMNS,
    EVIDENCE_COLUMN,
    GeneratedBatch,
    Generation,
    generate_golden_dataset,
    has_golden_dataset,
    load_golden_dataset,
    save_golden_dataset,
)
from dream.models.gateway import GatewayOptions
from dream.progress import Lines
from dream.records import DocumentSet, GoldenDataset, GoldenQuestion, Source
from dream.settings import Settings
from dream.storage import open_storage

SAMPLES = REPOSITORY / "notebooks/sample_documents"
AWKWARD = [
    "How many % of 5 µm grains are lost at −4 °C, “frozen”?",
    'He said "no", then\nwrote a second line,\r\nand a third;\ttabbed',
    "Πόσο ύψος; 高さは? كم الارتفاع؟ 🐝",
    "  spaces around, and 007 and NA and =1+1  ",
]


def question(text: str, truth: str, *contexts: str) -> GoldenQuestion:
    return GoldenQuestion(GoldenQuestion.make_id(text, truth), text, truth, contexts)


@pytest.mark.usefixtures("on_ray")
class TestGeneratedOnTheCluster:
    def test_as_many_as_asked_for_by_single_and_multi_hop_synthesizers(self, golden_on_ray: GoldenDataset):
        assert len(golden_on_ray.questions) == 8
        assert len({question.id for question in golden_on_ray.questions}) == 8
        synthesizers = {question.synthesizer for question in golden_on_ray.questions}
        assert {name.split("_")[0] for name in synthesizers} == {"single", "multi"}
        assert all(question.question.strip() and question.ground_truth.strip() for question in golden_on_ray.questions)

    def test_each_question_names_the_file_and_the_pages_that_hold_its_contexts(
        self, ray_lab: Lab, golden_on_ray: GoldenDataset
    ):
        loaded = load_documents(open_storage(ray_lab.settings.documents_uri, ray_lab.settings))
        files = {document.metadata["file_name"]: document for document in merge_pages(loaded.documents)}
        for golden in golden_on_ray.questions:
            assert len(golden.sources) == len(golden.reference_contexts)
            for context, source in zip(golden.reference_contexts, golden.sources, strict=True):
                assert source.file in LAB_DOCUMENTS
                # of a multi-hop question, ragas puts "<1-hop>" and the like before each context
                text = context.split("\n\n", 1)[1] if context.startswith("<") else context
                document = files[source.file]
                start = document.text.index(text)
                first, last = (page_of(document.metadata, place) for place in (start, start + len(text.rstrip()) - 1))
                assert [page.page for page in source.pages] == [str(n) for n in range(int(first), int(last) + 1)]

    def test_the_csv_gives_back_what_was_generated(self, ray_lab: Lab, golden_on_ray: GoldenDataset):
        assert load_golden_dataset("golden", ray_lab.settings) == golden_on_ray
        table = open_storage(ray_lab.settings.golden_datasets_uri, ray_lab.settings).read_csv("golden.csv")
        assert tuple(table.columns) == (*COLUMNS, EVIDENCE_COLUMN)
        assert all(question.evidence for question in golden_on_ray.questions)

    def test_the_manifest_says_who_made_it_from_what(self, ray_lab: Lab, golden_on_ray: GoldenDataset):
        manifest = open_storage(ray_lab.settings.golden_datasets_uri, ray_lab.settings).read_json(
            "golden.manifest.json"
        )
        documents = load_documents(open_storage(ray_lab.settings.documents_uri, ray_lab.settings))
        assert manifest["documents"]["digest"] == documents.digest
        assert (manifest["generator_llm"], manifest["embed_model"], manifest["offline"]) == (
            "judge@x", "embed-large@x", False,
        )  # fmt: skip
        assert (manifest["questions_wanted"], manifest["questions"]) == (8, 8)
        # the offline models find few pieces that are related enough for abstract questions over several
        assert all("multi_hop_abstract" in line for line in manifest["shortfalls"][:1])
        assert manifest["questions_digest"] == golden_on_ray.digest
        assert sum(manifest["kinds"].values()) == 8
        assert set(manifest["evidence"]) == {question.id for question in golden_on_ray.questions}
        assert manifest["versions"]["ragas"] == "0.4.3"
        assert ray_lab.models.key not in json.dumps(manifest)

    def test_workers_read_s3_and_one_broken_or_short_file_costs_only_itself(self, ray_lab: Lab, moto: S3Server):
        settings = replace(
            ray_lab.settings,
            s3_endpoint_url=moto.url,
            s3_access_key_id=moto.access_key_id,
            s3_secret_access_key=moto.secret_access_key,
            documents_uri="s3://mixed-documents/in",
            golden_datasets_uri="s3://mixed-golden",
        )
        storage = open_storage(settings.documents_uri, settings)
        storage.ensure()
        whole = (SAMPLES / "tidal-array-operations.pdf").read_bytes()
        storage.write_bytes("whole.pdf", whole)
        storage.write_bytes("broken.pdf", whole[:3000])
        storage.write_text("short.txt", "A note of a few words on honey.")
        storage.write_text("middling.md", "# Icing\n\n" + text_of("wind-farm-icing-and-output.md")[:1500])
        lines: list[str] = []
        golden = generate_golden_dataset(4, name="mixed", settings=settings, show=lines.append)
        assert golden.uri == "s3://mixed-golden/mixed.csv"
        assert load_golden_dataset("mixed", settings) == golden
        assert {source.file for one in golden.questions for source in one.sources} <= {"whole.pdf", "middling.md"}
        assert any("broken.pdf" in line and "skipped" in line for line in lines)
        (short,) = [line for line in lines if "short.txt" in line and "fell short" in line]
        assert golden.questions
        assert "tokens; at least 100 are needed" in short
        shortfalls = open_storage("s3://mixed-golden", settings).read_json("mixed.manifest.json")["shortfalls"]
        assert any("short.txt" in line for line in shortfalls)
        # either all four came, or what is missing is told
        assert len(golden.questions) == 4 or any(" of 4 questions" in line for line in shortfalls)

    def test_both_engines_give_the_same_questions(self, ray_lab: Lab, golden_on_ray: GoldenDataset, tmp_path: Path):
        """Also without the cache: in other processes than those of the cluster, from the same seed."""
        settings = ray_lab.changed(DREAM_CACHE_URI=str(tmp_path / "cache"), DREAM_GOLDEN_DATASETS_URI=str(tmp_path))
        golden = generate_golden_dataset(8, engine="in_process", settings=settings, show=None)
        assert golden.questions == golden_on_ray.questions


class TestGeneratedHere:
    @pytest.mark.parametrize(
        ("faults", "wanted"),
        [
            ({"error_share": 0.1, "seed": 3}, "all"),
            ({"malformed_share": 0.4}, "some"),
            ({"malformed_share": 1}, "none"),
        ],
    )
    def test_faults_of_the_model_are_retried_or_told(
        self, lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, faults: dict, wanted: str
    ):
        at_once = partial(GatewayOptions, first_backoff_seconds=0.01)
        monkeypatch.setattr("dream.models.gateway_client.GatewayOptions", at_once)
        (tmp_path / "tidal.pdf").write_bytes((SAMPLES / "tidal-array-operations.pdf").read_bytes())
        with offline_models("k") as faulty:
            settings = lab.changed(
                DREAM_ENDPOINT_F_BASE_URL=faulty.base_url,
                DREAM_ENDPOINT_F_API_KEY="k",
                DREAM_GENERATOR_LLM="judge@f",
                DREAM_GOLDEN_DATASETS_URI=str(tmp_path / "golden"),
            )
            faulty.faults(**faults)
            told: list[str] = []
            try:
                golden = generate_golden_dataset(
                    4, name="f", documents_uri=str(tmp_path), settings=settings, show=told.append
                )
                made = len(golden.questions)
            except (DataError, ServiceError) as error:
                made = 0
                told.append(str(error))
            assert faulty.counters()["by_fault"]
        assert made == {"all": 4, "none": 0}.get(wanted, made)
        if wanted == "none":
            assert any("answers are not in the requested form" in line for line in told), told
        elif made < 4:
            assert any(f"tidal.pdf: {made} of 4 questions: " in line for line in told), told

    def test_only_short_documents_is_an_error_with_the_minimum(self, lab: Lab, tmp_path: Path):
        for name in ("one.txt", "two.txt"):
            (tmp_path / name).write_text(f"{name} says little.")
        with pytest.raises(DataError) as caught:
            generate_golden_dataset(2, name="short", documents_uri=str(tmp_path), settings=lab.settings, show=None)
        assert "one.txt" in str(caught.value)
        assert "two.txt" in str(caught.value)
        assert "at least 100 are needed" in str(caught.value)
        with pytest.raises(DataError, match="no golden dataset 'short'"):
            load_golden_dataset("short", lab.settings)

    def test_mistakes_are_told_before_any_model_is_called(self, lab: Lab):
        lab.models.reset()
        for arguments, mistake in (
            ({"n_questions": 0}, "n_questions=0"),
            ({"name": "a/b"}, "'a/b'"),
            ({"settings": lab.changed(DREAM_GENERATOR_LLM="judge@nowhere")}, "no endpoint 'nowhere'"),
        ):
            with pytest.raises(ConfigurationError, match=mistake):
                generate_golden_dataset(**{"settings": lab.settings, "show": None, **arguments})
        assert lab.models.counters()["by_path"] == {}


def text_of(name: str) -> str:
    return (REPOSITORY / "notebooks/sample_sources/text" / name).read_text(encoding="utf-8")


def test_exact_duplicates_of_tasks_are_dropped_and_told(home: Settings):
    same, other = question("How high?", "42 m"), question("How high?", "43 m")
    batches = [
        GeneratedBatch(("a.pdf",), (same, other)),
        GeneratedBatch(("b.pdf",), (same,), ("b.pdf: 1 of 2 questions",)),
    ]
    lines: list[str] = []
    generation = Generation("twice", 4, 0, home, DocumentSet("documents", "digest"), Lines(lines.append))
    golden = dataset._save(generation, batches)
    assert golden.questions == (same, other)
    assert "  fell short: 1 exact duplicate(s) dropped" in lines
    assert "  fell short: b.pdf: 1 of 2 questions" in lines


@pytest.mark.parametrize("place", ["folder", "s3"])
def test_no_sign_is_altered_on_the_way_through_storage(home: Settings, moto: S3Server, place: str):
    settings = home if place == "folder" else replace(moto.settings(), golden_datasets_uri="s3://signs")
    questions = tuple(question(text, text[::-1] + "!", text, '["a", "b"]', "nan") for text in AWKWARD)
    saved = save_golden_dataset(GoldenDataset(questions), "signs", settings)
    assert load_golden_dataset("signs", settings) == saved
    assert saved.questions == questions
    assert saved.digest == GoldenDataset(questions).digest


@pytest.mark.parametrize(
    ("sources", "columns"),
    [
        ((), ("", "")),
        ((Source("a.pdf", "3"),), ("a.pdf", "3")),
        ((Source("a.pdf", "3"), Source("b.pdf", "7")), ("a.pdf; b.pdf", "3; 7")),
        ((Source("a.pdf", "3"), Source("notes.md")), ("a.pdf; notes.md", "3; ")),
        ((Source("notes.md"), Source("more.md")), ("notes.md; more.md", "")),
        ((Source("a; b.pdf", "3"),), ('["a; b.pdf"]', "3")),
        ((Source("a; b.pdf", "ii; 3"), Source("c.pdf", "1")), ('["a; b.pdf", "c.pdf"]', '["ii; 3", "1"]')),
        ((Source('["a.pdf"]', "1"),), ('["[\\"a.pdf\\"]"]', "1")),
        ((Source("", "7"),), ('[""]', "7")),
    ],
)
def test_sources_stay_apart_in_a_csv_whatever_they_are_called(home: Settings, sources, columns):
    golden = GoldenDataset((replace(question("How high?", "42 m"), sources=sources),))
    saved = save_golden_dataset(golden, "sources", home)
    assert load_golden_dataset("sources", home) == saved
    assert saved.questions == golden.questions
    table = open_storage(home.golden_datasets_uri, home).read_csv("sources.csv")
    assert (table["source_file"][0], table["source_page"][0]) == columns


def test_ones_own_csv_may_name_fewer_pages_than_files(home: Settings, tmp_path: Path):
    mine = tmp_path / "mine.csv"
    mine.write_text("question,ground_truth,source_file,source_page\nHow high?,42 m,a.pdf; b.pdf,3\n")
    (read,) = load_golden_dataset(str(mine), home).questions
    assert read.sources == (Source("a.pdf", "3"), Source("b.pdf"))
    assert read.document == "a.pdf"


def test_ones_own_csv_needs_two_columns(home: Settings, tmp_path: Path):
    mine = tmp_path / "mine.csv"
    mine.write_bytes('\ufeffground_truth,question,note\r\n42 m,How high?,mine\r\n"7 %\nor 8",How much?,\r\n'.encode())
    golden = load_golden_dataset(str(mine), home)
    assert golden.questions == (question("How high?", "42 m"), question("How much?", "7 %\nor 8"))
    assert golden.uri == str(mine)


def test_every_mistake_is_told_at_once_with_its_row(home: Settings, tmp_path: Path):
    mine = tmp_path / "mine.csv"
    rows = [
        ("How high?", "42 m", ""),
        ("  ", "42 m", ""),
        ("How much?", "", "not json"),
        ("How high?", "42 m", '["fine"]'),
        ("", "", '{"a": 1}'),
    ]
    pandas.DataFrame(rows, columns=["question", "ground_truth", "reference_contexts"]).to_csv(mine, index=False)
    with pytest.raises(DataError) as caught:
        load_golden_dataset(str(mine), home)
    told = str(caught.value).splitlines()
    assert told[0].startswith("7 mistake(s) in ")
    assert [line.split(":")[0].strip(" -") for line in told[1:]] == [
        "row 3", "row 4", "row 4", "row 5", "row 6", "row 6", "row 6",
    ]  # fmt: skip
    assert "the same question and ground truth as row 2" in told[4]


@pytest.mark.parametrize(
    ("content", "mistake"),
    [
        ("", r"missing column\(s\) question, ground_truth; it has: none"),
        ("question,answer\nHow high?,42 m\n", r"missing column\(s\) ground_truth; it has: question, answer"),
        ("question,ground_truth\n", "no rows"),
    ],
)
def test_a_table_of_the_wrong_shape_is_told(home: Settings, tmp_path: Path, content: str, mistake: str):
    mine = tmp_path / "mine.csv"
    mine.write_text(content)
    with pytest.raises(DataError, match=mistake):
        load_golden_dataset(str(mine), home)


@pytest.mark.parametrize("name", ["MINE.CSV", "mine.xlsx", "mine.jsonl", "mine.tsv"])
def test_ones_own_file_in_any_form_at_any_place(home: Settings, tmp_path: Path, name: str):
    """As a path, as a name in storage, and as a URI."""
    table = pandas.DataFrame({"Question": ["How high?"], "Ground Truth": ["42 m"]})
    stored = Path(home.golden_datasets_uri.removeprefix("file://"))
    stored.mkdir(parents=True)
    for folder in (tmp_path, stored):
        write = {
            "MINE.CSV": partial(table.to_csv, index=False, encoding="utf-16"),
            "mine.xlsx": partial(table.to_excel, index=False),
            "mine.jsonl": partial(table.to_json, orient="records", lines=True),
            "mine.tsv": partial(table.to_csv, index=False, sep="\t"),
        }[name]
        write(folder / name)
    for place in (str(tmp_path / name), name):
        told: list[str] = []
        golden = load_golden_dataset(place, home, show=told.append)
        assert golden.questions == (question("How high?", "42 m"),)
        assert told == []


def test_what_was_guessed_is_shown_with_the_file(home: Settings, tmp_path: Path):
    mine = tmp_path / "mine.csv"
    mine.write_bytes("question;ground_truth;note\nWo liegt Köln?;Am Rhein;x\n".encode("cp1252"))
    told: list[str] = []
    golden = load_golden_dataset(str(mine), home, show=told.append)
    assert golden.questions == (question("Wo liegt Köln?", "Am Rhein"),)
    assert told[0].startswith(f"{mine}: it is not UTF-8; its encoding was guessed, and read as Windows-1252")
    assert told[1:] == [f"{mine}: unused columns: note"]


def test_an_object_in_s3_by_its_uri(moto: S3Server):
    settings = replace(moto.settings(), golden_datasets_uri="s3://elsewhere")
    storage = open_storage("s3://own-questions/deep", settings)
    storage.ensure()
    storage.write_text("mine.jsonl", '{"user_input": "How high?", "reference": "42 m"}\n')
    golden = load_golden_dataset("s3://own-questions/deep/mine.jsonl", settings, show=None)
    assert golden == GoldenDataset((question("How high?", "42 m"),), "s3://own-questions/deep/mine.jsonl")


def test_has_golden_dataset(home: Settings):
    assert not has_golden_dataset("golden", home)
    save_golden_dataset(GoldenDataset((question("How high?", "42 m"),)), "golden", home)
    assert has_golden_dataset("golden", home)


def test_a_name_that_nobody_made_is_told_with_what_to_do(home: Settings):
    with pytest.raises(DataError, match=r"no golden dataset 'golden': .*Generate one with `dream golden`"):
        load_golden_dataset("golden", home)
