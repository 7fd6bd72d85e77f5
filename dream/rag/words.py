"""`WordRetriever`: search by words (BM25), in any language.

Words are runs of letters, marks and digits, without a stemmer or stop words of one language. Scripts that put no spaces
between words (Chinese, Japanese, Thai, Lao, Khmer, Burmese) and Korean, whose particles are written with the word, are
searched by pairs of characters.
"""

import threading
import unicodedata
from collections import OrderedDict
from collections.abc import Sequence
from itertools import pairwise

import bm25s
import numpy
import regex
from llama_index.core import VectorStoreIndex
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle

from dream.records import digest

_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
_RUN = regex.compile(
    rf"(?P<pairs>[{_UNSPACED}ー々〆][{_UNSPACED}\p{{M}}ー々〆]*)|[[\p{{L}}\p{{M}}\p{{N}}_]--[{_UNSPACED}]]+", regex.V1
)
_CHARACTER = regex.compile(r"\X")
SEARCHES_KEPT = 4
_searches: OrderedDict[str, bm25s.BM25 | None] = OrderedDict()
_making = threading.Lock()


def words_of(text: str) -> list[str]:
    """The words of a text, in lower case; pairs of characters in scripts without spaces between words.

    Example:
        >>> words_of("Der Öl-Preis (2,5 %) ist GESTIEGEN; 東京都 und ไทย")
        ['der', 'öl', 'preis', '2', '5', 'ist', 'gestiegen', '東京', '京都', 'und', 'ไท', 'ทย']
    """
    words = []
    for run in _RUN.finditer(unicodedata.normalize("NFKC", text).casefold()):
        if run["pairs"] is None:
            words.append(run[0])
            continue
        characters = _CHARACTER.findall(run[0])
        words += ["".join(pair) for pair in pairwise(characters)] or characters
    return words


class WordRetriever(BaseRetriever):
    """Finds the `top_k` nodes that share the most distinctive words with the question, and no node without a common
    word.

    Args:
        index: its embedded nodes are searched; vectors are not needed.
    """

    def __init__(self, index: VectorStoreIndex, top_k: int) -> None:
        super().__init__()
        self._docstore, self._top_k = index.docstore, top_k
        self._ids: list[str] = index.vector_store.embedded_ids  # pyright: ignore[reportAttributeAccessIssue]
        self._search = _search_once([self._text(node_id) for node_id in self._ids])

    def _text(self, node_id: str) -> str:
        """The searched text of a node, including its context."""
        return self._docstore.docs[node_id].get_content(MetadataMode.EMBED)

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        query = [word for text in query_bundle.embedding_strs for word in words_of(text)]
        search = self._search
        indexed = [] if search is None else [word for word in query if word in search.vocab_dict]
        if search is None or not indexed:
            return []
        scores = search.get_scores(indexed)
        best = numpy.argsort(-scores, kind="stable")[: self._top_k]
        return [
            NodeWithScore(node=self._docstore.docs[self._ids[index]], score=float(scores[index]))
            for index in best
            if scores[index] > 0
        ]


def _search_once(texts: Sequence[str]) -> bm25s.BM25 | None:
    """The search index over texts; the latest are kept in this process, as many trials search the same chunks. None for
    texts without any word."""
    key = digest(list(texts))
    with _making:
        if key not in _searches:
            _searches[key] = _search(texts)
            while len(_searches) > SEARCHES_KEPT:
                _searches.popitem(last=False)
        _searches.move_to_end(key)
        return _searches[key]


def _search(texts: Sequence[str]) -> bm25s.BM25 | None:
    words = [words_of(text) for text in texts]
    if not any(words):
        return None
    search = bm25s.BM25()
    search.index(words, show_progress=False)
    return search
