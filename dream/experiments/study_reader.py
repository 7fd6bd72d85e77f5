"""`read_study`: reads a study file, and reports all mistakes together, each with its line."""

from collections.abc import Mapping, Sequence
from pathlib import Path as FilePath
from typing import Any

from dream.defaults import ENGINES
from dream.errors import ConfigurationError, did_you_mean
from dream.experiments.racing import race_options
from dream.experiments.sift import sift_of
from dream.experiments.study import Study
from dream.experiments.study_checks import note_endpoints, note_rules, note_secrets
from dream.experiments.study_file import Document, Path, file_text, read_yaml
from dream.experiments.study_values import ValueReader, listed
from dream.golden.hold_out import hold_out_of
from dream.metrics import METRICS_WITH_CUTOFF, described_metric, is_metric, metric_names, names_of, valid_names
from dream.metrics.described import description_problems
from dream.rag.own_systems import http_system
from dream.rag.registry import RAG_METHODS, imported_method
from dream.rag.search import search_of
from dream.rag.search_space import SearchSpace
from dream.rag.search_spaces import Condition, Requirement
from dream.records import HoldOut, Objective, Search
from dream.settings import Settings

KEYS = (
    "documents", "questions", "models", "systems", "rules", "metrics", "objective", "strictness", "baselines",
    "judge_repeats", "search", "sift", "race", "hold_out", "engine", "budget",
)  # fmt: skip
SERVICE_KEYS = ("service", "endpoint", "path", "request", "answer", "contexts", "incumbent", "concurrency")
# The names of factors in a file, and in a trial's configuration.
TRIAL_KEYS = {"method": "query_engine_identifier", "llm": "llm_identifier", "embed_model": "embed_model_identifier"}
# Keys with this prefix hold anchors, which other values refer to.
ASIDE = "x-"
_RANGE_KEYS = ("from", "to", "step")
_MOST_VALUES = 1000


def read_study(path: str | FilePath, settings: Settings | None = None) -> Study:
    """Read a study file (`dream.experiments.study` has an example). A method may be "package.module:function", whose
    module is imported.

    Args:
        settings: those with which the study will run; without them, endpoints that are not configured are told when it
            is planned or run.

    Raises:
        ConfigurationError: naming every mistake at once, each with its line.
    """
    return study_of(file_text(path, "study"), FilePath(path).name, settings)


def study_of(text: str, name: str = "study.yaml", settings: Settings | None = None) -> Study:
    """`read_study` for a text."""
    return _StudyReader(read_yaml(text, name), text).study(settings)


