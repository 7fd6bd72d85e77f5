"""Sentences of every language and kind of text: none is too long, and no character is lost."""

import pytest
from llama_index.core.node_parser.text.utils import split_by_sentence_tokenizer
from texts_of_languages import TEXTS

from dream.indexes.sentence_splitting import (
    BLOCK_CHARACTERS,
    LEAST_WORDS,
    MOST_TOKENS,
    beginning,
    count_words,
    split_sentences,
    whole_sentences,
)
from dream.tokens import count_tokens


@pytest.mark.parametrize("split", [split_sentences, whole_sentences])
@pytest.mark.parametrize("kind", TEXTS)
def test_sentences_are_bounded_and_lose_no_character(kind, split):
    sentences = split(TEXTS[kind])
    assert "".join(sentences) == TEXTS[kind]
    assert max(map(count_tokens, sentences)) <= MOST_TOKENS


@pytest.mark.parametrize(
    "sentences",
    [
        ["The weir is 3.5 km away. ", "Who paid? ", "Nobody."],
        ["雨が降る。", "風が吹く！", "「本当か？」", "はい。"],
        ["他来了。", "你好吗?", "我很好.", "真的？！", "是。\n", "好"],
        ["बारिश हो रही है। ", "हवा चलती है॥ ", "कौन?"],
        ["هطل المطر. ", "هل جاء؟ ", "نعم."],
        ["بارش ہوئی۔ ", "کون آیا؟ ", "وہ۔"],
        ["Անձրև է։ ", "Քամի է։"],
        ["ዝናብ ዘነበ። ", "ነፋስ ነፈሰ።"],
        ["မိုးရွာသည်။ ", "လေတိုက်သည်။"],
        ["비가 온다. ", "바람이 분다!"],
        ["  \n The mill stands still. ", "Why?"],
    ],
)
def test_what_ends_a_sentence_in_its_script(sentences):
    assert split_sentences("".join(sentences)) == sentences


def test_a_long_text_has_the_sentences_that_it_has_as_a_whole():
    sentences = [f"Dr. {'A' * (n % 40)} saw no. {n}, i.e. 3.{n} m, at {n % 12} p.m. in the U.S. " for n in range(2000)]
    text = "".join(sentences)
    whole = split_by_sentence_tokenizer()(text)
    assert len(text) > 5 * BLOCK_CHARACTERS
    assert split_sentences(text) == whole


@pytest.mark.parametrize("part", ["1. 2.5 3. ", "x", "no stop "])
def test_very_long_texts_lose_no_character(part):
    text = part * (3 * BLOCK_CHARACTERS // len(part))
    assert "".join(whole_sentences(text)) == text


@pytest.mark.parametrize("text", ["", " ", "\n\n"])
def test_text_without_a_sentence_loses_nothing(text):
    assert "".join(split_sentences(text)) == text


def test_rows_stay_whole_where_a_long_table_is_cut():
    rows = TEXTS["table"].splitlines(keepends=True)
    pieces = split_sentences(TEXTS["table"])
    assert len(pieces) > 10
    assert all(piece.endswith("\n") for piece in pieces[:-1])
    assert len(rows) == sum(len(piece.splitlines()) for piece in pieces)


def test_a_long_sentence_is_cut_after_a_clause_and_no_character_from_its_accents():
    clause = "while the miller waits for the barge that brings the coal up the river"
    pieces = split_sentences("; ".join([clause] * 30))
    assert len(pieces) > 1
    assert all(piece.endswith("; ") for piece in pieces[:-1])
    assert all(piece[0] == "👩" for piece in split_sentences("👩‍🌾" * 300))


@pytest.mark.parametrize("kind", ["Japanese", "Chinese", "Hindi", "Thai", "Arabic"])
def test_a_long_sentence_has_enough_words_to_stand_for_itself_in_every_script(kind):
    assert all(count_words(sentence) >= LEAST_WORDS for sentence in whole_sentences(TEXTS[kind])[:-1])
    assert len(whole_sentences(TEXTS[kind])) > 25


@pytest.mark.parametrize("kind", TEXTS)
@pytest.mark.parametrize("tokens", [1, 7, 40, 500])
def test_the_beginning_of_a_text_keeps_to_its_tokens(kind, tokens):
    text = TEXTS[kind]
    kept = beginning(text, tokens)
    assert text.startswith(kept)
    assert count_tokens(kept) <= tokens
    assert count_tokens(kept) >= 0.7 * tokens or tokens < 40


def test_the_beginning_ends_with_a_sentence():
    text = "Ice melts in the spring. Bees fly over the hill. Rain falls."
    assert beginning(text, count_tokens(text) - 1) == "Ice melts in the spring. Bees fly over the hill."
    assert beginning("雨が降る。風が吹く。", 7) == "雨が降る。"
