"""How much text files have: counted where short, estimated where long."""

from llama_index.core import Document

from dream.golden.texts import FILES_NAMED, file_texts
from dream.tokens import count_tokens

SENTENCE = "The dam keeps twenty-seven million cubic metres of water for three districts. "


def page(file: str, text: str) -> Document:
    return Document(text=text, metadata={"file_name": file})


def test_pages_of_a_file_count_together_and_short_files_are_told():
    documents = [page("b.pdf", SENTENCE * 6), page("b.pdf", SENTENCE * 6), page("a.txt", SENTENCE)]
    files, told = file_texts(documents)
    assert [(text.file, text.tokens, text.pieces) for text in files] == [("b.pdf", 2 * count_tokens(SENTENCE * 6), 1)]
    tokens = count_tokens(SENTENCE)
    assert told == [f"a.txt: {tokens} tokens; at least 100 are needed for a question"]


def test_a_long_file_is_estimated_from_its_beginning_in_its_own_language():
    for sentence in (SENTENCE, "水坝为三个县保存两千七百万立方米的水。"):
        pages = [page("long.pdf", sentence * 400) for _ in range(20)]
        ((text,), _) = file_texts(pages)
        assert abs(text.tokens / (20 * count_tokens(sentence * 400)) - 1) < 0.02


def test_many_short_files_share_a_line():
    _, told = file_texts([page(f"{i:02}.txt", "Short.") for i in range(40)])
    assert len(told) == 1
    assert told[0].startswith("40 files have fewer tokens; at least 100 are needed")
    assert told[0].endswith(f"and {40 - FILES_NAMED} more")
