"""Plans an experiment: its model calls, tokens and USD, before it is run.

Calls follow from the search space, the questions and the metrics; texts to embed from the documents themselves; tokens
are estimates. Nothing is sent to any model.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Unpack

from dream.experiments import planned_tokens
from dream.experiments.confirmation import confirming
from dream.experiments.dearest import Price, dearest
from dream.experiments.planned_tokens import PROMPT_FRAME, RANKING_REPLY
from dream.experiments.reuse import finished_before
from dream.experiments.shared_calls import NOTHING_SHARED, Shared, SharedCalls
from dream.experiments.sift import Retrieval, located_questions, retrievals_of
from dream.experiments.spec import ExperimentSpec, PreparedExperiment, SpecOptions, TrialContext
from dream.experiments.study import Study, asked
from dream.indexes.chunkers import NEED_MODEL
from dream.indexes.client import IndexRequest, index_spec
from dream.indexes.contexts import writer_of
from dream.indexes.counts import texts_to_embed, uncounted_characters
from dream.indexes.store import documents_digest, is_stored
from dream.indexes.written_contexts import HEADINGS_TOKENS, STAGE, USUAL_TOKENS, prompt_tokens
from dream.metrics import find_metric, is_judged
from dream.models import gateway_client
from dream.models.pickers import EMBED_BATCH_SIZE
from dream.models.planned_usage import Counter, usd_without_services
from dream.rag.baselines import metrics_of
from dream.rag.costs import TextsRead, calls_of, texts_read
from dream.rag.methods import RagMethod, context_llm_of, find_rag_method, index_request
from dream.rag.own_systems import service_of
from dream.rag.retrievals import why_no_retrieval
from dream.rag.search_space import SearchSpace
from dream.records import (
    HELD_OUT_STAGE,
    INDEX_STAGES,
    SIFT_STAGE,
    GoldenQuestion,
    Plan,
    Repeats,
    Trial,
    known_sum,
    most_confirmed,
)
from dream.settings import Settings
from dream.storage import open_storage
from dream.tokens import count_tokens


def plan(
    spec: ExperimentSpec | SearchSpace | Study | None = None,
    *,
    settings: Settings | None = None,
    **options: Unpack[SpecOptions],
) -> Plan:
    """Count the model calls that `run_experiment` with the same arguments would make.

    Args:
        spec: an `ExperimentSpec`, a `Study`, or only a search space with the other fields as keyword arguments.

    Raises:
        ConfigurationError, DataError: for everything that `run_experiment` would refuse too.
    """
    spec, settings = asked(spec, options, settings or Settings.from_environment())
    prepared = spec.prepare(settings)
    with gateway_client.opened(settings):
        return plan_of(prepared, settings)


def plan_of(prepared: PreparedExperiment, settings: Settings, but: str = "") -> Plan:
    """Count the calls of these trials and baselines. Calls that the experiment `but` has paid for count as not paid."""
    counter, indexed, bound = Counter(settings), prepared.trials, list[str]()
    before = finished_before(prepared, settings, but)
    is_bound = prepared.search.is_open
    if is_bound:
        most = dearest(
            prepared.search, prepared.trials, partial(_price, prepared, before, counter), prepared.context.methods
        )
        prepared, indexed, bound = replace(prepared, trials=most.trials), most.indexed, [most.note]
    kept, texts = _count_indexes(indexed, prepared.context, settings, counter)
    sifted = _count_sift(prepared, before, counter)
    context, questions = prepared.context, [question.question for question in prepared.questions]
    read = texts_read(prepared.trials, context.documents, questions, context.methods)
    _count_confirmation(prepared, before, settings, but, counter)
    usd_by_trial, shared = {}, SharedCalls(context.methods)
    for trial in prepared.everything:
        own, alike = counter.part(), NOTHING_SHARED if is_bound else shared.of(trial)
        _count_trial(trial, prepared, read, before.get(trial.id), own, alike)
        counter.include(own)
        usd_by_trial[trial.id] = known_sum(row.usd for row in own.rows())
    rows = counter.rows()
    usd = usd_without_services(rows)
    distinct = len({index_key(trial, context.methods) for trial in indexed if _has_index(trial)})
    n_trials, n = len(prepared.trials), len(prepared.questions)
    minutes, notes = counter.minutes(), (*bound, *prepared.notes)
    return Plan(n_trials, n, distinct, kept, texts, rows, usd, minutes, notes, sifted, usd_by_trial)


def _price(prepared: PreparedExperiment, paid: Mapping[str, Repeats], counter: Counter, trial: Trial) -> Price:
    """USD and calls of a trial that may be chosen."""
    own, calls = counter.part(), calls_of(trial, prepared.context.methods)
    _count_trial(trial, prepared, {trial.id: TextsRead(calls.passages)}, paid.get(trial.id), own)
    rows = own.rows()
    return sum(row.usd or 0.0 for row in rows), sum(row.calls + row.tokens / 1e6 for row in rows)


def plan_after_sift(before: Plan, prepared: PreparedExperiment, settings: Settings, name: str) -> Plan:
    """The plan of the trials that a sift has left, with what indexes and the sift were planned to cost before."""
    after = plan_of(prepared, settings, but=name)
    kept = [row for row in before.calls if row.stage in (*INDEX_STAGES, SIFT_STAGE)]
    calls = (*kept, *(row for row in after.calls if row.stage not in INDEX_STAGES))
    usd = usd_without_services(calls)
    return replace(
        after,
        calls=calls,
        usd=usd,
        indexes=before.indexes,
        indexes_kept=before.indexes_kept,
        texts_to_embed=before.texts_to_embed,
        sifted=before.sifted,
    )


def _count_sift(prepared: PreparedExperiment, before: Mapping[str, Repeats], counter: Counter) -> int:
    """The calls of a sift that is to come; the number of its retrieval combinations."""
    sift = prepared.sift
    if sift is None or sift.is_done or not sift.n_questions:
        return 0
    found = retrievals_of(prepared)
    embedded: set[str] = set()
    for each in found:
        is_paid = any(trial.id in before for trial in each.trials)
        _count_retrieval(each, prepared, is_paid, embedded, counter)
    return len(found)


def _count_retrieval(
    retrieval: Retrieval, prepared: PreparedExperiment, is_paid: bool, embedded: set[str], counter: Counter
) -> None:
    """The calls for one retrieval combination; `embedded` are the models that have embedded the questions before."""
    trial, calls = retrieval.trial, calls_of(retrieval.trial, prepared.context.methods)
    questions = located_questions(prepared)
    n, tokens = len(questions), sum(count_tokens(question.question) for question in questions)
    if (model := trial.embed_model_identifier) and calls.embedding:
        searched = round(n * calls.embedding)
        cached = searched if is_paid else min(n, searched) if model in embedded else 0
        embedding = planned_tokens.searched_tokens(trial, calls.embedding, n, tokens)
        counter.add(model, SIFT_STAGE, searched, cached, embedding, 0)
        embedded.add(model)
    ranked = planned_tokens.ranked_tokens(trial, None, n)
    if asked := round(n * (calls.rewriting + calls.ranking)):
        prompts = round(calls.rewriting * (tokens + n * PROMPT_FRAME)) + (ranked if calls.ranking else 0)
        written = planned_tokens.written_queries_tokens(trial, n, tokens) + n * calls.ranking * RANKING_REPLY
        counter.add(trial.llm_identifier, SIFT_STAGE, asked, asked if is_paid else 0, prompts, round(written))
    if calls.reranking:
        counter.add(trial.parameters["reranker"], SIFT_STAGE, n, n if is_paid else 0, ranked + tokens, 0)


def _sifted_share(trial: Trial, prepared: PreparedExperiment) -> float:
    """The share of a trial's calls for retrieval that a sift pays for, or has paid for."""
    if prepared.sift is None or why_no_retrieval(trial, prepared.context.methods):
        return 0.0
    return prepared.sift.n_questions / len(prepared.questions)


