"""The display of what the index builder reports."""

from dream.indexes.progress import (
    ContextsOfIndexes,
    ContextsPart,
    ContextsProgress,
    IndexesProgress,
    ProgressOfIndexes,
)
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
        indexes = task.facts.get("indexes")
        self.shown.append(f"{task.count}, indexes {indexes}" if indexes else task.count)

    def finish(self, task: Task) -> None:
        self.shown.append(f"end {task.count}")


def test_all_indexes_are_one_task_whose_total_is_known_when_all_are_chunked():
    reporter = Recording()
    progress = ProgressOfIndexes(reporter)
    progress.show("  indexes are not stored")
    for message in (IndexesProgress(0, None, 0, 2), IndexesProgress(64, 200, 1, 2), IndexesProgress(200, 200, 2, 2)):
        progress.show(message)
    progress.finish()
    assert reporter.shown == [
        "  indexes are not stored",
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


def test_contexts_are_a_task_of_their_own_that_ends_when_all_are_written():
    reporter = Recording()
    progress = ProgressOfIndexes(reporter)
    for message in (ContextsProgress(0, None), ContextsProgress(3, 4), IndexesProgress(0, 9, 0, 1)):
        progress.show(message)
    progress.show(ContextsProgress(4, 4))
    assert reporter.shown == [
        "begin 0 chunks", "0 chunks", "3 of 4 chunks",
        "begin 0 of 9 texts", "0 of 9 texts, indexes 0 of 1",
        "4 of 4 chunks", "end 4 of 4 chunks",
    ]  # fmt: skip


def test_contexts_of_all_indexes_are_counted_together_and_their_number_is_known_when_all_are_chunked():
    contexts, first, second = ContextsOfIndexes(), ContextsPart(0, 2, 10), ContextsPart(1, 2, 5)
    contexts.expect(["a", "b", "c"])
    assert contexts.add("a", first, 0) == ContextsProgress(0, None)
    assert contexts.add("a", first, 7) == ContextsProgress(7, None)
    assert contexts.add("a", second, 2) == ContextsProgress(9, None)  # b and c are still to come
    contexts.kept("c")
    assert contexts.add("b", ContextsPart(0, 1, 3), 1) == ContextsProgress(10, 18)
    assert contexts.add("a", first, 0) == ContextsProgress(10, 18)  # it runs again
    contexts.kept("a")  # it was written here
    assert contexts.add("a", first, 10) == ContextsProgress(13, 18)
