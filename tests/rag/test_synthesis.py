"""The synthesizer sends what LlamaIndex's compact mode sends, in every case."""

import pytest
from llama_index.core.response_synthesizers import CompactAndRefine
from llama_index.core.schema import NodeWithScore, TextNode
from model_servers import Relay

from dream.models.gateway_client import GatewayClient
from dream.models.pickers import llm_picker
from dream.rag.synthesis import answer_synthesizer
from dream.runtime.event_loop import run_async

CASES = {
    "two passages": ["  The tide turns at six.\n", "Ida tunes the organ. "],
    "Japanese": ["潮は六時に変わる。" * 40, "イーダはオルガンを調律する。"],
    "an empty passage": ["", "Only this one."],
    "more than one prompt": [f"Sentence number {n} of a long text about tides. " * 40 for n in range(30)],
    "nothing": [],
}


@pytest.mark.parametrize("texts", CASES.values(), ids=CASES.keys())
@pytest.mark.parametrize("is_async", [False, True])
def test_the_same_requests_and_answers_as_llamaindex(gateway: GatewayClient, relay: Relay, texts, is_async: bool):
    nodes = [NodeWithScore(node=TextNode(text=text)) for text in texts]
    bodies, answers = [], []
    for make in (lambda llm: CompactAndRefine(llm=llm), answer_synthesizer):
        synthesizer = make(llm_picker("llm-large@relay", trial=make.__name__))
        relay.reset()
        gateway_calls = len(gateway.usage())
        if is_async:
            answers.append(str(run_async(synthesizer.asynthesize("When does the tide turn?", nodes))))
        else:
            answers.append(str(synthesizer.synthesize("When does the tide turn?", nodes)))
        bodies.append([(row.prompt_tokens, row.calls) for row in gateway.usage()[gateway_calls:]])
    assert answers[0] == answers[1]
    assert bodies[0] == bodies[1]
    # the second asked for nothing that the first had not: every request was found in the cache
    assert relay.requests == []
