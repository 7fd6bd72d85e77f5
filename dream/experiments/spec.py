"""The request for an experiment (`ExperimentSpec`), and the checked experiment with its data (`PreparedExperiment`)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from typing import Any, TypedDict

from dream.defaults import GOLDEN_DATASET, JUDGE_REPEAT_QUESTIONS
from dream.documents.loading import load_documents
from dream.engines import Engine
from dream.errors import ConfigurationError, bullets
from dream.evaluation.applicability import applicability_notes
from dream.evaluation.evaluate import STRICTNESS
from dream.evaluation.locating import locate
from dream.experiments.at_hand import check_at_hand
from dream.experiments.racing import check_with_search, race_announcement, race_of, same_race
from dream.experiments.search_rounds import as_json, check_with_sift
from dream.experiments.sift import announcement, sift_of, with_questions
from dream.experiments.trial import TrialContext
from dream.golden.dataset import load_golden_dataset
from dream.golden.hold_out import hold_out_of, split
from dream.metrics import (
    METRICS,
    check_metrics,
    definition_of,
    find_metric,
    is_judged,
    names_of,
    own_metrics,
)
from dream.models.pickers import check_identifiers, endpoint_urls
from dream.progress import Show
from dream.rag.answers import models_of
from dream.rag.baselines import baseline_trials, check_baseline_metrics, questions_of
from dream.rag.combinations import Combinations
from dream.rag.search import search_of, started
from dream.rag.search_space import SearchSpace, default_search_space
from dream.rag.search_spaces import JoinedSpace
from dream.rag.travelling import TravellingMethods
from dream.records import (
    CLOSED_BOOK,
    GRID,
    JUDGED_ONCE,
    DocumentSet,
    GoldenDataset,
    GoldenQuestion,
    HoldOut,
    Manifest,
    Objective,
    Race,
    Repeats,
    Search,
    Sift,
    Trial,
)
from dream.runtime.provenance import versions
from dream.settings import Settings
from dream.storage import open_storage


@dataclass(frozen=True)
class PreparedExperiment:
    """An experiment that is ready to run: its trials, its baselines, and the data that they share. `sift` decides, or
    has decided, which trials run. `hold_out` has the questions that the trials do not answer."""

    trials: tuple[Trial, ...]
    baselines: tuple[Trial, ...]
    context: TrialContext
    documents: DocumentSet
    objective: Objective = field(default_factory=Objective)
    study: str = ""
    sift: Sift | None = None
    search: Search = field(default_factory=Search)
    hold_out: HoldOut | None = None
    race: Race | None = None

    @property
    def everything(self) -> tuple[Trial, ...]:
        """Trials and baselines."""
        return (*self.trials, *self.baselines)

    @property
    def candidates(self) -> tuple[Trial, ...]:
        """The trials; for an unfinished search in rounds, a few that cover all models and factors that it may
        choose."""
        if self.search.is_open and self.search.space is not None:
            return Combinations.from_json(self.search.space).representatives()
        return self.trials

    @property
    def questions(self) -> tuple[GoldenQuestion, ...]:
        """All golden questions that trials answer."""
        return self.context.golden_dataset.questions

    def questions_of(self, trial: Trial) -> tuple[GoldenQuestion, ...]:
        """The questions that a trial or a baseline answers."""
        return questions_of(trial, self.questions)

    @property
    def notes(self) -> tuple[str, ...]:
        """One line each for a planned sift, methods of unknown cost, repeats, baselines, questions without reference
        contexts, and metrics that do not apply to all questions."""
        context = self.context
        lines, repeats = applicability_notes(context.metrics, self.questions, context.evidence), context.repeats
        if self.search.by != GRID:
            lines.insert(0, self.search.summary)
        held_out = [self.hold_out.announcement(self.trials, len(self.questions))] if self.hold_out else []
        lines = [*announcement(self), *held_out, *race_announcement(self.race, len(self.trials)), *lines]
        if unknown := [name for name, method in context.methods.items() if method.cost.llm_calls is None]:
            lines.append(
                f"{', '.join(unknown)}: one LLM call per question is assumed; @rag_method(llm_calls=...) says how many"
            )
        if repeats.times > 1:
            n = len(repeats.question_ids)
            lines.append(f"answers to {n} of {len(self.questions)} questions are judged {repeats.times} times")
        if self.baselines:
            n_llms = sum(trial.query_engine_identifier == CLOSED_BOOK for trial in self.baselines)
            lines.append(f"baselines: {len(self.baselines)}, for {n_llms} LLM(s)")
            if left_out := sum(not question.reference_contexts for question in self.questions):
                lines.append(
                    f"{left_out} of {len(self.questions)} questions have no reference contexts: the oracle skips them"
                )
        return tuple(lines)

    def manifest(self, name: str, engine: Engine) -> Manifest:
        """The manifest of a new experiment on an engine. The gateway supplies the URL of each endpoint."""
        context = self.context
        identifiers = {context.judge_llm, context.judge_embed_model}
        for trial in self.candidates:
            identifiers |= set(models_of(trial))
        return Manifest(
            name=name,
            golden_dataset=context.golden_dataset,
            metrics=tuple(context.metrics),
            own_metrics=context.own_metrics,
            trials=self.trials,
            baselines=self.baselines,
            judge_llm=context.judge_llm,
            judge_embed_model=context.judge_embed_model,
            strictness=context.strictness,
            repeats=context.repeats,
            documents=self.documents,
            offline=any(identifier.startswith("offline/") for identifier in identifiers),
            started=datetime.now(UTC).replace(microsecond=0),
            engine=engine.name,
            cluster=engine.cluster,
            endpoints=endpoint_urls(sorted(identifiers)),
            versions=versions(),
            objective=self.objective,
            study=self.study,
            sift=self.sift,
            search=self.search,
            hold_out=self.hold_out,
            race=self.race,
        )

    def manifest_again(self, before: Manifest) -> Manifest:
        """The manifest of a resumed experiment, with added baselines and repeats."""
        return replace(before, baselines=self.baselines, repeats=self.context.repeats)


class SpecOptions(TypedDict, total=False):
    """The fields of `ExperimentSpec` as keyword arguments."""

    search_space: SearchSpace | JoinedSpace | None
    golden_dataset: str | GoldenDataset | None
    documents_uri: str | None
    metrics: Sequence[Any] | None
    judge_repeats: int
    judge_repeat_questions: int
    baselines: bool
    strictness: int | None
    sift: bool | str
    search: Search | Mapping[str, Any] | None
    hold_out: float | HoldOut | Mapping[str, Any] | None
    race: bool | Mapping[str, Any]


@dataclass(frozen=True)
class ExperimentSpec:
    """The request for an experiment. None stands for the default, or in a resumed experiment for its original value.

    Args:
        search_space: by default every RAG method with the LLMs and embedding models of the settings.
        golden_dataset: the name of a dataset in storage (by default "golden"), a CSV file, or a loaded dataset.
        documents_uri: the folder or bucket of the documents, by default `settings.documents_uri`.
        metrics: names of metrics (`dream.metrics`), by default the six of ragas. Your own metrics may also be given as
            the function, as the result of `rubric` or `aspect_critic`, or as in a study file ({"name": ..., "levels":
            ...}).
        judge_repeats: the number of times that the answers to some questions are judged; from 2 on,
            `dream.comparison.judge_noise` measures the judge's part of the differences between trials. The questions
            are answered only once.
        judge_repeat_questions: the number of those questions, the same for all trials, spread over the documents.
        baselines: also run each LLM without any context and with the reference contexts, so that
            `dream.comparison.loss_split` can attribute lost score to retrieval and to generation. Baselines are not
            ranked.
        strictness: the number of questions that answer_relevancy derives from an answer, by default 1.
        objective: the metric and margin by which the comparison chooses by default.
        study: the text of the study file, if there is one (`dream.experiments.study`).
        sift: first score all retrieval combinations without LLM answers or judge, and leave out the trials of those
            that are shown to be worse than the best on recall (True) or another retrieval metric ("ndcg", "recall@5").
        hold_out: the share of the golden questions that the search does not see, such as 0.25 (all questions of some
            documents); also with a seed, {"share": 0.25, "seed": 1}. Afterwards the recommended trial, the runner-up
            and the incumbent answer them (`Comparison.confirmation`).
        race: stop trials that are shown to be worse than another before they have answered all questions. True, or a
            mapping with some of `first`, `block`, `error` and `seed` (`dream.experiments.racing.RaceOptions`).
    """

    search_space: SearchSpace | JoinedSpace | None = None
    golden_dataset: str | GoldenDataset | None = None
    documents_uri: str | None = None
    metrics: Sequence[Any] | None = None
    judge_repeats: int = 1
    judge_repeat_questions: int = JUDGE_REPEAT_QUESTIONS
    baselines: bool = False
    strictness: int | None = None
    objective: Objective = field(default_factory=Objective)
    study: str = ""
    sift: bool | str = False
    search: Search | Mapping[str, Any] | None = None
    hold_out: float | HoldOut | Mapping[str, Any] | None = None
    race: bool | Mapping[str, Any] = False

    def prepare(self, settings: Settings, show: Show = None) -> PreparedExperiment:
        """The experiment with its trials, questions and documents loaded.

        Raises:
            ConfigurationError, DataError: for everything that cannot be run.
        """
        search, space = search_of(self.search), self.search_space or default_search_space(settings)
        trials, search = started(space, search, settings)
        check_with_sift(search, self.sift)
        check_with_search(self.race, search)
        metrics = METRICS if self.metrics is None else names_of(self.metrics)
        check_metrics(metrics)
        if problems := check_identifiers([settings.judge_llm, settings.judge_embed_model], settings):
            raise ConfigurationError(bullets("the judge cannot be used:", problems))
        strictness = STRICTNESS if self.strictness is None else self.strictness
        if strictness < 1:
            raise ConfigurationError(f"strictness={strictness}: give at least 1; 3 derives three questions per answer")
        asked = hold_out_of(self.hold_out)
        golden, hold_out = split(load_golden_dataset(self.golden_dataset or GOLDEN_DATASET, settings), asked)
        uri = self.documents_uri or settings.documents_uri
        loaded = load_documents(open_storage(uri, settings), settings=settings, show=show)
        judge = (settings.judge_llm, settings.judge_embed_model)
        context = TrialContext(loaded.documents, golden, *judge, metrics, strictness)
        documents = DocumentSet(uri, loaded.digest)
        sift = sift_of(self.sift)
        race = race_of(self.race, golden.questions, metrics, self.objective)
        prepared = PreparedExperiment(
            trials, (), context, documents, self.objective, self.study, sift, search, hold_out, race
        )
        own = TravellingMethods.of(prepared.candidates)
        prepared = replace(prepared, context=replace(context, methods=own))
        return self._with_additions(prepared)

    def prepare_again(self, before: Manifest, settings: Settings, show: Show = None) -> PreparedExperiment:
        """The experiment that was started earlier. Given values must equal the original ones, except that repeats and
        baselines may be added.

        Raises:
            ConfigurationError: naming everything that differs.
        """
        check_at_hand(before)
        uri = self.documents_uri or before.documents.uri
        loaded = load_documents(open_storage(uri, settings), settings=settings, show=show)
        if changed := self._changes(before, loaded.digest, settings):
            remedy = "leave the argument out, or start under another name (paid answers stay in the cache)"
            lines = [f"{name} differ from those it was started with" for name in changed]
            raise ConfigurationError(bullets(f"experiment {before.name!r} cannot be resumed; {remedy}:", lines))
        judge = (before.judge_llm, before.judge_embed_model)
        context = TrialContext(loaded.documents, before.golden_dataset, *judge, before.metrics, before.strictness)
        documents = DocumentSet(uri, loaded.digest)
        of_start = {"sift": before.sift, "search": before.search, "hold_out": before.hold_out, "race": before.race}
        prepared = PreparedExperiment(before.trials, (), context, documents, **of_start)
        own = TravellingMethods.of((*before.trials, *prepared.candidates))
        return self._with_additions(replace(prepared, context=replace(context, methods=own)), before)

    def _changes(self, before: Manifest, documents_digest: str, settings: Settings) -> list[str]:
        """The names of all options whose values differ from the original ones."""
        pairs: dict[str, tuple[Any, Any]] = {"the documents": (documents_digest, before.documents.digest)}
        if self.search_space is not None:
            trials, search = started(self.search_space, search_of(self.search or before.search.asked), settings)
            left_out = before.sift.left_out if before.sift else ()
            pairs["the trials"] = ({trial.id for trial in trials}, {trial.id for trial in (*before.trials, *left_out)})
            if search.space or before.search.space:
                pairs["the trials"] = (as_json(search.space), as_json(before.search.space))
        if self.search is not None:
            pairs["the search"] = (search_of(self.search), before.search.asked)
        if self.race and not same_race(self.race, before.race):
            pairs["the looks or the error of the race"] = (self.race, before.race)
        if self.sift:
            pairs["the metric of the sift"] = (sift_of(self.sift), before.sift and Sift(before.sift.metric))
        if self.golden_dataset is not None:
            digest = load_golden_dataset(self.golden_dataset, settings).digest
            whole = before.hold_out.whole_digest if before.hold_out else before.golden_dataset.digest
            pairs["the golden questions"] = (digest, whole)
        if self.hold_out is not None:
            then = before.hold_out and HoldOut(before.hold_out.share, before.hold_out.seed)
            pairs["the held-out questions"] = (hold_out_of(self.hold_out), then)
        if self.metrics is not None:
            pairs["the metrics"] = (set(names_of(self.metrics)), set(before.metrics))
        for metric in own_metrics(before.metrics):
            pairs[f"the sources of the metric {metric.name!r}"] = (
                metric.source,
                definition_of(metric.name, before.own_metrics).source,
            )
        if self.strictness is not None:
            pairs["the questions that answer_relevancy derives (strictness)"] = (self.strictness, before.strictness)
        return [name for name, (asked, then) in pairs.items() if asked != then]

    def _with_additions(self, prepared: PreparedExperiment, before: Manifest | None = None) -> PreparedExperiment:
        """The experiment with the evidence that its metrics need, and with the repeats and baselines of this and
        earlier requests."""
        metrics = prepared.context.metrics
        prepared = replace(prepared, context=replace(prepared.context, own_metrics=own_metrics(metrics)))
        is_sifted = prepared.sift is not None and not prepared.sift.is_done
        if is_sifted or any(find_metric(name).needs_evidence for name in metrics):
            evidence = locate(prepared.questions, prepared.context.documents)
            prepared = replace(prepared, context=replace(prepared.context, evidence=evidence))
        if is_sifted and prepared.sift:
            prepared = with_questions(prepared, prepared.sift)
        applicability_notes(metrics, prepared.questions, prepared.context.evidence)
        repeats = self._repeats(prepared.questions, metrics) or (before.repeats if before else JUDGED_ONCE)
        baselines = before.baselines if before else ()
        if self.baselines:
            check_baseline_metrics(metrics)
            baselines = baseline_trials((*prepared.trials, *prepared.candidates), prepared.questions)
        return replace(prepared, baselines=baselines, context=replace(prepared.context, repeats=repeats))

    def _repeats(self, questions: Sequence[GoldenQuestion], metrics: Sequence[str]) -> Repeats | None:
        """The answers to judge repeatedly; None if no repeats are requested."""
        if self.judge_repeats < 1 or self.judge_repeat_questions < 1:
            raise ConfigurationError(
                f"judge_repeats={self.judge_repeats}, judge_repeat_questions={self.judge_repeat_questions}: give at "
                "least 1; judge_repeats=3 judges these answers three times"
            )
        if self.judge_repeats == 1:
            return None
        if not any(map(is_judged, metrics)):
            raise ConfigurationError(
                f"judge_repeats={self.judge_repeats} with metrics={list(metrics)}: these metrics use no judge, so "
                f"there is nothing to repeat; leave judge_repeats out, or add a metric such as answer_correctness"
            )
        return Repeats(self.judge_repeats, slice_of(questions, self.judge_repeat_questions))


def as_spec(spec: ExperimentSpec | SearchSpace | JoinedSpace | None, options: Mapping[str, Any]) -> ExperimentSpec:
    """The given spec, or one made from a search space and keyword arguments.

    Raises:
        TypeError: for an unknown option, or for options given together with a spec.
    """
    valid = [each.name for each in fields(ExperimentSpec)]
    if unknown := [name for name in options if name not in valid]:
        raise TypeError(f"no argument {', '.join(unknown)}; an experiment has: {', '.join(valid)}")
    if isinstance(spec, ExperimentSpec):
        if options:
            raise TypeError(f"{', '.join(options)} cannot be combined with an ExperimentSpec: put them into the spec")
        return spec
    return ExperimentSpec(**options) if spec is None else ExperimentSpec(spec, **options)


def slice_of(questions: Sequence[GoldenQuestion], n: int) -> tuple[str, ...]:
    """The ids of `n` questions, or of all if there are fewer: the first of each source document, then the second of
    each, ...

    Example:
        >>> from dream.records import Source
        >>> files = {"a": "x.pdf", "b": "x.pdf", "c": "x.pdf", "d": "y.pdf"}
        >>> slice_of([GoldenQuestion(id, "?", "!", sources=(Source(file),)) for id, file in files.items()], 3)
        ('a', 'b', 'd')
    """
    turns: dict[str, int] = {}
    ranked = []
    for row, question in enumerate(questions):
        turns[question.document] = turns.get(question.document, 0) + 1
        ranked.append((turns[question.document], row))
    return tuple(questions[row].id for row in sorted(row for _, row in sorted(ranked)[:n]))
