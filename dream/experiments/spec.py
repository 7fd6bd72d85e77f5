"""What an experiment consists of: as it is asked for, as its manifest keeps it, and what of it is done already."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

from dream import ray_cluster
from dream.defaults import JUDGE_REPEAT_QUESTIONS
from dream.documents.loading import load_documents
from dream.errors import ConfigurationError, bullets
from dream.evaluation.evaluate import JUDGED_ONCE, Repeats, by_question
from dream.experiments import store
from dream.golden.dataset import load_golden_dataset, question_from_json
from dream.metrics import COMPUTED, METRICS, check_metrics
from dream.models.pickers import check_identifiers, endpoint_urls
from dream.provenance import versions
from dream.rag.baselines import baseline_trials, check_baseline_metrics, metrics_of, questions_of
from dream.rag.search_space import SearchSpace, default_search_space
from dream.records import CLOSED_BOOK, Evaluation, GoldenDataset, GoldenQuestion, Trial, TrialResult
from dream.settings import Settings
from dream.storage.objects import Storage, open_storage


@dataclass(frozen=True)
class Shared:
    """What is the same for all trials of an experiment. `repeats` says which answers are judged several times."""

    documents: Sequence[Any]
    golden_dataset: GoldenDataset
    judge_llm: str
    judge_embed_model: str
    metrics: Sequence[str] = METRICS
    repeats: Repeats = JUDGED_ONCE

    def repeats_of(self, trial: Trial) -> Repeats:
        """Those of a trial; baselines are judged once."""
        return JUDGED_ONCE if trial.is_baseline else self.repeats


@dataclass(frozen=True)
class Work:
    """An experiment that can be run: its trials, its baselines, and what they share."""

    trials: tuple[Trial, ...]
    baselines: tuple[Trial, ...]
    shared: Shared
    documents_uri: str
    documents_digest: str

    @property
    def everything(self) -> tuple[Trial, ...]:
        """Trials and baselines."""
        return (*self.trials, *self.baselines)

    @property
    def questions(self) -> tuple[GoldenQuestion, ...]:
        """All golden questions."""
        return self.shared.golden_dataset.questions

    def questions_of(self, trial: Trial) -> tuple[GoldenQuestion, ...]:
        """The questions that a trial or a baseline is asked."""
        return questions_of(trial, self.questions)

    @property
    def notes(self) -> tuple[str, ...]:
        """What is run besides the trials, and on how many questions."""
        lines = []
        if self.shared.repeats.times > 1:
            n, times = len(self.shared.repeats.question_ids), self.shared.repeats.times
            lines.append(f"answers to {n} of {len(self.questions)} questions are judged {times} times")
        if self.baselines:
            n_llms = sum(one.query_engine_identifier == CLOSED_BOOK for one in self.baselines)
            lines.append(f"baselines: {len(self.baselines)}, for {n_llms} LLM(s)")
            if left_out := sum(not question.reference_contexts for question in self.questions):
                lines.append(
                    f"{left_out} of {len(self.questions)} questions have no reference contexts: the oracle is not "
                    "asked them"
                )
        return tuple(lines)

    def manifest(self, name: str, cluster: ray_cluster.Cluster) -> dict[str, Any]:
        """The experiment as plain JSON, to be kept before it runs."""
        shared = self.shared
        identifiers = {shared.judge_llm, shared.judge_embed_model}
        for trial in self.trials:
            identifiers |= {trial.llm_identifier, trial.embed_model_identifier}
        manifest = {
            "name": name,
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "offline": any(identifier.startswith("offline/") for identifier in identifiers),
            "trials": [asdict(trial) for trial in self.trials],
            "metrics": list(shared.metrics),
            "judge_llm": shared.judge_llm,
            "judge_embed_model": shared.judge_embed_model,
            "endpoints": endpoint_urls(sorted(identifiers)),
            "documents": {"uri": self.documents_uri, "digest": self.documents_digest},
            "golden_dataset": {
                "uri": shared.golden_dataset.uri,
                "digest": shared.golden_dataset.digest,
                "questions": [asdict(question) for question in shared.golden_dataset.questions],
            },
            "cluster": asdict(cluster),
            "versions": versions(),
        }
        return _plain({**manifest, **self.additions()})

    def additions(self) -> dict[str, Any]:
        """The part of the manifest that a later run may add to."""
        return _plain(
            {"baselines": [asdict(trial) for trial in self.baselines], "repeats": asdict(self.shared.repeats)}
        )


def _plain(value: dict[str, Any]) -> dict[str, Any]:
    """As it comes back from storage, where tuples are lists."""
    return json.loads(json.dumps(value))


@dataclass(frozen=True)
class Asked:
    """The arguments of `run_experiment` and `plan` that say what is run; None stands for a default."""

    search_space: SearchSpace | None = None
    golden_dataset: str | GoldenDataset | None = None
    documents_uri: str | None = None
    metrics: Sequence[str] | None = None
    judge_repeats: int = 1
    judge_repeat_questions: int = JUDGE_REPEAT_QUESTIONS
    baselines: bool = False

    def work(self, settings: Settings) -> Work:
        """The work of a new experiment."""
        trials = (self.search_space or default_search_space(settings)).trials(settings)
        metrics = METRICS if self.metrics is None else tuple(self.metrics)
        check_metrics(metrics)
        if problems := check_identifiers([settings.judge_llm, settings.judge_embed_model], settings):
            raise ConfigurationError(bullets("the judge cannot be used:", problems))
        golden = load_golden_dataset(self.golden_dataset or "golden", settings)
        uri = self.documents_uri or settings.documents_uri
        loaded = load_documents(open_storage(uri, settings))
        shared = Shared(loaded.documents, golden, settings.judge_llm, settings.judge_embed_model, metrics)
        return self._extended(Work(trials, (), shared, uri, loaded.digest), {})

    def work_as_before(self, manifest: Mapping[str, Any], settings: Settings) -> Work:
        """The work of an experiment that was started earlier; arguments that are given must say the same, except
        that repeats and baselines may be added."""
        trials = tuple(Trial(**planned) for planned in manifest["trials"])
        then = manifest["golden_dataset"]
        golden = GoldenDataset(tuple(question_from_json(row) for row in then["questions"]), then["uri"])
        uri = self.documents_uri or str(manifest["documents"]["uri"])
        loaded = load_documents(open_storage(uri, settings))
        pairs: dict[str, tuple[Any, Any]] = {"the documents": (loaded.digest, manifest["documents"]["digest"])}
        if self.search_space is not None:
            asked = {trial.id for trial in self.search_space.trials(settings)}
            pairs["the trials"] = (asked, {trial.id for trial in trials})
        if self.golden_dataset is not None:
            asked = load_golden_dataset(self.golden_dataset, settings).digest
            pairs["the golden questions"] = (asked, then["digest"])
        if self.metrics is not None:
            pairs["the metrics"] = (set(self.metrics), set(manifest["metrics"]))
        if changed := [f"{what} differ from those it was started with" for what, (a, b) in pairs.items() if a != b]:
            remedy = "leave the argument out, or start under another name (what is paid stays in the cache)"
            raise ConfigurationError(bullets(f"experiment {manifest['name']!r} cannot go on; {remedy}:", changed))
        judge = (manifest["judge_llm"], manifest["judge_embed_model"])
        shared = Shared(loaded.documents, golden, *judge, tuple(manifest["metrics"]))
        return self._extended(Work(trials, (), shared, uri, loaded.digest), manifest)

    def _extended(self, work: Work, before: Mapping[str, Any]) -> Work:
        """The work with the repeats and baselines that are asked for, or were before."""
        repeats = self._repeats(work.questions, work.shared.metrics) or repeats_of(before)
        baselines = tuple(Trial(**planned) for planned in before.get("baselines", []))
        if self.baselines:
            check_baseline_metrics(work.shared.metrics)
            baselines = baseline_trials(work.trials, work.questions)
        return replace(work, baselines=baselines, shared=replace(work.shared, repeats=repeats))

    def _repeats(self, questions: Sequence[GoldenQuestion], metrics: Sequence[str]) -> Repeats | None:
        """What is to be judged again; None where nothing was asked for."""
        if self.judge_repeats < 1 or self.judge_repeat_questions < 1:
            raise ConfigurationError(
                f"judge_repeats={self.judge_repeats}, judge_repeat_questions={self.judge_repeat_questions}: give at "
                "least 1; judge_repeats=3 judges these answers three times"
            )
        if self.judge_repeats == 1:
            return None
        if not set(metrics) - set(COMPUTED):
            raise ConfigurationError(
                f"judge_repeats={self.judge_repeats} with metrics={list(metrics)}: these ask no judge, so there is "
                "nothing to repeat; leave it out, or add a metric such as answer_correctness"
            )
        return Repeats(self.judge_repeats, slice_of(questions, self.judge_repeat_questions))


def slice_of(questions: Sequence[GoldenQuestion], n: int) -> tuple[str, ...]:
    """The ids of `n` questions, or of all if there are fewer: from each source document the first, then the second...

    Example:
        >>> rows = [("a", "x.pdf"), ("b", "x.pdf"), ("c", "x.pdf"), ("d", "y.pdf; x.pdf")]
        >>> slice_of([GoldenQuestion(id, "?", "!", source_file=file) for id, file in rows], 3)
        ('a', 'b', 'd')
    """
    turns: dict[str, int] = {}
    ranked = []
    for place, question in enumerate(questions):
        document = question.source_file.split("; ")[0]
        turns[document] = turns.get(document, 0) + 1
        ranked.append((turns[document], place))
    return tuple(questions[place].id for place in sorted(place for _, place in sorted(ranked)[:n]))


def repeats_of(manifest: Mapping[str, Any]) -> Repeats:
    """What an experiment judges several times."""
    kept = manifest.get("repeats")
    return Repeats(kept["times"], tuple(kept["question_ids"])) if kept else JUDGED_ONCE


def what_is_known(storage: Storage, name: str, work: Work) -> tuple[dict[str, TrialResult], dict[str, Evaluation]]:
    """Results of an earlier run that are whole, and the finished questions of the other trials and baselines."""
    known, partly = {}, {}
    for result in store.load_results(storage, name, work.everything):
        if _is_whole(result, work):
            known[result.trial.id] = result
            continue
        partly[result.trial.id] = result.evaluation or store.load_blocks(storage, name, result.trial.id)
    return known, partly


def _is_whole(result: TrialResult, work: Work) -> bool:
    evaluation = result.evaluation
    if result.error or evaluation is None:
        return False
    shared, metrics = work.shared, metrics_of(result.trial, work.shared.metrics)
    finished = by_question(evaluation, metrics)
    missing = any(shared.repeats_of(result.trial).missing(one, metrics) for one in finished)
    return not missing and len(finished) == len({answer.question_id for answer in evaluation.answers})
