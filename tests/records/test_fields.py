"""Fields of records: what a later version adds is not read."""

from dream.records import Source
from dream.records.fields import fields_in


def test_only_the_fields_of_the_record_are_read():
    assert fields_in(Source, {"file": "wells.pdf", "colour": "blue"}) == {"file": "wells.pdf"}
