"""Runs ragas' TestsetGenerator, which fails on documents of uneven length and can silently return no questions."""

import itertools
import logging
import math
import random
import uuid
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dream.documents.loading import page_of
from dream.errors import end_of_all, explain
from dream.golden.allotment import KINDS, PIECE_TOKENS, Batch, pieces_in_order, short_name
from dream.golden.sheet import unfit_character
from dream.indexes.chunkers import sentence_splitter
from dream.models.pickers import judge_embed_model_picker, judge_llm_picker
from dream.records import EvidenceSpan, GoldenQuestion, Source, page_label
from dream.runtime.libraries import prepare_libraries
from dream.tokens import count_tokens

if TYPE_CHECKING:
    from llama_index.core import Document
    from ragas.testset.graph import KnowledgeGraph

# ragas refuses documents under 100 tokens and fails on mixed lengths, so each file is cut into even pieces
LEAST_TOKENS = 100
STAGE = "generate"  # the stage of its calls in the usage
# ragas gives this to the LLM with every question; without it, questions would be English like ragas' examples.
LANGUAGE = (
    "Write the query and the answer in the language of the context; of several contexts, in that of the first. "
    "Do not translate the context."
)


@dataclass(frozen=True)
class Piece:
    """One of the parts of equal size of a document, with its position."""

    text: str
    source: Source
    evidence: EvidenceSpan


def generate_questions(
    documents: Sequence["Document"], batch: Batch, llm: str, embed_model: str
) -> tuple[list[GoldenQuestion], list[str]]:
    """Generate the questions of a batch from whole documents (`dream.documents.merge_pages`).

    Args:
        llm, embed_model: model identifiers of the generator.

    Returns:
        At most the requested number of questions of each kind, and the reasons for missing ones.
    """
    prepare_libraries()
    pieces = chosen_pieces(documents, batch)
    if not pieces:
        return [], [f"no piece of its text has {LEAST_TOKENS} tokens, the minimum for a question"]
    with _ragas_complaints() as complaints:
        samples, reasons = _samples(pieces, batch, llm, embed_model)
    generated: list[GoldenQuestion] = []
    for sample, kind in samples:
        try:
            generated.append(_generated(sample, kind, pieces))
        except ValueError as error:
            reasons.append(str(error))
    if len(generated) == batch.questions:
        return generated, []
    return generated, list(dict.fromkeys([*reasons, *complaints]))[:4] or ["ragas gave no reason"]


def generator_forms() -> list[tuple[str, Any]]:
    """Two of the generator's prompts with their response models: one extracts from a text, one writes a question."""
    prepare_libraries()
    from ragas.testset.synthesizers.single_hop.prompts import QueryAnswerGenerationPrompt
    from ragas.testset.transforms.extractors.llm_based import NERPrompt

    prompts: tuple[Any, ...] = (NERPrompt(), QueryAnswerGenerationPrompt())
    return [(prompt.to_string(prompt.examples[0][0]), prompt.output_model) for prompt in prompts]


def chosen_pieces(documents: Sequence["Document"], batch: Batch) -> list[Piece]:
    """The pieces of a batch, alternating between files, because ragas uses the first pieces first."""
    by_file = {document.metadata["file_name"]: _pieces(document) for document in documents}
    chosen: dict[str, list[Piece]] = {}
    for share in batch.shares:
        pieces = by_file.get(share.file, [])
        order = pieces_in_order(len(pieces), share.file, batch.seed)
        places = [order[i % len(order)] for i in range(share.skip, share.skip + share.pieces)] if order else []
        apart = dict.fromkeys([*places[::2], *places[1::2]])  # so that the first ones are not neighbours
        chosen.setdefault(share.file, []).extend(pieces[i] for i in apart)
    turns = itertools.zip_longest(*chosen.values())
    return list(dict.fromkeys(piece for turn in turns for piece in turn if piece))


def _pieces(document: "Document") -> list[Piece]:
    """A file cut into pieces of equal size, about 600 tokens; pieces under 100 tokens are left out."""
    tokens = count_tokens(document.text)
    if tokens < LEAST_TOKENS:
        return []
    size = math.ceil(tokens / math.ceil(tokens / PIECE_TOKENS)) + LEAST_TOKENS
    pieces, start = [], 0
    for text in sentence_splitter(size, 0).split_text(document.text):
        start = max(start, document.text.find(text, start))
        if count_tokens(text) >= LEAST_TOKENS:
            pieces.append(_piece(document, text, start))
    return pieces


def _piece(document: "Document", text: str, start: int) -> Piece:
    file, end = document.metadata["file_name"], start + len(text)
    starts = [offset for offset, _ in document.metadata.get("page_starts", ()) if start < offset < end]
    pages = tuple(dict.fromkeys(page_of(document.metadata, offset) for offset in (start, *starts)))
    evidence = EvidenceSpan(file, document.metadata["file_digest"], start, end, tuple(page for page in pages if page))
    return Piece(text, Source(file, page_label(pages)), evidence)