def _count_trial(
    trial: Trial,
    prepared: PreparedExperiment,
    read: Mapping[str, TextsRead],
    paid: Repeats | None,
    counter: Counter,
    alike: Shared = NOTHING_SHARED,
) -> None:
    """Its questions answered, judged, and judged again.

    Args:
        read: what the LLM reads, by trial id.
        paid: the repeats of an earlier experiment that finished the same trial.
        alike: calls that a trial before pays for.
    """
    questions, metrics = prepared.questions_of(trial), metrics_of(trial, prepared.context.metrics)
    n, question_tokens = len(questions), sum(count_tokens(question.question) for question in questions)
    texts = read.get(trial.id, TextsRead(1.0))
    contexts = planned_tokens.context_tokens(trial, texts, questions)
    prompts = n * planned_tokens.frame_tokens(trial) + contexts + question_tokens
    if trial.is_baseline:
        written = round(n * planned_tokens.answer_tokens(questions))
        counter.add(trial.llm_identifier, "answer", n, n if paid else 0, prompts, written)
    else:
        _count_answers(trial, prepared, (n, n if paid else 0), (prompts, question_tokens), texts, counter, alike)
    judging = texts.passages, contexts / max(1, n), alike.retrieval
    _count_judgements(prepared, questions, metrics, judging, (n, n if paid else 0), counter)
    repeats = prepared.context.repeats_of(trial)
    if times := (repeats.times - 1) * len(repeats.question_ids):
        judged = [name for name in metrics if is_judged(name)]
        paid_again = paid and paid.times >= repeats.times and {*paid.question_ids} >= {*repeats.question_ids}
        counts = (times, times if paid_again else 0)
        _count_judgements(prepared, questions, judged, judging, counts, counter, again=True)


