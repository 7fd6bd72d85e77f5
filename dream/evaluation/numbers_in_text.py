"""Numbers in texts, whatever their separators and scales: 1,234.5 = 1.234,5 = 1 234.5, and 2 million = 2,000,000.

Only digits are recognised, not words such as "seventeen". Units are neither compared nor converted, except percent.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal

from dream.evaluation.normalised_text import UNSPACED

_SPACES = " \u00a0\u2007\u2009\u202f"
_BY_SPACES = rf"\d{{1,3}}(?:[{_SPACES}]\d{{3}})+(?!\d)(?:[.,]\d+)?"
_NUMBER = re.compile(rf"(?<![^\W{UNSPACED}\uac00-\ud7af])(?P<sign>[-−+])?(?P<body>{_BY_SPACES}|\d+(?:[,.'’٬٫]\d+)*)")
# After a letter (COVID-19) or a digit (2019-2020), a hyphen is not a minus sign.
_NO_SIGN_AFTER = re.compile(r"[\w.,)]")
_PERCENT = re.compile(
    r"\s*(?:[%％٪]|(?:per\s?cent|pct|prozent|pour\s?cent|por\s?ciento|per\s?cento)\b|процент)", re.IGNORECASE
)
_SCALES = {
    3: "thousand|thousands|tausend|mille|mil|тыс|тысяч|тысячи|千",
    4: "万|萬|만",
    5: "lakh|lakhs",
    6: "million|millions|mln|mio|millionen|millón|millones|milhão|milhões|milione|milioni|млн|миллион|миллионов",
    7: "crore|crores",
    8: "億|亿|억",
    9: "billion|billions|bn|mrd|milliarde|milliarden|milliard|milliards|miliardo|miliardi|млрд|миллиард|миллиардов",
    12: "trillion|trillions|兆|조",
}
_POWERS = {word: power for power, words in _SCALES.items() for word in words.split("|")}
_LONGEST_FIRST = "|".join(sorted(_POWERS, key=len, reverse=True))
_SCALE = re.compile(rf"[{_SPACES}-]?(?P<word>{_LONGEST_FIRST})(?![^\W\d_]|\d)", re.IGNORECASE)
_CJK_SCALE = re.compile("[千万萬億亿兆만억조]")
# A letter right after the digits may be a scale or a unit: 5m is 5 or 5,000,000.
_LETTER = re.compile(r"(?P<letter>[kKmMbB])(?![^\W_])")
_LETTERS = {"k": 3, "m": 6, "b": 9}
_SEPARATORS = {ord("٬"): ",", ord("٫"): ".", ord("’"): "'", **dict.fromkeys(map(ord, _SPACES), " ")}


@dataclass(frozen=True)
class Number:
    """A number in a text: its possible values, and True if a percent sign follows."""

    values: frozenset[Decimal]
    percent: bool = False

    def agrees(self, other: "Number") -> bool:
        """True if both can have the same value; 12 % is 12 %, 0.12, or 12 without any sign.

        Example:
            >>> first, second, third = numbers_of("12 % or 0.12 or 1.2 million")
            >>> first.agrees(second), first.agrees(third)
            (True, False)
        """
        if self.values & other.values:
            return True
        if self.percent == other.percent:
            return False
        shares, plain = (self, other) if self.percent else (other, self)
        return bool({value / 100 for value in shares.values} & plain.values)


def numbers_of(text: str) -> list[Number]:
    """The distinct numbers of a text, in their order. Digits within words (B12, Q3) are ignored.

    Example:
        >>> [sorted(map(str, number.values)) for number in numbers_of("From -5 °C to 3,5 %, by 2.5 bn in Q3")]
        [['-5'], ['3.5'], ['2500000000.0']]
    """
    return list(dict.fromkeys(_numbers(text)))


def agreeing(wanted: Iterable[Number], given: Iterable[Number]) -> list[Number]:
    """The wanted numbers that agree with any of the given ones."""
    there = list(given)
    return [number for number in wanted if any(number.agrees(other) for other in there)]


def _numbers(text: str) -> Iterator[Number]:
    for match in _NUMBER.finditer(text):
        readings = _readings(_western(match["body"]))
        if readings is None:  # a date, a version, a list: its parts
            yield from (Number(frozenset({Decimal(part)})) for part in re.findall(r"\d+", _western(match["body"])))
            continue
        before = text[match.start() - 1 : match.start()]
        if match["sign"] in ("-", "−") and not _NO_SIGN_AFTER.match(before):
            readings = {-value for value in readings}
        rest = text[match.end() : match.end() + 20]
        yield Number(frozenset(_scaled(readings, rest)), bool(_PERCENT.match(rest)))


def _western(body: str) -> str:
    """The digits of any script as 0 to 9, with one sign for each kind of separator."""
    digits = (str(unicodedata.decimal(sign)) if sign.isdecimal() else sign for sign in body)
    return "".join(digits).translate(_SEPARATORS)


def _readings(body: str) -> set[Decimal] | None:
    """The possible values of digits with separators; None if they are not a single number.

    One separator before three digits may group thousands or be the decimal one: 1.234 is 1234 or 1.234.
    """
    separators = re.findall(r"\D", body)
    if not separators:
        return {Decimal(body)}
    last, digits = separators[-1], re.split(r"\D", body)
    decimal = Decimal(f"{''.join(digits[:-1])}.{digits[-1]}")
    whole = Decimal("".join(digits))
    if len(separators) == 1:
        grouped = len(digits[-1]) == 3 and len(digits[0]) <= 3 and digits[0] != "0"
        if last in " '":
            return {whole} if grouped else None
        return {whole, decimal} if grouped else {decimal}
    if len(set(separators)) == 1:
        return {whole} if _is_grouped(digits) else None
    if last in ".," and last not in separators[:-1] and len(set(separators[:-1])) == 1 and _is_grouped(digits[:-1]):
        return {decimal}
    return None


def _is_grouped(digits: list[str]) -> bool:
    """True for groups of three digits, or of two before the last three as in India (12,34,567)."""
    first, *middle, last = digits
    if not 1 <= len(first) <= 3 or len(last) != 3:
        return False
    return all(len(part) == 3 for part in middle) or (len(first) <= 2 and all(len(part) == 2 for part in middle))


def _scaled(values: set[Decimal], rest: str) -> set[Decimal]:
    """The values with the scale that follows: a word (2 million), or a letter that may also be a unit (2m)."""
    if (cjk := _CJK_SCALE.match(rest)) is not None:
        return {value * 10 ** _POWERS[cjk[0]] for value in values}
    if (scale := _SCALE.match(rest)) is not None:
        return {value * 10 ** _POWERS[scale["word"].lower()] for value in values}
    if (letter := _LETTER.match(rest)) is not None:
        return values | {value * 10 ** _LETTERS[letter["letter"].lower()] for value in values}
    return values
