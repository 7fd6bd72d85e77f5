"""A town of six facts: questions about it, a query engine over it, and their evaluation."""

from model_servers import pages

from dream.evaluation import EvaluationOptions, evaluator
from dream.indexes import build_index
from dream.models import embed_model_picker, llm_picker
from dream.models.pickers import TIMEOUT_SECONDS
from dream.rag import query_engine_picker
from dream.records import GoldenQuestion

FACTS = {
    "How many lamps does the north mast carry?": "The north mast carries 42 lamps.",
    "Where do the otters sleep?": "The otters sleep under the old ferry.",
    "When was the salt mill rebuilt?": "The salt mill was rebuilt in 1931.",
    "Who tunes the harbour organ?": "Ida Brandt tunes the harbour organ.",
    "What do the divers repair?": "The divers repair the copper cable.",
    "How deep is the ice well?": "The ice well is 17 metres deep.",
}
GOLDEN = [GoldenQuestion(GoldenQuestion.make_id(*pair), *pair) for pair in FACTS.items()]
ONE_CALL = ("context_recall",)


def make_engine(timeout=TIMEOUT_SECONDS):
    documents = pages("town.txt", *FACTS.values())
    index = build_index(documents, "sentences", {}, embed_model_picker("embed-large"))
    llm = llm_picker("llm-large@relay", trial="t1")
    llm.timeout = timeout
    return query_engine_picker("sentence_window", index, llm, {"window_size": 0, "top_k": 2})


def evaluate(engine, golden=GOLDEN, *, known=None, on_block=None, **options):
    chosen = {"judge_llm": "judge", "judge_embed_model": "embed-large", "metrics": ONE_CALL, **options}
    return evaluator(engine, golden, EvaluationOptions(**chosen), known=known, on_block=on_block)
