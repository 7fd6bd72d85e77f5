"""XML of Office documents: parsed without unpacking entities."""

from dream.documents.xml import local_name, parse, to_bytes

BOMB = b'<!DOCTYPE a [<!ENTITY x "0123456789"><!ENTITY y "&x;&x;&x;&x;&x;&x;&x;&x;">]><a>&y;</a>'


def test_entities_are_not_unpacked():
    assert "0123456789" not in "".join(parse(BOMB).itertext())


def test_a_document_survives():
    root = parse(b"<w:p xmlns:w='urn:x'><!-- note --><w:t>\xc3\xa9</w:t></w:p>")
    assert [local_name(node) for node in root.iter()] == ["p", "", "t"]
    assert parse(to_bytes(root))[1].text == "é"
