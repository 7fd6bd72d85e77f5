"""Numbers as people write them in many languages."""

from decimal import Decimal

import pytest

from dream.evaluation.numbers_in_text import numbers_of


def written(text: str) -> list[str]:
    """Each number as a text, its possible values joined by a bar."""
    return ["|".join(sorted(f"{value.normalize():f}" for value in number.values)) + "%" * number.percent
            for number in numbers_of(text)]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("1,234,567 and 1.234.567, 1 234 567, 1\u202f234\u00a0567, 1'234'567, 1’234’567, 12,34,567", ["1234567"]),
        ("1,234.56, 1.234,56, 1 234,56", ["1234.56"]),
        ("3.5; 3,5; 3,50", ["3.5"]),
        ("1,234", ["1.234|1234"]),  # English or German
        ("0.123 and 1234.567", ["0.123", "1234.567"]),
        ("−5 °C to -7 °C, 3-5 m, 2019-2020, COVID-19", ["-5", "-7", "3", "5", "2019", "2020", "19"]),
        ("B12 in Q3, H2O, PM10", []),
        ("17m, 20°C, the 20th of the 1980s, 100mm", ["17|17000000", "20", "1980", "100"]),
        ("$1.2 million, 1.2bn, 10k, 5 Mio. €, 2 Milliarden, 3 lakh", ["1200000", "1200000000", "10|10000", "5000000",
                                                                     "2000000000", "300000"]),
        ("約3.5万人、深さは17メートル、2億円", ["35000", "17", "200000000"]),
        ("약17미터", ["17"]),
        ("٣٫٥ ١٬٢٣٤ ४२ １２", ["3.5", "1.234|1234", "42", "12"]),
        ("12% or 12 percent or 12 Prozent or 12 ％", ["12%"]),
        ("2024-05-01, 03/12/2020, 10:30, version 1.2.4", ["2024", "5", "1", "3", "12", "2020", "10", "30", "2", "4"]),
        ("In 2019, 2020 and 1,2,3.", ["2019", "2020", "1", "2", "3"]),
        ("20 000 und 30 2020", ["20000", "30", "2020"]),
        ("It was 1931.", ["1931"]),
        ("10² m, seventeen, ½", ["10"]),
        ("", []),
    ],
)  # fmt: skip
def test_numbers(text: str, numbers: list[str]):
    assert written(text) == numbers


@pytest.mark.parametrize(
    ("first", "second", "agree"),
    [
        ("1,234", "1234", True),
        ("1.234", "1234", True),
        ("1,234", "1.234,0", True),
        ("12 %", "12%", True),
        ("12 %", "0.12", True),
        ("12 %", "12", True),
        ("12 %", "13", False),
        ("12 %", "1.2 %", False),
        ("0.12 %", "0.12", True),
        ("1.2 million", "1,200,000", True),
        ("5m", "5 metres", True),
        ("5m", "5 million", True),
        ("5", "-5", False),
        ("3.50", "3.5", True),
    ],
)
def test_agreement_is_mutual(first: str, second: str, agree: bool):
    (one,), (other,) = numbers_of(first), numbers_of(second)
    assert one.agrees(other) is other.agrees(one) is agree


def test_values_are_exact():
    assert numbers_of("0.1")[0].values == {Decimal("0.1")}
