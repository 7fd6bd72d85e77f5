"""The record of a race, in words and as JSON."""

import json

from dream.records import LeftRace, Look, Race

LEFT = LeftRace("b", "a", difference=-0.12, low=-0.2, high=-0.04)
DECIDED = Look(60, 12, 0.01, boundary=0.08, is_done=True, left=(LEFT,))
RACE = Race("recall", 20, 20, 0.025, order=tuple(map(str, range(200))), looks=(DECIDED, Look(80, 16, 0.012)))


def test_the_evidence_is_told_in_words():
    expected = "left the race after 60 of 200 questions, worse by 0.120 [0.040, 0.200] than chunks"
    assert RACE.reason_of("b", "chunks") == expected
    assert RACE.summary.startswith("A race by recall: 1 trial(s) left at 1 look(s)")
    assert (RACE.was_run, RACE.left) == (True, {"b": (DECIDED, LEFT)})


def test_a_race_without_a_decided_look_has_spent_nothing():
    planned = Race("recall", 20, 20, 0.025, looks=(Look(80, 16, 0.012),))
    assert (planned.was_run, planned.left, planned.summary) == (False, {}, "")


def test_json_brings_a_race_back_and_may_know_more():
    written = json.loads(json.dumps(RACE.to_json()))
    assert Race.from_json({**written, "later": 1}) == RACE
