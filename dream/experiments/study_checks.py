"""Checks of a whole study file: API keys in it, and rules that exclude every trial."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from dream.experiments.study_file import Document, Path
from dream.rag.combinations import EMBED_MODEL, LLM
from dream.rag.products import LISTED, size_of
from dream.rag.registry import RAG_METHODS
from dream.rag.search_space import SearchSpace, choices_of
from dream.rag.search_spaces import Condition, Requirement, is_allowed
from dream.records import Trial

# Names of fields with keys and passwords, and the forms of well-known services' keys.
_SECRET_NAME = re.compile(
    r"(?i)(?:^|[_-])(?:(?:api|access|private|secret)[_-]?key|token|password|passwd|secret|authorization|credentials?)$"
)
_SECRET = re.compile(
    r"\b(?:sk|pk|rk|hf|gsk|ghp|glpat|xox[bp])[-_][A-Za-z0-9_-]{16,}|\b(?:AKIA|ASIA)[A-Z0-9]{12,}|\bAIza[\w-]{30,}"
    r"|(?i:\bbearer\s+)[\w.~+/-]{16,}|(?<=://)[^\s/@:]+:[^\s/@]+(?=@)|-----BEGIN [A-Z ]*PRIVATE KEY-----"
)
_KEYS_STAY = (
    "keys and passwords stay in the environment (OPENAI_API_KEY, DREAM_ENDPOINT_<NAME>_API_KEY, ...), because "
    "this file is stored with the experiment; remove it, and replace the key if others have seen it"
)
_UNKNOWN_MODEL = "?"


def note_secrets(document: Document) -> None:
    """Report every value that looks like an API key or a password, by its field's name or its form; messages do not
    show it."""
    for path, value in _texts((), document.value):
        named = bool(path) and isinstance(path[-1], str) and _SECRET_NAME.search(path[-1])
        secrets = [value] if named and _is_long(value) else _SECRET.findall(value)
        if secrets:
            document.hide(secrets)
            document.problem(
                path, f"{path[-1] if path else 'the file'} contains what looks like an API key: {_KEYS_STAY}"
            )


def _is_long(value: str) -> bool:
    return len(value) >= 8 and not re.search(r"[\s{}]", value)


def _texts(path: Path, value: Any) -> Iterator[tuple[Path, str]]:
    if isinstance(value, Mapping):
        for key, child in value.items():
            yield from _texts((*path, key), child)
    elif isinstance(value, list):
        for number, child in enumerate(value):
            yield from _texts((*path, number), child)
    elif isinstance(value, str):
        yield path, value


def note_rules(
    document: Document,
    systems: Sequence[SearchSpace],
    models: tuple[Sequence[str], Sequence[str]],
    exclude: Mapping[Path, Condition],
    require: Mapping[Path, Requirement],
) -> None:
    """Report each rule that excludes every trial, else if all rules together do. Spaces too large to list are not
    checked.

    Args:
        models: the LLMs and embedding models of the study; empty if those of the settings are used.
        exclude, require: the rules by their places in the document.
    """
    trials = _trials(systems, *models)
    if not trials:
        return
    decided = {path: rule for path, rule in require.items() if _is_decided(rule, models)}
    excluding = [path for path, rule in exclude.items() if not any(is_allowed(each, [rule], []) for each in trials)]
    broken = [path for path, rule in decided.items() if not any(is_allowed(each, [], [rule]) for each in trials)]
    for path in excluding:
        document.problem(path, "this rule excludes every trial: all trials of the systems meet its condition")
    for path in broken:
        document.problem(
            path, "this rule excludes every trial: all trials of the systems meet `when`, and none meets `then`"
        )
    together = any(is_allowed(each, list(exclude.values()), list(decided.values())) for each in trials)
    if not (together or excluding or broken):
        document.problem(("rules",), "together the rules exclude every trial")


def _is_decided(rule: Requirement, models: tuple[Sequence[str], Sequence[str]]) -> bool:
    """False for a condition on models that are known only from the settings."""
    return all(models) or not {LLM, EMBED_MODEL} & set(rule.then)


def _trials(systems: Sequence[SearchSpace], llms: Sequence[str], embed_models: Sequence[str]) -> list[Trial]:
    spaces = [
        replace(
            space,
            llms=space.llms or llms or (_UNKNOWN_MODEL,),
            embed_models=space.embed_models or embed_models or (_UNKNOWN_MODEL,),
        )
        for space in systems
    ]
    if sum(map(_size, spaces)) > LISTED:
        return []
    return [trial for space in spaces for trial in space.unchecked_trials()]


def _size(space: SearchSpace) -> int:
    models = len(space.llms) * len(space.embed_models)
    choices = [choices_of(RAG_METHODS[name], space.parameters.get(name, {})) for name in space.query_engines]
    return sum(models * size_of(list(each.values())) for each in choices)