class _StudyReader(ValueReader):
    """Makes a `Study` from a YAML document; all mistakes are collected before an error is raised."""

    def __init__(self, document: Document, text: str) -> None:
        super().__init__(document)
        self._text = text

    def study(self, configured: Settings | None) -> Study:
        """The study; raises a ConfigurationError with all mistakes."""
        given = self._document.value
        if not isinstance(given, dict):
            raise ConfigurationError(f"{self._document.name} has no keys: write at least `systems:`, a list of methods")
        note_secrets(self._document)
        self._document.check_keys((), {key: None for key in given if not str(key).startswith(ASIDE)}, KEYS)
        exclude, require = self._rules()
        systems, lines = self._systems()
        options, settings = self._options(given), self._settings(given)
        note_rules(
            self._document, systems, (settings.get("llms", ()), settings.get("embed_models", ())), exclude, require
        )
        study = Study(
            self._document.name, self._text, systems, lines, list(exclude.values()), list(require.values()), settings,
            self._budget(given), options, self._objective(given, options.get("metrics")),
        )  # fmt: skip
        if configured is not None:
            note_endpoints(self._document, systems, study.applied_to(configured))
        self._document.raise_problems()
        return study

    # --- what is not a system

    def _settings(self, given: Mapping[str, Any]) -> dict[str, Any]:
        models = self._mapping("models", ("llms", "embed_models", "judge", "generator"), given)
        judge = self._mapping("judge", ("llm", "embed_model"), models, ("models",))
        judge_llm = self._text_of("llm", judge, ("models", "judge"))
        return _without_nothing(
            llms=self._names("llms", models, ("models",)),
            embed_models=self._names("embed_models", models, ("models",)),
            judge_llm=judge_llm,
            judge_embed_model=self._text_of("embed_model", judge, ("models", "judge")),
            generator_llm=self._text_of("generator", models, ("models",)) or judge_llm,
            documents_uri=self._text_of("documents", given, ()),
            engine=self._one_of("engine", given, ENGINES),
        )

    def _budget(self, given: Mapping[str, Any]) -> dict[str, float]:
        limits = ("usd", "calls", "tokens")
        budget = self._mapping("budget", limits, given)
        return _without_nothing(**{name: self._number(name, budget, ("budget",), above=0) for name in limits})

    def _options(self, given: Mapping[str, Any]) -> dict[str, Any]:
        repeats = self._mapping("judge_repeats", ("times", "questions"), given)
        return _without_nothing(
            golden_dataset=self._text_of("questions", given, ()),
            metrics=self._metrics(given),
            strictness=self._count("strictness", given, ()),
            baselines=self._flag("baselines", given),
            judge_repeats=self._count("times", repeats, ("judge_repeats",)),
            judge_repeat_questions=self._count("questions", repeats, ("judge_repeats",)),
            sift=self._sift(given.get("sift", False)),
            search=self._search(given),
            race=self._race(given.get("race", False)),
            hold_out=self._hold_out(given.get("hold_out")),
        )

    def _metrics(self, given: Mapping[str, Any]) -> tuple[str, ...]:
        """The names of the metrics; described rubrics and aspects are registered."""
        entries = [
            self._described(("metrics", number), each) if isinstance(each, dict) else each
            for number, each in enumerate(listed(given.get("metrics")))
        ]
        self._names("metrics", {"metrics": [each for each in entries if each is not None]}, ())
        names = [self._metric(("metrics", number), each) for number, each in enumerate(entries)]
        return tuple(name for name in names if name)

    def _metric(self, path: Path, given: Any) -> str:
        """The name of a metric; "" after a mistake."""
        if not isinstance(given, str) or not given.strip():
            return ""
        try:
            (name,) = names_of([given])
        except ConfigurationError as error:
            self._document.problem(path, str(error))
            return ""
        if not is_metric(name):
            hint = did_you_mean(name, metric_names())
            self._document.problem(path, f"unknown metric {name!r}; valid: {valid_names()}{hint}")
        return name

    def _described(self, path: Path, given: Mapping[str, Any]) -> str | None:
        """The name of a described metric; None after a mistake."""
        problems = description_problems(given)
        for key, message in problems:
            self._document.problem((*path, key), message)
        return None if problems else described_metric(given).name

    def _search(self, given: Mapping[str, Any]) -> Search | None:
        keys = ("by", "trials", "seed")
        asked = {key: value for key, value in self._mapping("search", keys, given).items() if key in keys}
        try:
            return search_of(asked) if asked else None
        except ConfigurationError as error:
            self._document.problem(("search",), str(error))
            return None

    def _sift(self, value: Any) -> bool | str:
        try:
            return value if sift_of(value) else False
        except ConfigurationError as error:
            hint = did_you_mean(value, METRICS_WITH_CUTOFF)
            self._document.problem(("sift",), f"{error}; true for the default{hint}")
            return False

    def _race(self, value: Any) -> bool | Mapping[str, Any]:
        try:
            return value if race_options(value) else False
        except ConfigurationError as error:
            self._document.problem(("race",), str(error))
            return False

    def _hold_out(self, value: Any) -> HoldOut | None:
        try:
            return hold_out_of(value)
        except ConfigurationError as error:
            self._document.problem(("hold_out",), str(error))
            return None

    def _objective(self, given: Mapping[str, Any], metrics: Sequence[str] | None) -> Objective:
        path = ("objective",)
        objective = self._mapping("objective", ("maximise", "margin"), given)
        metric = self._text_of("maximise", objective, path)
        if metric and metrics and metric not in metrics:
            self._document.problem((*path, "maximise"), f"maximise={metric!r} is not among metrics={list(metrics)}")
        return Objective(metric or "", self._number("margin", objective, path, most=1))

    # --- systems and rules

    def _systems(self) -> tuple[list[SearchSpace], list[int]]:
        given = self._document.value.get("systems")
        if not isinstance(given, list) or not given:
            example = f"- method: {next(iter(RAG_METHODS))}"
            self._document.problem(("systems",), f"systems={given!r}: list the RAG systems to try, such as {example}")
            return [], []
        spaces, lines = [], []
        for number, entry in enumerate(given):
            path: Path = ("systems", number)
            found = self._system(path, {"method": entry} if isinstance(entry, str) else entry)
            spaces += found
            lines += [self._document.lines[path]] * len(found)
        return spaces, lines

    def _system(self, path: Path, entry: Any) -> list[SearchSpace]:
        """The search spaces of one entry, one per method."""
        if isinstance(entry, dict) and "service" in entry:
            name = self._service(path, entry)
            return [SearchSpace((name,), (), ())] if name else []
        if not isinstance(entry, dict) or not entry.get("method"):
            self._note_no_method(path, entry)
            return []
        names = [self._method(path, method) for method in listed(entry["method"])]
        return [self._space(path, entry, name) for name in names if name]

    def _note_no_method(self, path: Path, entry: Any) -> None:
        misspelt = [key for key in entry if did_you_mean(key, ("method", "service"))] if isinstance(entry, dict) else []
        if misspelt:
            self._document.check_keys(path, dict.fromkeys(misspelt), ("method", "service"))
        else:
            self._document.problem(path, f"{entry!r} names no method; valid: {', '.join(RAG_METHODS)}")

    def _space(self, path: Path, entry: Mapping[str, Any], name: str) -> SearchSpace:
        known = RAG_METHODS[name].all_defaults
        self._document.check_keys(path, entry, [*known, "method", "llms", "embed_models"])
        given = {key: self._values((*path, key), value) for key, value in entry.items() if key in known}
        parameters = {key: value for key, value in given.items() if value != []}  # those mistakes are already recorded
        llms, embed_models = self._names("llms", entry, path), self._names("embed_models", entry, path)

        def problems(some: Mapping[str, Any]) -> list[str]:
            return SearchSpace((name,), ("-",), ("-",), {name: some}).problems()

        found = problems(parameters)
        for key, value in parameters.items():
            for problem in [each for each in problems({key: value}) if each in found]:
                self._document.problem((*path, key), problem)
                found.remove(problem)
        for problem in found:
            self._document.problem(path, problem)
        return SearchSpace((name,), llms, embed_models, {name: parameters})

    def _method(self, path: Path, method: Any) -> str | None:
        """The registered name of a method; "package.module:function" is imported."""
        try:
            name = imported_method(str(method))
        except ConfigurationError as error:
            self._document.problem((*path, "method"), str(error))
            return None
        if name not in RAG_METHODS:
            valid = f"{', '.join(RAG_METHODS)}, or package.module:function{did_you_mean(method, RAG_METHODS)}"
            self._document.problem((*path, "method"), f"unknown method {method!r}; valid: {valid}")
            return None
        return name

    def _service(self, path: Path, entry: Mapping[str, Any]) -> str | None:
        """Register an HTTP service as a method; its name."""
        self._document.check_keys(path, entry, SERVICE_KEYS)
        texts = {key: self._text_of(key, entry, path) for key in ("service", "endpoint", "path", "answer", "contexts")}
        request = self._mapping("request", tuple(entry.get("request") or ()), entry, path)
        name, endpoint = texts.pop("service"), texts.pop("endpoint")
        concurrency = self._count("concurrency", entry, path)
        if name is None or endpoint is None:
            text = "give service: a name, and endpoint: the NAME of DREAM_ENDPOINT_<NAME>_BASE_URL"
            self._document.problem(path, text)
            return None
        incumbent = self._flag("incumbent", entry, path)
        options = _without_nothing(**texts, request=request, concurrency=concurrency, incumbent=incumbent)
        try:
            return http_system(name, endpoint=endpoint, **options)
        except ConfigurationError as error:
            self._document.problem(path, str(error))
            return None

    def _values(self, path: Path, value: Any) -> Any:
        """The values of a parameter; a range becomes a list."""
        if not isinstance(value, dict):
            return value
        self._document.check_keys(path, value, _RANGE_KEYS)
        given = [value.get("from"), value.get("to"), value.get("step", 1)]
        numbers = [each for each in given if isinstance(each, int | float) and not isinstance(each, bool)]
        if len(numbers) < 3 or numbers[2] <= 0 or numbers[1] < numbers[0]:
            self._document.problem(path, f"{value!r} is not a range: write {{from: 2, to: 6, step: 2}}")
            return []
        low, high, step = numbers
        n = int((high - low) / step + 1e-9) + 1
        if n > _MOST_VALUES:
            self._document.problem(path, f"{value!r} has {n:,} values: at most {_MOST_VALUES} are tried")
            return []
        whole = all(isinstance(each, int) for each in numbers)
        return [low + step * number if whole else round(low + step * number, 10) for number in range(n)]

    def _rules(self) -> tuple[dict[Path, Condition], dict[Path, Requirement]]:
        """The rules, by their places."""
        given = self._document.value.get("rules") or []
        if not isinstance(given, list):
            self._document.problem(("rules",), f"rules={given!r}: write a list of exclude: and require:")
            return {}, {}
        exclude: dict[Path, Condition] = {}
        require: dict[Path, Requirement] = {}
        for number, rule in enumerate(given):
            path: Path = ("rules", number)
            (kind, content), *more = rule.items() if isinstance(rule, dict) and rule else [(None, None)]
            if more or kind not in ("exclude", "require") or not isinstance(content, dict):
                hint = did_you_mean(kind, ("exclude", "require"))
                self._document.problem(
                    path,
                    f"{rule!r} is not a rule: write exclude: {{top_k: 20}}, or require: {{when: {{...}}, then: "
                    f"{{...}}}}"
                    f"{hint}",
                )
            elif kind == "exclude":
                exclude[path] = self._condition((*path, kind), content)
            else:
                self._document.check_keys((*path, kind), content, ("when", "then"))
                when, then = (content.get(part) for part in ("when", "then"))
                if not isinstance(when, dict) or not isinstance(then, dict):
                    self._document.problem((*path, kind), f"{content!r}: give both when: {{...}} and then: {{...}}")
                    continue
                require[path] = Requirement(
                    self._condition((*path, kind, "when"), when), self._condition((*path, kind, "then"), then)
                )
        return exclude, require

    def _condition(self, path: Path, given: Mapping[str, Any]) -> dict[str, Any]:
        """A condition with the field names of a trial's configuration."""
        parameters = {name for method in RAG_METHODS.values() for name in method.all_defaults}
        self._document.check_keys(path, given, [*TRIAL_KEYS, *sorted(parameters)])
        return {TRIAL_KEYS.get(key, key): value for key, value in given.items()}


def _without_nothing(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value}
