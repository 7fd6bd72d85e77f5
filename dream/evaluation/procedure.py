"""`evaluate_questions`: asks and judges questions concurrently, and passes finished ones on in blocks."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from dream.evaluation.asking import ask
from dream.evaluation.question_turns import next_rank, turns_of_this_loop
from dream.records import Answer, Evaluation, GoldenQuestion, Repeats, Score
from dream.records.evaluations import joined

if TYPE_CHECKING:
    from llama_index.core.base.base_query_engine import BaseQueryEngine

    from dream.evaluation.judge import Judge


@dataclass
class Blocks:
    """Passes finished questions to `on_block`, `size` at a time."""

    size: int
    on_block: Callable[[Evaluation], None] | None
    _waiting: list[Evaluation] = field(default_factory=list)

    def add(self, evaluation: Evaluation) -> None:
        """Add the evaluation of one question."""
        self._waiting.append(evaluation)
        if len(self._waiting) >= self.size:
            self.hand_on()

    def hand_on(self) -> None:
        """Pass on the remaining questions, even if they are fewer than `size`."""
        block, self._waiting = self._waiting, []
        if block and self.on_block is not None:
            self.on_block(joined(block))


@dataclass(frozen=True)
class Procedure:
    """Answers and judges a question, unless `done` holds its evaluation, and adds the repeated judgements that are due.

    `judges` holds a judge for each repetition; the first scores all metrics.
    """

    query_engine: "BaseQueryEngine"
    judges: Sequence["Judge"]
    repeats: Repeats
    needs_contexts: bool
    done: Mapping[str, Evaluation]

    async def evaluate(self, question: GoldenQuestion) -> Evaluation:
        """The question's answer, scores and repeated scores."""
        evaluation = self.done.get(question.id) or await self._first(question)
        numbers = self.repeats.missing(evaluation, [score.metric for score in evaluation.scores])
        answer = evaluation.answers[0]
        again = await asyncio.gather(*(self._again(question, answer, number) for number in numbers))
        kept = [score for score in evaluation.repeats if score.repeat not in numbers]
        return replace(evaluation, repeats=tuple(score for scores in (kept, *again) for score in scores))

    async def _first(self, question: GoldenQuestion) -> Evaluation:
        answer = await ask(self.query_engine, question, self.needs_contexts)
        return Evaluation((answer,), tuple(await self.judges[0].score(question, answer)))

    async def _again(self, question: GoldenQuestion, answer: Answer, number: int) -> list[Score]:
        return [replace(score, repeat=number) for score in await self.judges[number].score(question, answer)]


async def evaluate_questions(
    procedure: Procedure, questions: Sequence[GoldenQuestion], max_concurrency: int, blocks: Blocks
) -> list[Evaluation]:
    """The evaluations in the order of the questions. Blocks are filled in order of completion, so no question waits for
    a slower one. An exception cancels the other questions; finished questions are still passed to `on_block`. Trials
    that began earlier in this process come first."""
    permits, turns, rank = asyncio.Semaphore(max_concurrency), turns_of_this_loop(), next_rank()

    async def evaluate(question: GoldenQuestion) -> Evaluation:
        async with permits, turns.turn(rank):
            evaluation = await procedure.evaluate(question)
        blocks.add(evaluation)
        return evaluation

    tasks = [asyncio.create_task(evaluate(question)) for question in questions]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        blocks.hand_on()
