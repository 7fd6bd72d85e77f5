"""Lines of the reports on files."""


def report_line(status: str, file: str, problem: str, remedy: str = "") -> str:
    """A line such as `skipped  a.pdf: it is empty; upload the whole file again`."""
    line = f"{status:<8} {file}" + (f": {problem}" if problem else "")
    return f"{line}; {remedy}" if remedy else line
