"""Parents of hits, and whole documents up to a number of tokens."""

import re

from llama_index.core.schema import QueryBundle
from model_servers import pages

from dream.indexes.chunkers import build_index
from dream.indexes.client import get_index
from dream.models.pickers import embed_model_picker, llm_picker
from dream.rag.methods import query_engine_picker
from dream.rag.postprocessors import passages
from dream.tokens import count_tokens

TEXT = " ".join(f"Lamp {number} of the mast burns since {1900 + number}." for number in range(80))


def retrieved(method, index, question, **parameters):
    engine = query_engine_picker(method, index, llm_picker("llm-large"), parameters)
    return passages(engine.retrieve(QueryBundle(question)))


def test_the_llm_reads_the_largest_chunk_around_each_hit_once(gateway):
    sizes = {"chunk_sizes": (200, 100, 30)}
    index = build_index(pages("a.txt", TEXT), "hierarchy", sizes, embed_model_picker("embed-small"))
    roots = [node.get_content() for node in index.docstore.docs.values() if node.parent_node is None]
    read = retrieved("parent_document", index, "Since when does lamp 7 burn?", top_k=4, **sizes)
    assert {passage.text for passage in read} <= set(roots)
    assert len({passage.text for passage in read}) == len(read) <= 4
    assert "Lamp 7 of the mast" in read[0].text
    leaves = index.as_retriever(similarity_top_k=4).retrieve("Since when does lamp 7 burn?")
    assert read[0].score == leaves[0].score


def test_whole_documents_are_read_in_order_up_to_the_budget(gateway):
    index = get_index([*pages("a.txt", TEXT), *pages("b.txt", "The otters sleep.")], "whole_documents", {}, "")
    whole = retrieved("long_context", index, "Anything?")
    assert [passage.file_name for passage in whole] == ["a.txt", "b.txt"]
    assert whole[0].text == TEXT
    cut = retrieved("long_context", index, "Anything?", context_tokens=100)
    assert [passage.file_name for passage in cut] == ["a.txt"]
    assert count_tokens(cut[0].text) == 100 and TEXT.startswith(cut[0].text)


async def test_long_context_asks_the_llm_once_and_no_embedding_model(gateway, relay):
    index = get_index(pages("a.txt", TEXT), "whole_documents", {}, "")
    engine = query_engine_picker("long_context", index, llm_picker("llm-large@relay"))
    assert re.search("190[0-9]", str(await engine.aquery("Since when does lamp 7 burn?")))
    assert [seen.path for seen in relay.requests] == ["/v1/chat/completions"]
