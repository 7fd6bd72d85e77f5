"""A folder of part files, as Spark, Ray Data and Dask write large tables: all parts are one golden dataset."""

from pathlib import PurePosixPath

from dream.errors import DataError, bullets
from dream.golden.own_questions import EXTENSIONS, OwnQuestions, is_question_file, questions_of, read_sheet
from dream.golden.sheet import bounded, shortened
from dream.records import GoldenQuestion
from dream.storage import Storage


def part_files(storage: Storage) -> list[str]:
    """The files with questions in a folder and its subfolders, by name, without markers such as `_SUCCESS`."""
    return sorted(item.key for item in storage.list() if is_question_file(item.key) and not _is_marker(item.key))


def read_parts(storage: Storage) -> OwnQuestions:
    """The questions of all part files in a folder, in the order of the parts; parts without rows are skipped.

    Raises:
        DataError: listing every mistake with its part and row, and questions that occur in two parts; or if the files
            are of several kinds.
    """
    keys = part_files(storage)
    if len(kinds := sorted({_kind(key) for key in keys})) > 1:
        raise DataError(
            f"{storage.uri('')} holds files of several kinds ({', '.join(kinds)}): give the path of one of them, or a "
            "folder whose files are all parts of one dataset"
        )
    parts: dict[str, OwnQuestions] = {}
    problems = []
    for key in keys:
        try:
            sheet = read_sheet(storage.read_bytes(key))
            if sheet.rows or sheet.problems:
                parts[key] = questions_of(sheet, key)
        except DataError as error:
            problems.append(str(error))
    problems = problems or _repeated(parts)
    if not parts and not problems:
        problems = [f"its {len(keys)} part file(s) have no rows: give at least one question"]
    if problems:
        raise DataError(bullets(f"{len(problems)} mistake(s) in {storage.uri('')}:", bounded(problems)))
    questions = tuple(question for part in parts.values() for question in part.questions)
    notes = dict.fromkeys(note for part in parts.values() for note in part.notes)
    return OwnQuestions(questions, (f"{len(parts)} part file(s)", *bounded(list(notes))))


def _repeated(parts: dict[str, OwnQuestions]) -> list[str]:
    seen: dict[str, str] = {}
    problems = []
    for key, part in parts.items():
        for question in part.questions:
            first = seen.setdefault(GoldenQuestion.make_id(question.question, question.ground_truth), key)
            if first != key:
                problems.append(f"{key}: {shortened(question.question)} is also in {first}, with the same ground truth")
    return problems


def _is_marker(key: str) -> bool:
    return any(name.startswith(("_", ".")) for name in PurePosixPath(key).parts)


def _kind(key: str) -> str:
    name = key.lower().removesuffix(".gz")
    return next(extension for extension in EXTENSIONS if name.endswith(extension))
