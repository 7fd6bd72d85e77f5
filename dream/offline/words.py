"""Word-level analysis: tokens, stop words, stems, synonyms, numbers. The alphabet of the offline models."""

import re
from functools import lru_cache

TOKEN = re.compile(r"\d[\d,]*(?:\.\d+)?|[^\W\d_]+(?:['’][^\W\d_]+)?|\w+")
NUMBER = re.compile(r"(?<![\w.])\d[\d,]*(?:\.\d+)?")

STOP_WORDS = frozenset(
    """a about above according after again against all also although am among an and any are as at be because been
    before being below between both but by can could did do does doing done down during each either etc even ever every
    few for from further had has have having he her here hers him his how however i if in into is it its itself just
    let like made make many may me might more most much must my no nor not now of off often on once one only or other
    our out over own per rather s same shall she should so some such t than that the their them then there therefore
    these they this those through thus to too under until up upon us use used uses using very via was we were what
    when where whether which while who whom whose why will with within without would yes yet you your text context
    document given passage information consist consists
    consisted contain contains contained comprise comprises""".split()
)

NEGATIONS = frozenset(
    """no not never none neither nor cannot without nobody nothing nowhere hardly lack lacks lacked lacking
    fail fails failed unable don't doesn't didn't isn't aren't wasn't weren't won't can't couldn't shouldn't wouldn't
    hasn't haven't hadn't mustn't""".split()
)

NUMBER_WORDS = {
    word: str(value)
    for value, word in enumerate(
        "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
        "seventeen eighteen nineteen twenty".split()
    )
} | {
    "thirty": "30",
    "forty": "40",
    "fifty": "50",
    "sixty": "60",
    "hundred": "100",
    "twice": "2",
    "once": "1",
    "dozen": "12",
}

SCALES = {"thousand": 1e3, "million": 1e6, "billion": 1e9, "trillion": 1e12}

# The words of a row are synonyms for the offline models; the first one represents the group.
_SYNONYMS = """
begin start commence launch initiate|end finish conclude terminate|big large huge vast|small little tiny|
buy purchase acquire|cost price expense fee|help assist support aid|show demonstrate reveal indicate|
increase rise grow growth raise|decrease fall drop decline reduce reduction|quick fast rapid swift|
build construct create make|car vehicle automobile|company firm enterprise business|
employee worker staff personnel|error mistake fault failure|need require necessitate|get obtain receive|
keep retain preserve maintain|change alter modify|choose select pick|answer reply response|find discover locate|
speed pace rate|goal aim objective target purpose|important significant crucial essential key|
method approach technique|store save keep|use employ utilize utilise apply|
limit cap ceiling restrict restriction|delete remove erase|yearly annual annually|doctor physician|
study research investigation|people persons humans|city town|house home dwelling|child kid|
illness disease sickness|allow permit let enable|forbid prohibit ban|reach attain achieve|measure gauge|
test check verify examine|result outcome finding|part component piece|speak talk|say state mention|near close|
main principal primary chief|whole entire total|place location site|repair fix mend|danger hazard risk|
teach instruct train|safe secure|own possess|happen occur|try attempt|inventor creator founder|author writer|
leader head chief director|border boundary|amount quantity volume|minimum least lowest|maximum most highest|
last final|old ancient|new novel recent|average mean|different distinct|establish founded|fire blaze|
passenger traveller
"""

_ANTONYMS = """
increase decrease|more less|more fewer|high low|maximum minimum|first last|before after|above below|
accept reject|allow forbid|open close|win lose|true false|early late|north south|east west|public private|
old new|big small|include exclude|gain loss|positive negative|success failure|hot cold|rich poor|strong weak|
safe danger|mandatory optional|always never|import export|enable disable|internal external|left right|
upper lower
"""

_SUFFIXES = tuple(
    """ization isation fulness iveness ations ation ments ment ings ing ness ances ance ences ence ables able ible
    ities ity ively ally ions ion ied ies edly ers er ors or ed es ly al ive e s""".split()
)


