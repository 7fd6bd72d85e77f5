"""Plans the model calls of generating a dataset.

Calls follow from the allotment; tokens are estimates. Further batches for questions that the first ones cannot generate
are not counted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dream.golden.allotment import (
    MULTI_HOP_ABSTRACT,
    MULTI_HOP_SPECIFIC,
    SINGLE_HOP,
    Batch,
    FileText,
    Kinds,
    allot,
    allotment_notes,
    by_kind,
    kinds_text,
)
from dream.golden.generator import STAGE
from dream.models.planned_usage import Counter
from dream.records import PlannedCalls, known_sum
from dream.records.usage import at_least
from dream.settings import Settings

# LLM calls before a question is written: for each piece, its summary, themes and names; for each batch, three personas;
# for each question, the choice of its persona, and for an abstract one also of the themes to combine.
CALLS_A_PIECE, PERSONAS = 3, 3
CALLS_BEFORE = {SINGLE_HOP: 1, MULTI_HOP_ABSTRACT: 2, MULTI_HOP_SPECIFIC: 1}
# Tokens: prompts without texts as measured with ragas 0.4.3 on the sample documents, and typical replies of real LLMs.
# On those documents (20 questions, offline models) 187 calls and 177,000 tokens were planned; 187 and 144,000 were
# sent.
PIECE_FRAME, PIECE_REPLY = 350, 70
SUMMARY = 110
SMALL_PROMPT, SMALL_REPLY = 510, 40
QUESTION_FRAME, QUESTION_REPLY = 800, 75
PIECES_A_QUESTION = {SINGLE_HOP: 1, MULTI_HOP_ABSTRACT: 3, MULTI_HOP_SPECIFIC: 2}


@dataclass(frozen=True)
class GenerationPlan:
    """The planned size of a generation.

    Attributes:
        files: the number of files that are long enough for questions; `files_asked` of them are used.
        pieces: the pieces of text that are read.
        usd: the price of all calls; None if a price is unknown.
        minutes: a lower bound of the duration, from the known rate limits.
        notes: questions that the files do not allow, one line each.
    """

    kinds: Kinds
    files: int
    files_asked: int
    pieces: int
    calls: tuple[PlannedCalls, ...]
    usd: float | None
    minutes: float
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        import pandas

        usd = "unknown, because a price is missing (DREAM_PRICES)" if self.usd is None else f"{self.usd:,.2f}"
        rows = [
            {"model": row.model, "stage": row.stage, "calls": f"{row.calls:,}", "tokens": f"{row.tokens:,}",
             "USD": "unknown" if row.usd is None else f"{row.usd:,.4f}"}
            for row in self.calls
        ]  # fmt: skip
        n_questions, asked = sum(self.kinds.values()), f"{self.files_asked} of {self.files} files"
        head = f"{n_questions} questions from {asked}: {kinds_text(self.kinds)}"
        table = pandas.DataFrame(rows).to_string(index=False)
        last = f"USD: {usd}.{at_least(self.minutes)}"
        more = (
            "Repeated calls come from the cache. Missing questions are generated from other files, with further calls."
        )
        return "\n".join([head, f"{self.pieces} pieces of text are read", *self.notes, "", table, "", f"{last} {more}"])


def plan_generation(
    files: Sequence[FileText], n_questions: int, seed: int, settings: Settings, notes: Sequence[str] = ()
) -> GenerationPlan:
    """Count the calls of generating questions from these files; no request is sent."""
    counter = Counter(settings)
    batches = allot(files, n_questions, seed)
    piece_tokens = {text.file: text.tokens / text.pieces for text in files}
    for batch in batches:
        _count(batch, piece_tokens, counter, settings)
    rows = counter.rows()
    return GenerationPlan(
        kinds=by_kind(batch.kinds for batch in batches),
        files=len(files),
        files_asked=len({file for batch in batches for file in batch.files}),
        pieces=sum(batch.pieces for batch in batches),
        calls=rows,
        usd=known_sum(row.usd for row in rows),
        minutes=counter.minutes(),
        notes=(*notes, *allotment_notes(batches)),
    )


def plan_text(files: Sequence[FileText], n_questions: int, seed: int) -> str:
    """The allotment as one line of text."""
    batches = allot(files, n_questions, seed)
    asked, kinds = len({file for batch in batches for file in batch.files}), by_kind(batch.kinds for batch in batches)
    return f"{n_questions} questions from {asked} of {len(files)} files in {len(batches)} tasks: {kinds_text(kinds)}"


def _count(batch: Batch, piece_tokens: Mapping[str, float], counter: Counter, settings: Settings) -> None:
    llm, pieces = settings.generator_llm, batch.pieces
    shares = sum(share.pieces for share in batch.shares)  # more than the pieces if shares read the same ones
    read = sum(share.pieces * piece_tokens[share.file] for share in batch.shares) * pieces / shares
    prompts = CALLS_A_PIECE * round(pieces * PIECE_FRAME + read)
    counter.add(llm, STAGE, pieces * CALLS_A_PIECE, 0, prompts, pieces * CALLS_A_PIECE * PIECE_REPLY)
    personas = min(PERSONAS, pieces)
    counter.add(llm, STAGE, personas, 0, personas * SMALL_PROMPT, personas * SMALL_REPLY)
    for kind, n in batch.kinds.items():
        before = n * CALLS_BEFORE[kind]
        counter.add(llm, STAGE, before, 0, before * SMALL_PROMPT, before * SMALL_REPLY)
        prompts = n * (QUESTION_FRAME + round(PIECES_A_QUESTION[kind] * read / pieces))
        counter.add(llm, STAGE, n, 0, prompts, n * QUESTION_REPLY)
    counter.add(settings.judge_embed_model, STAGE, pieces, 0, pieces * SUMMARY, 0)
