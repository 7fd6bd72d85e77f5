"""Checks of a whole study file: API keys in it, rules that exclude every trial, and models without an endpoint."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from dream.experiments.study_file import Document, Path
from dream.models.pickers import check_identifiers
from dream.rag.combinations import EMBED_MODEL, LLM
from dream.rag.own_systems import service_problem
from dream.rag.products import LISTED, size_of
from dream.rag.registry import RAG_METHODS
from dream.rag.search_space import SearchSpace, choices_of
from dream.rag.search_spaces import Condition, Requirement, is_allowed
from dream.records import Trial
from dream.settings import Settings

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


def note_endpoints(document: Document, systems: Sequence[SearchSpace], settings: Settings) -> None:
    """Note every model and service of the systems and the judge whose endpoint is not configured.

    Args:
        settings: with the models of the study.
    """
    asked = {settings.judge_llm: ("models", "judge"), settings.judge_embed_model: ("models", "judge")}
    problems: dict[str, str] = {}
    for space in systems:
        whole = replace(
            space, llms=space.llms or settings.llms, embed_models=space.embed_models or settings.embed_models
        )
        asked = {**dict.fromkeys(whole.models_asked(), ("systems",)), **asked}
        problems |= {name: service_problem(RAG_METHODS[name], settings) for name in space.query_engines}
    problems |= {model: problem for model in asked for problem in check_identifiers([model], settings)}
    places: dict[str, Path] = {}
    for path, text in _texts((), document.value):
        places.setdefault(text, path)
    for name, problem in problems.items():
        if problem:
            document.problem(places.get(name) or asked.get(name, ("systems",)), problem)


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