_IRREGULAR_FORMS = """fell:fall fallen:fall rose:rise risen:rise said:say built:build bought:buy found:find kept:keep
    grew:grow grown:grow began:begin begun:begin paid:pay sent:send held:hold lost:lose won:win led:lead left:leave
    met:meet ran:run told:tell took:take taken:take wrote:write written:write chose:choose chosen:choose drew:draw
    drawn:draw gave:give given:give knew:know known:know saw:see seen:see showed:show shown:show spoke:speak
    spoken:speak spent:spend stood:stand taught:teach thought:think became:become brought:bring came:come went:go
    gone:go got:get sold:sell shut:shut dealt:deal meant:mean felt:feel drove:drive driven:drive fed:feed flew:fly
    froze:freeze frozen:freeze hid:hide hidden:hide laid:lay lent:lend slept:sleep broke:break broken:break
    caught:catch fought:fight sought:seek struck:strike swept:sweep born:bear wore:wear worn:wear made:make
    people:person children:child men:man women:woman feet:foot mice:mouse indices:index analyses:analysis"""
IRREGULAR = {form: base for form, _, base in (pair.partition(":") for pair in _IRREGULAR_FORMS.split())}


@lru_cache(maxsize=65536)
def stem(word: str) -> str:
    """The stem of a lower-case word, by a simple list of suffixes.

    Example:
        >>> stem("retries"), stem("retried"), stem("embeddings"), stem("embedded")
        ('retry', 'retry', 'embed', 'embed')
    """
    word = IRREGULAR.get(word, word)
    if len(word) < 4 or not word.isalpha():
        return word
    if word.endswith("ss") or word.endswith("us") or word.endswith("is"):
        return word
    for suffix in _SUFFIXES:
        if word.endswith(suffix) and len(word) - len(suffix) >= 3:
            return _repair(word[: -len(suffix)], suffix)
    return word


def _repair(root: str, suffix: str) -> str:
    if suffix in ("ied", "ies"):
        return root + "y"
    if len(root) > 3 and root[-1] == root[-2] and root[-1] not in "aeiouls":
        return root[:-1]
    return root[:-1] if root.endswith("e") and len(root) > 3 else root


def _groups(table: str) -> list[list[str]]:
    return [row.split() for row in table.split("|") if row.strip()]


_CANONICAL = {stem(word): stem(group[0]) for group in reversed(_groups(_SYNONYMS)) for word in group}
_OPPOSITES: dict[str, set[str]] = {}


@lru_cache(maxsize=65536)
def concept(word: str) -> str:
    """The stem of a lower-case word, or of the synonym that stands for its group.

    Example:
        >>> concept("purchased") == concept("buys")
        True
    """
    root = stem(word)
    return _CANONICAL.get(root, root)


for _left, _right in _groups(_ANTONYMS):
    _OPPOSITES.setdefault(concept(_left), set()).add(concept(_right))
    _OPPOSITES.setdefault(concept(_right), set()).add(concept(_left))


def opposites(root: str) -> set[str]:
    """The concepts that contradict `root`; mostly none."""
    return _OPPOSITES.get(root, set())


def tokens(text: str) -> list[str]:
    """Words and numbers of `text`, in order, in lower case, with plain apostrophes."""
    return TOKEN.findall(text.replace("’", "'").lower())


def number(token: str) -> str | None:
    """The value of a numeric token or number word as a canonical decimal text; None for other words.

    Example:
        >>> number("1,200"), number("12.50"), number("three"), number("three-fold")
        ('1200', '12.5', '3', None)
    """
    if token in NUMBER_WORDS:
        return NUMBER_WORDS[token]
    if not token[:1].isdigit():
        return None
    try:
        return _plain(float(token.replace(",", "")))
    except ValueError:
        return None


def numbers(words: list[str]) -> frozenset[str]:
    """All numbers among the tokens, multiplied by a following "million" or similar word."""
    values = set()
    for position, word in enumerate(words):
        value = number(word)
        if value is None:
            continue
        scale = SCALES.get(words[position + 1]) if position + 1 < len(words) else None
        values.add(_plain(float(value) * scale) if scale else value)
    return frozenset(values)


def _plain(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)


def count_tokens(text: str) -> int:
    """The token count that the server reports: 1.3 per word, and at least one per five characters."""
    return max(int(len(text.split()) * 1.3 + 0.5), len(text) // 5)
