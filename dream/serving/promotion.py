"""`Promotion`: the trial that is in use, as a YAML file for review (`winner.yaml`).

It has everything that `dream serve` needs to answer like the trial in its experiment, and everything a reviewer needs:
scores with intervals, and the location of the evidence. It never contains an API key.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dream.errors import ConfigurationError, explain
from dream.experiments.study_file import Document, file_text, read_yaml
from dream.indexes.contexts import writer_of
from dream.metrics import is_metric, valid_names
from dream.rag.methods import RAG_METHODS, imported_method, index_request
from dream.records import Trial

# Increment this when the meaning of a key changes.
FORMAT = 1
SCHEMA_FILE = "winner.schema.json"
_HEADING = """\
# yaml-language-server: $schema={schema}
# The RAG system in use: `dream serve` answers with it, `dream check` asks it the questions of its experiment.
# Made by `dream export`; whoever wants another exports another trial. Keys of models stay in the environment.
"""
_REMEDY = "write the file with `dream export NAME -o FILE`"


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


Text = Annotated[str, Field(min_length=1)]
Count = Annotated[int, Field(ge=0)]


class Documents(_Part):
    """The documents of the experiment. `digest` is the SHA-256 of their text (`DocumentSet`)."""

    uri: Text
    digest: Text


class Questions(_Part):
    """The golden questions on which the trial was scored; `uri` is empty for questions in memory."""

    uri: str
    digest: Text
    number: Count


class Judge(_Part):
    """The models that scored the answers; `strictness` as in a study."""

    llm: Text
    embed_model: Text
    strictness: Annotated[int, Field(ge=1)] = 1


class Scored(_Part):
    """The mean of a metric with its 95 % interval for further questions of this kind, and the number of scored
    questions; None without a score."""

    mean: float | None
    low: float
    high: float
    questions: Count
    failed: Count = 0


class Evidence(_Part):
    """The location of the answers, scores and comparison: the experiment's name, its storage, and the URL of its MLflow
    run (empty for a store without pages)."""

    experiment: Text
    experiments: Text
    mlflow: str = ""


class Replaced(_Part):
    """The trial that was in use before."""

    experiment: Text
    trial: Text


class Promotion(_Part):
    """The trial that is in use.

    Attributes:
        method: a RAG method's name, or `package.module:function` for one of the user's own.
        trial: the trial's id, which shows that file and experiment agree.
        index: the key of its index in storage; empty for an index without vectors and without contexts by an LLM, which
            is built in memory.
        endpoints: the base URL of each model's endpoint in the experiment, by model identifier.
        metric, margin: the metric of the choice, and the largest acceptable loss (0 to 1).
        reason: the reason for the recommendation; empty for a trial that was chosen by hand.
        offline: true if the models were offline models.
    """

    format: Annotated[int, Field(ge=1, le=FORMAT)]
    method: Text
    llm: str
    embed_model: str
    parameters: dict[str, Any]
    trial: Text
    index: str
    documents: Documents
    endpoints: dict[str, str]
    metric: Text
    margin: Annotated[float, Field(ge=0, le=1)]
    reason: str = ""
    scores: dict[str, Scored]
    questions: Questions
    judge: Judge
    evidence: Evidence
    replaces: Replaced | None = None
    offline: bool
    versions: dict[str, str]

    @property
    def as_trial(self) -> Trial:
        """The trial of the experiment. The module of a user's own method must have been imported."""
        return Trial(self.method.rpartition(":")[2], self.llm, self.embed_model, self.parameters)

    def to_yaml(self) -> str:
        """The file; equal promotions give equal files."""
        data = self.model_dump(exclude_none=True)
        data["scores"] = self.model_dump()["scores"]  # a mean of null is said
        text = yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=100)
        return _HEADING.format(schema=SCHEMA_FILE) + text


def read_promotion(path: str | Path) -> Promotion:
    """Read a winner file. A method "package.module:function" is imported.

    Raises:
        ConfigurationError: naming every mistake at once, each with its line; also if the parameters differ from those
            of the scored trial.
    """
    return promotion_of(file_text(path, "winner", _REMEDY), Path(path).name)


def read_winner(path: Path) -> Promotion | None:
    """The winner in a file; None without a file, or if it only has comments.

    Raises:
        ConfigurationError: as `read_promotion`.
    """
    text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    is_empty = all(line.lstrip().startswith("#") or not line.strip() for line in text.splitlines())
    return None if is_empty else read_promotion(path)