def _samples(
    pieces: Sequence[Piece], batch: Batch, llm_identifier: str, embed_model_identifier: str
) -> tuple[list[tuple[Any, str]], list[str]]:
    """ragas' samples, each with its kind, and the reason for each kind with too few. A failed sample, which ragas
    returns as NaN, is left out."""
    from ragas.testset import TestsetGenerator

    # ragas accepts its modern models here too, although its annotations name the older ones
    llm: Any = judge_llm_picker(llm_identifier, stage=STAGE)
    embed_model: Any = judge_embed_model_picker(embed_model_identifier, stage=STAGE)
    graph = _transformed(_graph(pieces), llm, embed_model)
    generator = TestsetGenerator(llm=llm, embedding_model=embed_model, knowledge_graph=graph, llm_context=LANGUAGE)
    samples: list[tuple[Any, str]] = []
    reasons: list[str] = []
    errors: list[Exception] = []
    for kind, wanted in batch.kinds.items():
        _seed(f"{batch.seed} {batch.number} {kind}")
        made: list[Any] = []
        synthesizer = _synthesizer(kind, llm)
        if not _has_clusters(synthesizer, graph):
            reasons.append(f"{short_name(kind)}: no pieces of the text are sufficiently related")
            continue
        try:
            made = _made(generator, synthesizer, wanted)
        except Exception as error:
            if end_of_all(error):
                raise
            errors.append(error)
            reasons.append(f"{short_name(kind)}: {explain(error)}")
        else:
            if len(made) < wanted:
                reasons.append(f"{short_name(kind)} gave {len(made)} of {wanted}")
        samples += [(sample, kind) for sample in made]
    if errors and not samples:
        raise errors[0]
    return samples, reasons


def _made(generator: Any, synthesizer: Any, wanted: int) -> list[Any]:
    """The samples of one synthesizer."""
    executor = generator.generate(
        testset_size=wanted, query_distribution=[(synthesizer, 1.0)], raise_exceptions=False, return_executor=True
    )
    return [sample for sample in executor.results() if hasattr(sample, "user_input")][:wanted]


def _has_clusters(synthesizer: Any, graph: "KnowledgeGraph") -> bool:
    """True if the graph has the names or relations that this kind of question needs."""
    try:
        return bool(synthesizer.get_node_clusters(graph))
    except ValueError:  # ragas raises this if there is no relation at all
        return False


def _synthesizer(kind: str, llm: Any) -> Any:
    from ragas.testset.synthesizers.multi_hop.abstract import MultiHopAbstractQuerySynthesizer
    from ragas.testset.synthesizers.multi_hop.specific import MultiHopSpecificQuerySynthesizer
    from ragas.testset.synthesizers.single_hop.specific import SingleHopSpecificQuerySynthesizer

    classes = (SingleHopSpecificQuerySynthesizer, MultiHopAbstractQuerySynthesizer, MultiHopSpecificQuerySynthesizer)
    return dict(zip(KINDS, classes, strict=True))[kind](llm=llm, llm_context=LANGUAGE)


def _seed(text: str) -> None:
    """Seed the global random generators for ragas, just before its use, as other libraries in this process use them
    too."""
    import numpy

    random.seed(text)
    numpy.random.seed(zlib.crc32(text.encode()))


def _transformed(graph: "KnowledgeGraph", llm: Any, embed_model: Any) -> "KnowledgeGraph":
    """The graph with ragas' extracts and relations. A piece for which extraction fails is left out.

    Raises:
        Exception: the first failure, if no piece is left, or if every later piece would fail too.
    """
    from ragas.testset.transforms import apply_transforms
    from ragas.testset.transforms.base import Extractor, NodeFilter
    from ragas.testset.transforms.default import default_transforms_for_prechunked

    failed: dict[Any, Exception] = {}
    extractors, builders = [], []
    steps: Any = default_transforms_for_prechunked(llm=llm, embedding_model=embed_model)
    for step in steps:
        for transform in getattr(step, "transformations", [step]):
            if isinstance(transform, Extractor):
                extractors.append(_costing_a_piece(transform, failed))
            elif not isinstance(transform, NodeFilter):  # it ignores pieces without a parent document
                builders.append(transform)
    apply_transforms(graph, extractors)
    if len(failed) == len(graph.nodes):
        raise next(iter(failed.values()))
    graph.nodes = [node for node in graph.nodes if node.id not in failed]
    apply_transforms(graph, builders)
    return graph


def _costing_a_piece(extractor: Any, failed: dict[Any, Exception]) -> Any:
    """The extractor, whose failures are recorded in `failed` by the piece's id instead of being raised."""
    extract = extractor.extract

    async def careful(node: Any) -> tuple[str, Any]:
        if node.id in failed:
            return extractor.property_name, None
        try:
            return await extract(node)
        except Exception as error:
            if end_of_all(error):
                raise
            failed[node.id] = error
            logging.getLogger("ragas").warning("a piece of text is left out: %s", explain(error))
            return extractor.property_name, None

    extractor.extract = careful
    return extractor


def _graph(pieces: Sequence[Piece]) -> "KnowledgeGraph":
    """The pieces as nodes of a graph whose order depends only on the seed; ragas' own order follows random ids."""
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


def _generated(sample: Any, kind: str, pieces: Sequence[Piece]) -> GoldenQuestion:
    """A sample as a question.

    Raises:
        ValueError: if its texts cannot be stored.
    """
    question, answer = sample.user_input or "", sample.reference or ""
    contexts = tuple(sample.reference_contexts or ())
    if not question.strip() or not answer.strip():
        raise ValueError(f"{short_name(kind)}: a question or its answer was empty")
    for text in (question, answer):
        if character := unfit_character(text):
            raise ValueError(f"{short_name(kind)}: a question with {character} was left out")
    sources = [piece for context in contexts if (piece := _piece_of(context, pieces))]
    if len(sources) < len(contexts):
        raise ValueError(f"{short_name(kind)}: a question whose contexts are not in the documents was left out")
    return GoldenQuestion(
        GoldenQuestion.make_id(question, answer),
        question,
        answer,
        contexts,
        tuple(piece.source for piece in sources),
        kind,
        tuple(piece.evidence for piece in sources),
    )


def _piece_of(context: str, pieces: Sequence[Piece]) -> Piece | None:
    return next((piece for piece in pieces if piece.text in context), None)


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
