"""Documents put into storage: each source gets its line, and one that fails does not stop the others."""

from sample_files import GOOD, odt, pdf

from dream.documents import load_documents, prepare_documents
from dream.progress import Reporter, Task


def test_a_folder_goes_up_once(storage, tmp_path):
    folder = tmp_path / "mine"
    (folder / "sub").mkdir(parents=True)
    (folder / "a b.pdf").write_bytes(GOOD)
    (folder / "sub" / "ü.txt").write_text("text")
    (folder / ".DS_Store").write_text("x")
    (folder / "table.odt").write_bytes(odt())
    first = prepare_documents(folder, storage)
    assert [(line.status, line.file) for line in first] == [
        ("uploaded", "a b.pdf"),
        ("uploaded", "sub/ü.txt"),
        ("skipped", ""),
    ]
    assert "table.odt: .odt is not supported; save it as one of: .pdf" in str(first[2])
    assert [line.status for line in prepare_documents([str(folder)], storage)] == ["already there"] * 2 + ["skipped"]
    (folder / "a b.pdf").write_bytes(pdf(["new"]))
    assert prepare_documents([folder / "a b.pdf"], storage)[0].status == "replaced"
    assert load_documents(storage).documents[0].text == "new\n"


def test_files_that_share_a_name_do_not_overwrite_one_another(storage, tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "report.txt").write_text(f"from {name}")
    sources = [tmp_path / "one" / "report.txt", tmp_path / "two", tmp_path / "one"]
    lines = prepare_documents(sources, storage)
    assert [line.status for line in lines] == ["uploaded", "uploaded", "already there"]
    assert {document.text for document in load_documents(storage).documents} == {"from one", "from two"}
    assert [line.status for line in prepare_documents(sources, storage)] == ["already there"] * 3


def test_sources_that_fail_are_reported_and_the_rest_goes_on(storage, tmp_path):
    (tmp_path / "good.txt").write_text("x")
    (tmp_path / "empty folder").mkdir()
    (tmp_path / "data.odt").write_text("x")
    with open(tmp_path / "big.pdf", "wb") as big:
        big.truncate(100_000_000)
    names = ["nothing.pdf", "empty folder", "data.odt", "big.pdf", "x" * 5000, "good.txt"]
    lines = prepare_documents([*(tmp_path / name for name in names), "ftp://host/a.pdf"], storage)
    assert [line.status for line in lines] == ["failed"] * 5 + ["uploaded", "failed"]
    said = "\n".join(map(str, lines))
    for problem in (
        "no such file or folder",
        "contains no files",
        ".odt is not supported",
        "100.0 MB is over the limit of 50 MB",
    ):
        assert problem in said
    assert [item.key for item in storage.list()] == ["good.txt"]


def test_progress_counts_sources_and_files(storage, tmp_path):
    class Counts(Reporter):
        def __init__(self) -> None:
            self.counts: list[tuple[str, str]] = []

        def finish(self, task: Task) -> None:
            self.counts.append((task.name, task.count))

    for name in ("a.txt", "b.txt", "c.odt"):
        (tmp_path / name).write_text(name)
    shown = Counts()
    prepare_documents([tmp_path / "a.txt", tmp_path / "b.txt", tmp_path / "c.odt"], storage, show=shown)
    load_documents(storage, show=shown)
    assert shown.counts == [
        ("finding documents", "3 of 3 sources"),
        ("uploading documents", "3 of 3 files"),
        ("reading documents", "2 of 2 files"),
    ]