def replacing(before: Promotion | None, trial: str) -> Replaced | None:
    """The promotion that a trial replaces. If the trial is already in use, the promotion that it replaced."""
    if before is None or before.trial == trial:
        return before and before.replaces
    return Replaced(experiment=before.evidence.experiment, trial=before.trial)


def promotion_of(text: str, name: str = "winner.yaml") -> Promotion:
    """`read_promotion` for a text."""
    document = read_yaml(text, name)
    if not isinstance(document.value, dict):
        raise ConfigurationError(f"{name} has no keys: {_REMEDY}")
    try:
        promotion = Promotion.model_validate(document.value)
    except ValidationError as error:
        _note(document, error)
        _check_method(document, document.value)
        document.raise_problems()
        raise
    _check_method(document, document.value)
    document.raise_problems()
    if (given := promotion.as_trial.id) != promotion.trial:
        document.problem(
            ("trial",),
            f"the method, models and parameters are those of trial {given}, but the scores are those of "
            f"{promotion.trial}: run an experiment with these parameters, and export its trial",
        )
    request = index_request(promotion.as_trial)
    is_missing = bool(request.embed_model) and not promotion.index
    # earlier versions named no index that has contexts and no vectors
    is_idle = bool(promotion.index) and not (request.embed_model or writer_of(request.parameters))
    if is_missing or is_idle:
        document.problem(("index",), f"index={promotion.index!r} with embed_model={promotion.embed_model!r}: {_REMEDY}")
    document.raise_problems()
    return promotion


def _note(document: Document, error: ValidationError) -> None:
    """Record pydantic's mistakes with their lines."""
    for each in error.errors():
        path = each["loc"]
        if each["type"] == "extra_forbidden":
            fields: Any = Promotion.model_json_schema()
            valid = _keys_at(fields, path[:-1])
            document.check_keys(path[:-1], {path[-1]: None}, valid)
        elif each["type"] == "missing":
            document.problem(path[:-1], f"{_dotted(path)} is missing: {_REMEDY}")
        else:
            document.problem(path, f"{_dotted(path)}={each['input']!r}: {each['msg'].removeprefix('Input ')}")


def _keys_at(schema: Mapping[str, Any], path: tuple[int | str, ...]) -> list[str]:
    """The valid keys of a part of the file."""
    part_schema: Mapping[str, Any] = schema
    for key in path:
        schema_of_key = part_schema.get("properties", {}).get(key) or part_schema.get("additionalProperties", {})
        schema_of_key = next((each for each in schema_of_key.get("anyOf", []) if "$ref" in each), schema_of_key)
        part_schema = (
            schema["$defs"][schema_of_key["$ref"].rpartition("/")[2]] if "$ref" in schema_of_key else schema_of_key
        )
    return list(part_schema.get("properties", {}))


def _dotted(path: tuple[int | str, ...]) -> str:
    return ".".join(map(str, path))


def _check_method(document: Document, given: Mapping[str, Any]) -> None:
    """Record an unknown method, mistakes in its parameters, and an unknown metric."""
    if isinstance(metric := given.get("metric"), str) and not is_metric(metric) and metric not in _scored(given):
        document.problem(("metric",), f"unknown metric {metric!r}; valid: {valid_names()}")
    if not isinstance(method := given.get("method"), str):
        return
    try:
        name = imported_method(method)
    except ConfigurationError as error:
        document.problem(("method",), f"{error}; install its package where the winner is served")
        return
    if name not in RAG_METHODS:
        known = f"{', '.join(RAG_METHODS)}, or package.module:function"
        document.problem(("method",), f"unknown method {method!r}; valid: {known}")
    elif isinstance(parameters := given.get("parameters"), dict):
        try:
            problems = RAG_METHODS[name].problems(parameters)
        except (ValueError, TypeError) as error:
            problems = [explain(error)]
        for problem in problems:
            document.problem(("parameters",), problem)


def _scored(given: Mapping[str, Any]) -> Mapping[str, Any]:
    scores = given.get("scores")
    return scores if isinstance(scores, dict) else {}


def promotion_schema() -> dict[str, Any]:
    """The JSON schema of winner files, for editors."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Promotion.model_json_schema(),
        "title": "The winner of an experiment of DREAM",
    }
