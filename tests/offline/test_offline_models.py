"""The models are small but not blind: larger is better, and answers come from the context."""

import re

import numpy as np
import pytest
from nordhaven import DOCUMENTS, ENERGY, PARAPHRASED, WATER

from dream.offline.answering import NO_ANSWER
from dream.offline.text import analyse
from dream.offline.words import numbers, tokens

PASSAGES = [part for text in DOCUMENTS.values() for part in re.split(r"\n\n", text) if len(part.split()) > 20]


def vectors(models, model, texts):
    return np.array([item.embedding for item in models.client.embeddings.create(model=model, input=texts).data])


def first_ranks(models, model):
    """The rank of the best passage that holds the answer, for each paraphrased question."""
    similarity = vectors(models, model, [question for question, _ in PARAPHRASED]) @ vectors(models, model, PASSAGES).T
    ranks = []
    for (_, evidence), row in zip(PARAPHRASED, similarity, strict=True):
        right = [place for place, passage in enumerate(PASSAGES) if evidence in " ".join(passage.split())]
        ranks.append(1 + min(list(np.argsort(-row)).index(place) for place in right))
    return np.array(ranks)


@pytest.mark.parametrize("model", ["embed-small", "embed-large"])
def test_a_paraphrase_is_nearer_than_another_subject(models, model):
    texts = [
        "The gateway retries a failed request three times before it gives up.",
        "How often does the gateway retry a failed request?",
        "Wheat grows well in the north of Italy.",
    ]
    similarity = vectors(models, model, texts) @ vectors(models, model, texts).T
    assert similarity[0, 1] > similarity[0, 2] + 0.2


def test_the_large_embedding_model_retrieves_better(models):
    small, large = first_ranks(models, "embed-small"), first_ranks(models, "embed-large")
    assert (1 / large).mean() > (1 / small).mean() + 0.1
    assert (large <= 3).mean() >= 0.85 > (small <= 3).mean()


def right_answers(models, model, passages=3):
    similarity = (
        vectors(models, "embed-large", [q for q, _ in PARAPHRASED]) @ vectors(models, "embed-large", PASSAGES).T
    )
    right = 0
    for (question, evidence), row in zip(PARAPHRASED, similarity, strict=True):
        context = "\n\n".join(PASSAGES[place] for place in np.argsort(-row)[:passages])
        right += evidence in models.answer(model, question, context)
    return right / len(PARAPHRASED)


def test_the_large_llm_answers_better(models):
    small, large = right_answers(models, "llm-small"), right_answers(models, "llm-large")
    assert large >= 0.6
    assert large > small + 0.05


def test_only_the_small_llm_rounds_figures(models):
    def invented(model):
        replies = [
            (models.answer(model, question, text), text) for question, _ in PARAPHRASED for text in (ENERGY, WATER)
        ]
        return sum(bool(numbers(tokens(reply)) - numbers(tokens(text))) for reply, text in replies)

    assert invented("llm-large") == 0
    assert 1 <= invented("llm-small") <= 15


def test_answers_are_joined_across_pdf_lines(models):
    context = "page_label: 4\nfile_name: a.pdf\n\nPumps\nThe old pump de-\nlivers 35 litres a\nsecond.\nPage 4 of 9"
    assert (
        models.answer("llm-small", "How much does the old pump deliver?", context)
        == "The old pump delivers 35 litres a second."
    )


def test_the_large_llm_combines_two_facts_and_admits_ignorance(models):
    question = "When was the Solar Park Ilsen opened, and who supplied the wind turbines?"
    answer = models.answer("llm-large", question, ENERGY)
    assert "May 2018" in answer and "Halvorsen Kraft" in answer
    assert len(analyse(answer)) <= 3
    assert models.answer("llm-large", "Who composed the opera about the moon?", ENERGY) == NO_ANSWER


def test_chat_prompts_of_llamaindex_are_understood(models):
    from llama_index.core.prompts.chat_prompts import CHAT_TEXT_QA_PROMPT, CHAT_TREE_SUMMARIZE_PROMPT

    for template in (CHAT_TEXT_QA_PROMPT, CHAT_TREE_SUMMARIZE_PROMPT):
        sent = template.format_messages(context_str=WATER, query_str="What does a cubic metre of drinking water cost?")
        messages = [{"role": message.role.value, "content": message.content} for message in sent]
        reply = models.client.chat.completions.create(model="llm-large", messages=messages)
        assert "1.85 euros" in reply.choices[0].message.content


def test_refine_keeps_the_answer_unless_the_context_is_better(models):
    from llama_index.core.prompts.chat_prompts import CHAT_REFINE_PROMPT
    from llama_index.core.prompts.default_prompts import DEFAULT_REFINE_PROMPT

    question = "What does a cubic metre of drinking water cost?"
    known = "A cubic metre of drinking water costs 1.85 euros."
    for template in (CHAT_REFINE_PROMPT, DEFAULT_REFINE_PROMPT):

        def refined(existing, context, template=template):
            prompt = template.format(query_str=question, existing_answer=existing, context_msg=context)
            return models.ask("llm-large", prompt).choices[0].message.content

        assert refined(known, ENERGY) == known
        assert refined(NO_ANSWER, ENERGY) == NO_ANSWER
        assert "1.85 euros" in refined(NO_ANSWER, WATER)


def test_query_engine_of_llamaindex_runs_on_it(models):
    from llama_index.core import Document, VectorStoreIndex
    from llama_index.embeddings.openai import OpenAIEmbedding
    from llama_index.llms.openai_like import OpenAILike

    embedding = OpenAIEmbedding(model_name="embed-large", api_key="any", api_base=models.base_url)
    llm = OpenAILike(
        model="llm-large", api_key="any", api_base=models.base_url, is_chat_model=True, context_window=8192
    )
    index = VectorStoreIndex.from_documents([Document(text=text) for text in DOCUMENTS.values()], embed_model=embedding)
    engine = index.as_query_engine(llm=llm, similarity_top_k=2)
    assert "22 minutes" in str(engine.query("How long does the ferry Aurelia take to cross Lake Ilsen?"))