def _count_answers(
    trial: Trial,
    prepared: PreparedExperiment,
    answers: tuple[int, int],
    tokens: tuple[int, int],
    read: TextsRead,
    counter: Counter,
    alike: Shared,
) -> None:
    """All calls for `answers`, their number and how many of them are paid for; `tokens` are those of plain prompts and
    of the questions."""
    calls = calls_of(trial, prepared.context.methods)
    (n, paid), (prompts, questions) = answers, tokens
    # questions whose retrieval is paid for
    found = n if alike.retrieval else max(paid, round(n * _sifted_share(trial, prepared)))
    ranked = planned_tokens.ranked_tokens(trial, read, n)
    ranking = calls.ranking and (calls.ranking if read.ratings is None else read.ratings)
    prompt_tokens = round(prompts * calls.answering + calls.rewriting * (questions + n * PROMPT_FRAME))
    prompt_tokens += ranked + round(n * ranking * PROMPT_FRAME) if ranking else 0
    answer = planned_tokens.answer_tokens(prepared.questions_of(trial), trial)
    written = n * (calls.answering * answer + ranking * RANKING_REPLY)
    written += planned_tokens.written_queries_tokens(trial, n, questions)
    if not trial.llm_identifier:
        if service := service_of(find_rag_method(trial.query_engine_identifier, prepared.context.methods)):
            counter.add(service, "answer", n, 0, 0, 0)  # its answers are not cached
        return
    cached = round(paid * calls.answering + found * (calls.rewriting + ranking))
    asked = round(n * (calls.answering + calls.rewriting + ranking))
    counter.add(trial.llm_identifier, "answer", asked, cached, prompt_tokens, round(written))
    if calls.embedding and trial.embed_model_identifier:
        embedded = round(n * calls.embedding)
        kept = max(round(found * calls.embedding), min(n, embedded) if alike.questions else 0)
        counter.add(
            trial.embed_model_identifier, "query", embedded, kept,
            planned_tokens.searched_tokens(trial, calls.embedding, n, questions), 0,
        )  # fmt: skip
    if calls.reranking:
        counter.add(trial.parameters["reranker"], "rerank", n, found, ranked + questions, 0)


def _count_judgements(
    prepared: PreparedExperiment,
    questions: Sequence[GoldenQuestion],
    metrics: Sequence[str],
    read: tuple[float, float, bool],
    answers: tuple[int, int],
    counter: Counter,
    again: bool = False,
) -> None:
    """One judgement on these metrics of `answers`: their number, and how many of them are paid for. A judgement that is
    made `again` embeds the same texts, except for the questions that the judge derives anew.

    Args:
        read: the passages for an answer, their tokens, and if a trial before reads the same.
    """
    context, (n, paid), (passages, tokens, is_shared) = prepared.context, answers, read
    definitions = [find_metric(name) for name in metrics]
    a_question = sum(metric.calls(context.strictness, passages) for metric in definitions)
    of_passages = sum(each.calls(context.strictness, passages) for each in definitions if not each.needs_answer)
    judged, cached = round(n * a_question), round(max(paid * a_question, n * of_passages * is_shared))
    asks, replies = planned_tokens.judge_tokens(definitions, questions, context.strictness, passages, tokens)
    counter.add(context.judge_llm, "judge", judged, cached, round(n * asks), round(n * replies))
    derived = context.strictness if any(metric.derives_questions for metric in definitions) else 0
    texts = {text for metric in definitions for text in metric.embedded}
    given = bool(texts)  # all given texts in one call, then the derived questions in another
    embedded, kept = n * (given + bool(derived)), n * given if again else 0
    cached = embedded if paid else kept
    compared = round(planned_tokens.compared_tokens(definitions, questions, derived) * n / max(1, len(questions)))
    counter.add(context.judge_embed_model, "judge", embedded, cached, compared, 0)


def index_key(trial: Trial, methods: Mapping[str, RagMethod] | None = None) -> str:
    """A key that two trials share exactly if they use the same index over the same documents."""
    request = index_request(trial, methods)
    return f"{_split(request)} {request.embed_model}"


def _split(request: IndexRequest) -> str:
    """A key that indexes of the same texts share."""
    return f"{request.chunker} {sorted(request.parameters.items())}"


