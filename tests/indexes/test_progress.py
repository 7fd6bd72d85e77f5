"""The display of what the index builder reports."""

from dream.indexes.progress import IndexesProgress, ProgressOfIndexes
from dream.progress import Reporter, Task


class Recording(Reporter):
    """Keeps the state of tasks at each call."""

    def __init__(self) -> None:
        self.shown: list[str] = []

    def line(self, text: str) -> None:
        self.shown.append(text)

    def begin(self, task: Task) -> None:
        self.shown.append(f"begin {task.count}")

    def update(self, task: Task) -> None:
        self.shown.append(f"{task.count}, indexes {task.facts['indexes']}")

    def finish(self, task: Task) -> None:
        self.shown.append(f"end {task.count}")


def test_all_indexes_are_one_task_whose_total_is_known_when_all_are_chunked():
    reporter = Recording()
    progress = ProgressOfIndexes(reporter)
    progress.show("  indexes are not kept")
    for message in (IndexesProgress(0, None, 0, 2), IndexesProgress(64, 200, 1, 2), IndexesProgress(200, 200, 2, 2)):
        progress.show(message)
    progress.finish()
    assert reporter.shown == [
        "  indexes are not kept",
        "begin 0 texts",
        "0 texts, indexes 0 of 2",
        "64 of 200 texts, indexes 1 of 2",
        "200 of 200 texts, indexes 2 of 2",
        "end 200 of 200 texts",
    ]


def test_a_build_that_failed_leaves_its_task_unfinished_until_the_end():
    reporter = Recording()
    progress = ProgressOfIndexes(reporter)
    progress.show(IndexesProgress(64, 200, 0, 1))
    assert reporter.shown == ["begin 64 of 200 texts", "64 of 200 texts, indexes 0 of 1"]
    progress.finish()
    progress.finish()
    assert reporter.shown[2:] == ["end 64 of 200 texts"]


def test_an_index_that_is_built_again_is_counted_back():
    reporter = Recording()
    progress = ProgressOfIndexes(reporter)
    for message in (IndexesProgress(300, 400, 1, 2), IndexesProgress(100, 400, 0, 2)):
        progress.show(message)
    assert reporter.shown[-1] == "100 of 400 texts, indexes 0 of 2"
