"""Queries are embedded by the requests of LlamaIndex's own class, over HTTP."""

import pytest
from llama_index.embeddings.openai import OpenAIEmbedding
from model_servers import forget_answers

from dream.models.pickers import embed_model_picker
from dream.runtime.event_loop import run_async


@pytest.mark.parametrize("query", ["When was it built?", "two\nlines", "建てられたのは？"])
def test_the_request_and_the_vector_are_those_of_llamaindex(gateway, relay, query):
    forget_answers(gateway)
    model = embed_model_picker("embed-large@relay")
    ours = run_async(model.aget_query_embedding(query))
    sent = [(seen.path, seen.body) for seen in relay.requests]
    forget_answers(gateway)
    relay.requests.clear()
    theirs = run_async(OpenAIEmbedding._aget_query_embedding(model, query))
    assert ours == theirs
    assert [(seen.path, seen.body) for seen in relay.requests] == sent != []
