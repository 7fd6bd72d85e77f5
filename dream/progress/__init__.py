"""Progress of long-running functions: bars in a terminal and in a notebook, plain lines elsewhere.

A long-running function has a parameter `show: Show` and calls `reporter_for(show)`:

    with reporter_for(show).task("reading documents", total=len(names), unit="files") as task:
        for name in names:
            ...
            task.advance(answer_correctness=0.71, usd=0.12)

`show` is `print` (bars in a terminal or a notebook, lines in a pipe or a job's log), any other function (which receives
lines), None (silent), or a `Reporter`. Reporters are thread-safe.
"""

from dream.progress.lines import Heartbeat as Heartbeat, Lines as Lines
from dream.progress.reporters import (
    Show as Show,
    never_silent as never_silent,
    reporter_for as reporter_for,
)
from dream.progress.task import Reporter as Reporter, Task as Task
