"""`rerank_model_picker`: a model behind a `/rerank` endpoint (Cohere, Jina, vLLM, TEI), asked through the gateway, or a
cross-encoder in this process (`dream.models.cross_encoder`).

A request goes out in the form of Cohere, Jina and vLLM, and in that of TEI where the server wants `texts`.
"""

from collections.abc import Sequence

from dream.errors import DataError
from dream.models.cross_encoder import CrossEncoder, cross_encoder_picker, is_local
from dream.models.gateway_client import GatewayClient
from dream.models.openai_wire import RERANK_PATH
from dream.models.pickers import model_calls
from dream.models.rerank_reading import RESULTS, SCORE
from dream.models.usage import CHECK_STAGE

STAGE = "rerank"
_CHECK = (
    "Since when are the numbers sent by radio?",
    (
        "The bakery in the square opens at six, and sells rye bread until noon.",
        "The station has sent its numbers to the valley by radio since 1988.",
        "Geese fly in a wedge, and take turns at its head.",
    ),
)


class RerankModel:
    """A model that scores texts for a question."""

    def __init__(self, identifier: str, stage: str, trial: str, gateway: GatewayClient | None) -> None:
        self._calls = model_calls(identifier, stage=stage, trial=trial, gateway=gateway)

    async def scores(self, query: str, texts: Sequence[str]) -> list[float]:
        """A score for each text, in their order; higher is more relevant. The scale depends on the model.

        Raises:
            openai.APIStatusError, openai.APIConnectionError: if the endpoint returns no ranking.
            DreamError: those of the gateway.
        """
        body = {"model": self._calls.model, "query": query, "documents": list(texts)}
        answer = await self._calls.post(RERANK_PATH, body)
        return [row[SCORE] for row in answer[RESULTS]]


def rerank_model_picker(
    identifier: str, *, stage: str = STAGE, trial: str = "", gateway: GatewayClient | None = None
) -> RerankModel | CrossEncoder:
    """A reranking model; any model name works, as in `bge-reranker@tei`, where DREAM_ENDPOINT_TEI_BASE_URL is the URL
    before /rerank; `local:` and the folder of an ONNX model is one in this process. `stage`, `trial` and `gateway` are
    those of `dream.models.pickers`."""
    if is_local(identifier):
        return cross_encoder_picker(identifier)
    return RerankModel(identifier, stage, trial, gateway)


async def check_rerank_model(identifier: str) -> None:
    """Rank three texts, one of which answers a question.

    Raises:
        DataError: if the model gives them all the same score.
    """
    query, texts = _CHECK
    scores = await rerank_model_picker(identifier, stage=CHECK_STAGE).scores(query, texts)
    if len(set(scores)) == 1:
        raise DataError(f"it returns the same score for {len(scores)} different texts, {scores[0]:g}")
