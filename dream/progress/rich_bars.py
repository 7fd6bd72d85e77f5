"""The bars of `TerminalBars`, as rich draws them."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.padding import Padding
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Column
from rich.text import Text

from dream.progress.live_table import fitting

if TYPE_CHECKING:
    from dream.progress.task import Task

NAME_COLUMNS = 20
REFRESHES_A_SECOND = 4


def rich_progress(console: Console) -> Progress:
    """The bars, each with its facts or its table. A bar has the fields `count`, `time`, `facts` and `of`, its task."""

    class Bars(Progress):
        # Beside a bar, the facts would be cut off at the terminal's width.
        def get_renderables(self) -> Iterator[Any]:
            lines_of_bars = sum(1 + bool(task.fields["facts"]) for task in self.tasks)
            for task in self.tasks:
                yield from table_above(task.fields["of"], self.console.width, self.console.height - lines_of_bars - 1)
                yield self.make_tasks_table([task])
                if facts := task.fields["facts"]:
                    yield Padding(Text(facts), (0, 0, 0, 2))

    drawn: dict[Task, tuple[tuple[int, int, int], list[Text]]] = {}

    def table_above(task: "Task", columns: int, lines: int) -> list[Text]:
        if task.table is None:
            return []
        state = (task.version, columns, lines)
        if task not in drawn or drawn[task][0] != state:
            texts = fitting(task.table, columns, lines)
            drawn[task] = state, [Text(each.text, each.style, no_wrap=True, overflow="crop") for each in texts]
        return drawn[task][1]

    name = TextColumn("{task.description}", markup=False, table_column=Column(min_width=NAME_COLUMNS, no_wrap=True))
    texts = (TextColumn(f"{{task.fields[{field}]}}", markup=False) for field in ("count", "time"))
    return Bars(name, BarColumn(20), *texts, console=console, refresh_per_second=REFRESHES_A_SECOND)
