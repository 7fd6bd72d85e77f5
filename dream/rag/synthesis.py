"""`answer_synthesizer`: LlamaIndex's compact response mode, with less CPU where the passages fit into one prompt."""

from collections.abc import Sequence
from contextvars import ContextVar
from typing import Any

from llama_index.core.indices.prompt_helper import PromptHelper
from llama_index.core.llms import LLM
from llama_index.core.prompts import PromptTemplate
from llama_index.core.prompts.default_prompt_selectors import DEFAULT_REFINE_PROMPT_SEL, DEFAULT_TEXT_QA_PROMPT_SEL
from llama_index.core.response_synthesizers import BaseSynthesizer, CompactAndRefine
from llama_index.core.schema import NodeWithScore
from llama_index.core.types import RESPONSE_TEXT_TYPE

from dream.rag.parameters import DEFAULT
from dream.tokens import tokenize

# An upper bound for the bytes of LlamaIndex's longest prompt (refine) without question, passages and earlier answer.
PROMPT_BYTES = 1000
# Set this to a list to receive the passages of the prompt even if the LLM fails, when LlamaIndex discards them.
nodes_of_prompt: ContextVar[list[NodeWithScore] | None] = ContextVar("nodes_of_prompt", default=None)


class _Compact(CompactAndRefine):
    """LlamaIndex's `CompactAndRefine`, which counts no tokens if an upper bound suffices.

    LlamaIndex counts and splits the passages twice per question, mostly to find that they fit into one prompt. A text
    has at most as many tokens as UTF-8 bytes, so a text of few bytes fits for certain. Its prompt, identical to
    LlamaIndex's, is then sent at once, with a fifth of the CPU. Otherwise LlamaIndex's own code runs.
    """

    def __init__(self, llm: LLM, prompt: str = DEFAULT) -> None:
        template = DEFAULT_TEXT_QA_PROMPT_SEL if prompt == DEFAULT else PromptTemplate(prompt)
        super().__init__(
            llm=llm,
            prompt_helper=PromptHelper.from_llm_metadata(llm.metadata, tokenizer=tokenize),
            text_qa_template=template,
            refine_template=DEFAULT_REFINE_PROMPT_SEL,
        )
        self._answering, self._prompt = llm, template
        metadata, own = llm.metadata, (0 if prompt == DEFAULT else len(prompt.encode(errors="replace")))
        own += len((llm.system_prompt or "").encode(errors="replace"))
        self._bytes_for_text = metadata.context_window - max(metadata.num_output, 256) - PROMPT_BYTES - own

    async def asynthesize(self, query: Any, nodes: list[NodeWithScore], *args: Any, **kwargs: Any) -> Any:
        if (noted := nodes_of_prompt.get()) is not None:
            noted[:] = nodes
        return await super().asynthesize(query, nodes, *args, **kwargs)

    def get_response(
        self,
        query_str: str,
        text_chunks: Sequence[str],
        prev_response: RESPONSE_TEXT_TYPE | None = None,
        **response_kwargs: Any,
    ) -> RESPONSE_TEXT_TYPE:
        if prev_response is None and (text := self._fitting(query_str, text_chunks)) is not None:
            return self._answering.predict(self._prompt, query_str=query_str, context_str=text, **response_kwargs)
        return super().get_response(query_str, text_chunks, prev_response, **response_kwargs)

    async def aget_response(
        self,
        query_str: str,
        text_chunks: Sequence[str],
        prev_response: RESPONSE_TEXT_TYPE | None = None,
        **response_kwargs: Any,
    ) -> RESPONSE_TEXT_TYPE:
        if prev_response is None and (text := self._fitting(query_str, text_chunks)) is not None:
            return await self._answering.apredict(
                self._prompt, query_str=query_str, context_str=text, **response_kwargs
            )
        return await super().aget_response(query_str, text_chunks, prev_response, **response_kwargs)

    def _fitting(self, query: str, texts: Sequence[str]) -> str | None:
        """The passages joined as LlamaIndex joins them; None if they are empty or may exceed the context window."""
        text = "\n\n".join(stripped for text in texts if (stripped := text.strip()))
        size = len(text.encode(errors="replace")) + len(query.encode(errors="replace"))
        return text if text and size <= self._bytes_for_text else None


def answer_synthesizer(llm: LLM, prompt: str = DEFAULT) -> BaseSynthesizer:
    """The response synthesizer of all RAG methods: one prompt with all passages, or "refine" prompts in turn where they
    exceed the LLM's context window.

    Args:
        prompt: with {context_str} and {query_str}; "default" for that of LlamaIndex.
    """
    return _Compact(llm, prompt)
