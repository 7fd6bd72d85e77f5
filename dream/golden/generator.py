"""Runs ragas' TestsetGenerator, which fails on documents of uneven length and can silently return no questions."""

import logging
import math
import random
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dream.documents.loading import page_of
from dream.libraries import prepare_libraries
from dream.models.pickers import judge_embed_model_picker, judge_llm_picker
from dream.records import GoldenQuestion, Source
from dream.tokens import count_tokens

if TYPE_CHECKING:
    from llama_index.core import Document
    from ragas.testset.graph import KnowledgeGraph

# ragas refuses documents under 100 tokens and fails on mixed lengths, so each file is cut into even pieces
PIECE_TOKENS = 600
LEAST_TOKENS = 100


@dataclass(frozen=True)
class Piece:
    """One of the equal parts of a document, with its position."""

    text: str
    source: Source


def generate_questions(
    documents: Sequence["Document"], n_questions: int, llm: str, embed_model: str, *, seed: int = 0
) -> tuple[list[GoldenQuestion], list[str]]:
    """Single-hop and multi-hop questions about whole documents (`dream.documents.merge_pages`).

    Args:
        llm, embed_model: model identifiers of the generator.
        seed: of ragas' random choices.

    Returns:
        At most `n_questions` questions, and a line with the reason for each shortfall.
    """
    prepare_libraries()
    pieces, shortfalls = _pieces(documents)
    if not pieces:
        return [], shortfalls
    with _ragas_complaints() as complaints:
        samples, missing = _samples(pieces, n_questions, llm, embed_model, seed)
    questions = [_golden_question(sample, kind, pieces) for sample, kind in samples]
    if len(questions) < n_questions:
        files = ", ".join(document.metadata["file_name"] for document in documents)
        reasons = "; ".join([*missing, *dict.fromkeys(complaints)][:4]) or "ragas gave no reason"
        shortfalls.append(f"{files}: {len(questions)} of {n_questions} questions: {reasons}")
    return questions, shortfalls


def generator_forms() -> list[tuple[str, Any]]:
    """Prompts and response models as the generator sends them: one reads a text, one writes a question."""
    prepare_libraries()
    from ragas.testset.synthesizers.single_hop.prompts import QueryAnswerGenerationPrompt
    from ragas.testset.transforms.extractors.llm_based import NERPrompt

    prompts: tuple[Any, ...] = (NERPrompt(), QueryAnswerGenerationPrompt())
    return [(prompt.to_string(prompt.examples[0][0]), prompt.output_model) for prompt in prompts]


def _pieces(documents: Sequence["Document"]) -> tuple[list[Piece], list[str]]:
    """Each file cut into even pieces of about 600 tokens, with its page; files that are too short are reported."""
    from llama_index.core.node_parser import SentenceSplitter

    pieces, shortfalls = [], []
    for document in documents:
        file_name, tokens = document.metadata["file_name"], count_tokens(document.text)
        if tokens < LEAST_TOKENS:
            shortfalls.append(f"{file_name}: {tokens} tokens; at least {LEAST_TOKENS} are needed to ask about a text")
            continue
        size = math.ceil(tokens / math.ceil(tokens / PIECE_TOKENS)) + LEAST_TOKENS
        start = 0
        for text in SentenceSplitter(chunk_size=size, chunk_overlap=0).split_text(document.text):
            start = max(start, document.text.find(text, start))
            if count_tokens(text) >= LEAST_TOKENS:
                pieces.append(Piece(text, Source(file_name, page_of(document.metadata, start))))
    return pieces, shortfalls


def _samples(
    pieces: Sequence[Piece], n_questions: int, llm_identifier: str, embed_model_identifier: str, seed: int
) -> tuple[list[tuple[Any, str]], list[str]]:
    """ragas' samples, each with its synthesizer's name, and a line for each synthesizer that gave too few. A failed
    sample costs only itself: it comes back as NaN and is left out."""
    from ragas.testset import TestsetGenerator
    from ragas.testset.synthesizers import default_query_distribution
    from ragas.testset.transforms import apply_transforms
    from ragas.testset.transforms.default import default_transforms_for_prechunked

    # ragas takes its modern models here too, though its annotations name the older ones
    llm: Any = judge_llm_picker(llm_identifier, stage="generate")
    embed_model: Any = judge_embed_model_picker(embed_model_identifier, stage="generate")
    graph = _graph(pieces)
    apply_transforms(graph, default_transforms_for_prechunked(llm=llm, embedding_model=embed_model))
    generator = TestsetGenerator(llm=llm, embedding_model=embed_model, knowledge_graph=graph)
    kinds = [kind for kind, _ in default_query_distribution(llm, graph)]
    samples: list[tuple[Any, str]] = []
    missing: list[str] = []
    for i, kind in enumerate(kinds):
        wanted = (n_questions - len(samples)) // (len(kinds) - i)
        if not wanted:
            continue
        random.seed(f"{seed} {kind.name}")  # here, because other libraries in this process draw numbers too
        executor: Any = generator.generate(
            testset_size=wanted, query_distribution=[(kind, 1.0)], raise_exceptions=False, return_executor=True
        )
        made = [sample for sample in executor.results() if hasattr(sample, "user_input")][:wanted]
        samples += [(sample, kind.name) for sample in made]
        if len(made) < wanted:
            missing.append(f"{kind.name} gave {len(made)} of {wanted}")
    return samples, missing


def _graph(pieces: Sequence[Piece]) -> "KnowledgeGraph":
    """The pieces as nodes of a graph in which only the seed changes an order: ragas' own follows random ids."""
    from ragas.testset.graph import KnowledgeGraph, Node, NodeType

    class RepeatableGraph(KnowledgeGraph):
        def find_two_nodes_single_rel(self, *arguments: Any, **options: Any) -> list[Any]:
            pairs = super().find_two_nodes_single_rel(*arguments, **options)
            pairs.sort(key=lambda pair: (pair[0].id, pair[2].id, pair[1].type))
            random.shuffle(pairs)
            return pairs

    ids = [uuid.uuid5(uuid.NAMESPACE_OID, f"{i} {piece.text}") for i, piece in enumerate(pieces)]
    return RepeatableGraph(
        nodes=[
            Node(id=id_, type=NodeType.CHUNK, properties={"page_content": piece.text})
            for id_, piece in zip(ids, pieces, strict=True)
        ]
    )


def _golden_question(sample: Any, synthesizer: str, pieces: Sequence[Piece]) -> GoldenQuestion:
    contexts = tuple(sample.reference_contexts or ())
    return GoldenQuestion(
        GoldenQuestion.make_id(sample.user_input, sample.reference),
        sample.user_input,
        sample.reference,
        contexts,
        tuple(next(piece.source for piece in pieces if piece.text in context) for context in contexts),
        synthesizer,
    )


@contextmanager
def _ragas_complaints() -> Iterator[list[str]]:
    """Collects ragas' warnings: it only logs most failures and continues with fewer questions."""
    complaints: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            complaints.append(" ".join(record.getMessage().split())[:200])

    collector, logger = Collector(logging.WARNING), logging.getLogger("ragas")
    logger.addHandler(collector)
    try:
        yield complaints
    finally:
        logger.removeHandler(collector)