def _count_indexes(
    trials: Sequence[Trial], context: TrialContext, settings: Settings, counter: Counter
) -> tuple[int, int]:
    """Indexes that are kept from before, and texts that are to be embedded for the others."""
    documents, kept, to_embed = context.documents, 0, 0
    counted: dict[str, tuple[int, int]] = {}
    written: set[str] = set()
    for request, is_kept in _indexes(trials, context, settings):
        if is_kept:
            kept += 1  # it asks for nothing at all
            continue
        if (split := _split(request)) not in counted:
            counted[split] = texts_to_embed(documents, request.chunker, request.parameters)
        n_texts, n_tokens = counted[split]
        if writer := writer_of(request.parameters):
            is_paid = split in written  # by another index of the same chunks
            prompts, answers = prompt_tokens(documents, n_texts, n_tokens), n_texts * USUAL_TOKENS
            counter.add(writer, STAGE, n_texts, n_texts if is_paid else 0, prompts, answers)
            n_tokens += n_texts * (USUAL_TOKENS - HEADINGS_TOKENS)
            written.add(split)
        if not request.embed_model:
            continue
        to_embed += n_texts
        batches = -(-n_texts // EMBED_BATCH_SIZE)
        batches += request.chunker in NEED_MODEL  # sentences are embedded before chunks, in batches of their own
        counter.add(request.embed_model, "embed", batches, 0, n_tokens, 0)
    return kept, to_embed


def uncounted_text(prepared: PreparedExperiment, settings: Settings) -> int:
    """The characters of the documents that must be chunked to plan the experiment: of those that were not before."""
    documents = prepared.context.documents
    indexes = _indexes(prepared.candidates, prepared.context, settings)
    splits = {_split(request): request for request, is_kept in indexes if not is_kept}
    uncounted = (uncounted_characters(documents, split.chunker, split.parameters) for split in splits.values())
    return max(uncounted, default=0)


def _indexes(trials: Sequence[Trial], context: TrialContext, settings: Settings) -> Iterator[tuple[IndexRequest, bool]]:
    """The distinct indexes that trials use, and for each if it is kept from before."""
    cache, digest = open_storage(settings.cache_uri, settings), documents_digest(context.documents)
    for trial in {index_key(trial, context.methods): trial for trial in trials if _has_index(trial)}.values():
        request = index_request(trial, context.methods)
        yield request, is_stored(cache, index_spec(digest, *request))


def _has_index(trial: Trial) -> bool:
    """True for a trial whose index is kept: one with vectors, or with contexts that an LLM writes."""
    return bool(trial.embed_model_identifier or context_llm_of(trial))


def _count_confirmation(
    prepared: PreparedExperiment, before: Mapping[str, Repeats], settings: Settings, but: str, counter: Counter
) -> None:
    """The calls for the questions that are held out: as trials have on average, since the search has still to choose;
    those of the same trials as in an earlier experiment that has finished the search."""
    if prepared.hold_out is None:
        return
    held = confirming(prepared, prepared.trials)
    paid = finished_before(held, settings, but, held_out=True)
    known = [trial for trial in prepared.trials if trial.id in paid]
    trials = known if known and all(trial.id in before for trial in prepared.trials) else list(prepared.trials)
    _count_held_out(held, trials, most_confirmed(prepared.trials) / len(trials), paid, counter)


def _count_held_out(
    held: PreparedExperiment, trials: Sequence[Trial], share: float, paid: Mapping[str, Repeats], counter: Counter
) -> None:
    """A share of the calls of trials for the held-out questions, in a stage of their own."""
    context, questions = held.context, [question.question for question in held.questions]
    read, part = texts_read(trials, context.documents, questions, context.methods), counter.part()
    for trial in trials:
        _count_trial(trial, held, read, paid.get(trial.id), part)
    whole: dict[str, list[int]] = {}
    for row in (row for row in part.rows() if row.calls):
        numbers = (row.calls, row.cached, row.prompt_tokens, row.completion_tokens)
        whole[row.model] = [sum(pair) for pair in zip(whole.get(row.model, (0, 0, 0, 0)), numbers, strict=True)]
    for model, (calls, cached, prompts, replies) in whole.items():
        counter.add(model, HELD_OUT_STAGE, *(round(share * n) for n in (calls, cached, prompts, replies)))


def plan_of_choice(before: Plan, prepared: PreparedExperiment, trials: Sequence[Trial], settings: Settings) -> Plan:
    """The plan with the calls for held-out questions of the trials that were chosen; what was paid for stays so."""
    counter = Counter(settings)
    kept = [row for row in before.calls if row.stage != HELD_OUT_STAGE]
    paid = {trial.id: prepared.context.repeats for trial in trials} if before.is_paid else {}
    _count_held_out(confirming(prepared, trials), trials, 1.0, paid, counter)
    calls = (*kept, *counter.rows())
    return replace(before, calls=calls, usd=usd_without_services(calls))
