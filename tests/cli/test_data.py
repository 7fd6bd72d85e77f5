"""`dream prepare` and `dream golden` from the command line."""

from lab import Lab
from ray_cluster import RayCluster

from dream.documents import parsing

CSV = 'question,ground_truth\nWhere?,"Here, there"\n'


def test_prepare_uploads_and_reports_what_can_be_read(dream, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "a.txt").write_text("text")
    (tmp_path / "mine" / "b.pdf").write_text("no PDF")
    done = dream("prepare", str(tmp_path / "mine"))
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines() == [
        "uploaded a.txt",
        "uploaded b.pdf",
        "",
        f"Readable documents in {tmp_path}/home/documents:",
        "read     a.txt, 1 page",
        "skipped  b.pdf: its content is plain text, which does not match .pdf; rename it to end in .txt",
    ]
    assert "already there a.txt" in dream("prepare", str(tmp_path / "mine")).out


def test_prepare_reads_much_on_the_cluster(dream, tmp_path, ray_cluster: RayCluster, monkeypatch):
    for name, value in ray_cluster.environment().items():
        monkeypatch.setenv(name, value)
    (tmp_path / "mine").mkdir()
    for n in range(3):
        (tmp_path / "mine" / f"{n}.txt").write_text(f"text {n}")
    assert "engine: " not in dream("prepare", str(tmp_path / "mine" / "0.txt")).out
    monkeypatch.setattr(parsing, "SECONDS_FOR_PROCESSES", 0)
    done = dream("prepare", str(tmp_path / "mine"))
    assert (done.code, done.err) == (0, "")
    assert f"engine: ray (RAY_ADDRESS={ray_cluster.address})" in done.out
    assert done.out.endswith("read     0.txt, 1 page\nread     1.txt, 1 page\nread     2.txt, 1 page\n")
    assert "engine: " not in dream("prepare", str(tmp_path / "mine"), "--engine", "in_process").out


def test_prepare_ends_with_1_if_a_source_fails(dream, tmp_path):
    (tmp_path / "a.txt").write_text("text")
    done = dream("prepare", "a.txt", "nothing.pdf")
    assert done.code == 1
    assert "uploaded a.txt\nfailed   nothing.pdf: no such file or folder" in done.out


def test_prepare_ends_with_1_if_nothing_can_be_read(dream, tmp_path):
    (tmp_path / "a.txt").write_text(" ")
    done = dream("prepare", "a.txt")
    assert done.code == 1
    assert done.err.startswith("dream prepare: no document in ")
    assert "it contains no text" in done.err


def test_golden_saves_questions_from_a_file(dream, tmp_path):
    (tmp_path / "mine.csv").write_text(CSV)
    done = dream("golden", "--from", "mine.csv", "--name", "mine")
    assert (done.code, done.err) == (0, "")
    assert done.out == f"mine: 1 questions in {tmp_path}/home/golden-datasets/mine.csv\n"


def test_golden_refuses_a_file_with_mistakes(dream, tmp_path):
    (tmp_path / "mine.csv").write_text("question,answer\nWhere?,Here\n")
    done = dream("golden", "--from", "mine.csv")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("dream golden: ")
    assert "ground_truth" in done.err


def test_golden_tells_what_it_assumed(dream, tmp_path):
    (tmp_path / "MINE.CSV").write_text("Question;Ground_Truth;note\nWhere?;Here, there;x\n")
    done = dream("golden", "--from", "MINE.CSV", "--name", "mine")
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines() == [
        f"{tmp_path}/MINE.CSV: unused columns: note",
        f"mine: 1 questions in {tmp_path}/home/golden-datasets/mine.csv",
    ]


def test_golden_plan_counts_and_sends_nothing(dream_in_lab, lab: Lab):
    lab.models.reset()
    done = dream_in_lab("golden", "--plan", "--questions", "4")
    assert (done.code, done.err) == (0, "")
    assert "4 questions from 4 of 4 files: " in done.out
    assert "generate" in done.out
    assert lab.models.counters()["by_path"] == {}


def test_golden_generates_questions(dream_in_lab, lab: Lab):
    done = dream_in_lab("golden", "--questions", "2", "--name", "two", "--seed", "1")
    assert (done.code, done.err) == (0, "")
    assert (lab.home / "golden-datasets" / "two.csv").read_text(encoding="utf-8").startswith('"id","question"')
