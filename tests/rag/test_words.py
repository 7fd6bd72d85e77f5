"""Search by words in many languages, against BM25 by hand."""

import math

import pytest
from model_servers import pages

from dream.indexes.client import get_index
from dream.rag.words import WordRetriever, words_of

FACTS = {
    "Wer stimmt die Hafenorgel?": "Ida Brandt stimmt die Hafenorgel im Mai.",
    "Où dorment les loutres ?": "Les loutres dorment sous le vieux bac.",
    "盐磨坊是什么时候重建的？": "盐磨坊于1931年重建。",
    "氷の井戸の深さは？": "氷の井戸の深さは17メートルです。",
    "북쪽 돛대의 등불은 몇 개?": "북쪽 돛대에는 등불이 42개 있다.",
    "ใครซ่อมสายทองแดง": "นักดำน้ำซ่อมสายทองแดงทุกปี",
    "कुआँ कितना गहरा है?": "बर्फ का कुआँ सत्रह मीटर गहरा है।",
    "كم عدد المصابيح؟": "يحمل الصاري الشمالي عدد اثنين وأربعين من المصابيح.",
    "Πόσο βαθύ είναι το πηγάδι;": "Το πηγάδι του πάγου είναι βαθύ δεκαεπτά μέτρα.",
    "Кто чинит кабель?": "Водолазы каждый год чинят медный кабель.",
}


def index_of(*texts):
    return get_index([page for text in texts for page in pages(f"{text[:9]}.txt", text)], "tokens", {
        "chunk_size": 256, "chunk_overlap": 0}, "")  # fmt: skip


@pytest.mark.parametrize("question", FACTS)
def test_the_fact_is_found_in_every_script(question):
    hits = WordRetriever(index_of(*FACTS.values()), 3).retrieve(question)
    assert hits[0].text == FACTS[question]


def test_scores_are_those_of_bm25_by_hand():
    """Lucene's variant: idf = ln(1 + (N - n + 0.5) / (n + 0.5)), k1 = 1.5, b = 0.75."""
    texts = ("mast lamp lamp", "lamp organ", "otter ferry mill well")
    hits = WordRetriever(index_of(*texts), 5).retrieve("Lamp and mast")
    mean = (3 + 2 + 4) / 3

    def part(n_with, frequency, length):
        idf = math.log(1 + (3 - n_with + 0.5) / (n_with + 0.5))
        return idf * frequency / (frequency + 1.5 * (1 - 0.75 + 0.75 * length / mean))

    expected = {texts[0]: part(2, 2, 3) + part(1, 1, 3), texts[1]: part(2, 1, 2)}
    assert {hit.text: hit.score for hit in hits} == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("question", ["", "?!", "zebra", "🦓"])
def test_a_question_without_a_known_word_finds_nothing(question):
    assert WordRetriever(index_of("The mast."), 3).retrieve(question) == []


def test_texts_without_any_word():
    assert WordRetriever(index_of("— 🦓 —", "…"), 3).retrieve("mast") == []


def test_words_keep_marks_and_fold_case_and_width():
    assert words_of("ＳＴＲＡẞＥ naïve x_1 हिन्दी") == ["strasse", "naïve", "x_1", "हिन्दी"]
    assert words_of("東") == ["東"]


def test_many_trials_share_the_search_over_the_same_chunks():
    first, again = (WordRetriever(index_of("The mast.", "The ferry."), 3) for _ in range(2))
    other = WordRetriever(index_of("The mast.", "The otter."), 3)
    assert first._search is again._search is not other._search
    assert [hit.text for hit in again.retrieve("ferry")] == ["The ferry."]
