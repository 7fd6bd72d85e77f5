"""Just enough English to take a simple sentence apart: subject, verb, rest."""

import re
from dataclasses import dataclass
from functools import lru_cache

from dream.offline.words import IRREGULAR, STOP_WORDS

BE = {"is": False, "are": True, "was": False, "were": True}
MODALS = frozenset("can could will would may might must should shall".split())
HAVE = frozenset("has have had".split())
PRONOUNS = frozenset("it they he she this these those that we i you there its their his her".split())
PREPOSITIONS = frozenset(
    """in on at by from to for with of into during after before since until through over under between among
    about against within without across per via as because when while where if so that which who and
    or but than""".split()
)
_DETERMINERS = frozenset("a an the this these those its their his her our each every some any no all most many".split())
_ADVERBS = frozenset(
    """however moreover therefore furthermore also thus hence finally additionally consequently overall instead
    then still meanwhile nevertheless first second third next later today now usually often always never mainly
    mostly only not currently generally typically automatically directly""".split()
)
_LEADING = re.compile(r"^(?P<lead>[A-Z][^,.;:]{1,60}), (?P<main>.+)$")
_LEADING_YEAR = re.compile(
    r"^(?P<lead>(?:In|Since|By|During|Until) (?:[a-z]+ ){0,4}\d{4}s?) (?P<main>(?:the|a|an|all|most|[A-Z]).+)$"
)
_PARENTHESIS = re.compile(r", (?:who|which|whose) [^,]+, ")
_SUBORDINATORS = frozenset("because which that if when while since so although who whose where".split())
_COMMON_ENDINGS = ("tion", "ions", "ment", "ments", "ness", "ity", "ities", "ing", "ance", "ence", "ers")

VERBS = frozenset(
    """accept achieve act add adjust adopt affect agree aim allow announce answer appear apply appoint approve
    argue arrive ask assess assign attach attract avoid base become begin believe belong benefit bring build
    burn buy calculate call carry cause change charge check choose claim clean close collect combine come
    compare complete compute concern confirm connect consider consist consume contain continue contribute
    control convert cool copy correct cost count cover create cut damage deal decide declare decline decrease
    define deliver demand demonstrate depend deploy describe design detect determine develop differ discover
    discuss display distribute divide double draw drive drop earn eat elect emit employ enable encourage end
    enforce ensure enter establish estimate evaluate examine exceed exist expand expect expire explain explore
    export express extend face fail fall feed fight fill find finish fix flow focus follow forbid force form
    found fund gain generate get give go grant grow handle happen hear heat help hold host identify ignore
    implement import improve include increase indicate influence inform inspect install introduce invent invest
    involve issue join keep know lack land launch lay lead learn leave lend let limit link list live load lock
    lose lower maintain make manage measure meet mention migrate monitor move name need obtain occur offer open
    operate order organize overlap own pass pay perform permit place plan plant play point pollinate power
    prefer prepare present preserve prevent produce prohibit promise promote propose protect prove provide
    publish pump purchase put raise range reach react read receive recognize recommend record recover recycle
    reduce refer refuse reject release rely remain remember remove rent repair repeat replace report represent
    request require rescue reserve resist resolve respond rest restore restrict result retain retire retry
    return reveal rise rotate run save say scale see seek select sell send separate serve set settle share show
    shrink sign sit sleep slow solve speak specify spend split spread stand start state stay stop store
    strengthen study submit succeed suffer suggest supply support surround survive suspend sustain switch take
    talk teach tell test thank think touch trade train transfer transform translate transmit transport travel
    treat trigger try turn understand update use validate vary verify visit wait walk want warm warn wash watch
    weigh win wish work worry wrap write yield absorb accelerate accumulate adapt advise allocate analyze
    anticipate arrange assemble assume attend bind breed cache capture celebrate classify compete compile comply
    conduct configure consult contract cooperate cultivate debate defend delay delegate deploy derive devote
    diagnose disappear dispatch dissolve dominate donate embed emerge emphasize encrypt evolve excavate execute
    exhibit facilitate favour feature ferment filter finance flood forecast gather govern graduate harvest hatch
    illustrate impose index inhabit inherit inject insert integrate interpret invite label lift log map mark
    mature melt merge migrate mix modify nest notify observe occupy oppose originate outperform oversee pack
    participate persist pose possess predict process profit project prompt pursue qualify rank rate rebuild
    refine reflect regulate relate reopen research reside retrieve review revise reward roast route sample
    schedule score search secure shape shift ship simulate span stabilize stimulate store stream stretch strike
    summarize supervise tend track transfer trap trigger undergo unite unlock upgrade vote locate communicate
    bear situate assign recommend borrow recharge reuse graze hunt listen rot crown race cross register weaken
    welcome widen withdraw""".split()
)


@dataclass(frozen=True)
class Clause:
    """`kind` is be, have, modal or verb; `base` is the verb's infinitive; `do` the auxiliary that asks about it."""

    subject: str
    verb: str
    rest: str
    kind: str
    base: str
    do: str


@lru_cache(maxsize=16384)
def infinitive(word: str) -> str | None:
    """The infinitive of a verb form, or None when the word is not a known verb.

    Example:
        >>> infinitive("retries"), infinitive("planned"), infinitive("founded"), infinitive("table")
        ('retry', 'plan', 'found', None)
    """
    candidates = [word, IRREGULAR.get(word, word)]
    if word.endswith("s") and not word.endswith("ss"):
        candidates += [word[:-1], word[:-2], word[:-3] + "y"]
    if word.endswith("ed"):
        candidates += [word[:-1], word[:-2], word[:-3], word[:-3] + "y"]
    if word == "founded":
        return "found"
    return next((form for form in candidates[1:] + candidates[:1] if form in VERBS), None)


@lru_cache(maxsize=8192)
def parse(sentence: str) -> Clause | None:
    """Take a sentence apart at its first finite verb; None when no verb is recognised in its first words.

    Example:
        >>> parse("In 1998, the project moved to Kiel.")
        Clause(subject='the project', verb='moved', rest='to Kiel in 1998', kind='verb', base='move', do='did')
    """
    words = _main_part(sentence.strip().rstrip(".!?;: ")).split()
    for position in range(1, min(len(words), 14)):
        if clause := _clause_at(words, position):
            return clause
    return None


def _main_part(sentence: str) -> str:
    """Move a leading "In 1998," to the end and drop a leading "However,"."""
    sentence = _PARENTHESIS.sub(" ", sentence)
    match = _LEADING.match(sentence) or _LEADING_YEAR.match(sentence)
    if not match:
        return sentence
    first = match["lead"].split()[0].lower()
    if first in _ADVERBS:
        return match["main"]
    if first in PREPOSITIONS:
        return f"{match['main']} {lower_first(match['lead'])}"
    return sentence


def _clause_at(words: list[str], position: int) -> Clause | None:
    word = words[position].lower().strip(",")
    subject = " ".join(words[:position])
    if subject.endswith((",", ":", ";")) or len(subject) > 90 or _SUBORDINATORS & set(subject.lower().split()[1:]):
        return None
    rest = " ".join(words[position + 1 :])
    subject = lower_first(subject)
    if word in BE:
        return Clause(subject, word, rest, "be", "be", word)
    if word in MODALS:
        return Clause(subject, word, rest, "modal", word, word)
    if word in HAVE and _is_participle(words[position + 1 : position + 2]):
        return Clause(subject, word, rest, "modal", word, word)
    if word in HAVE:
        return Clause(subject, word, rest, "have", "have", "did" if word == "had" else _do(subject, word))
    base = infinitive(word) or _guessed_infinitive(words, position)
    if base is None or not rest or not _is_finite(words, position, base):
        return None
    past = word.endswith("ed") or IRREGULAR.get(word) == base
    return Clause(subject, word, rest, "verb", base, "did" if past else _do(subject, word))


def _is_participle(following: list[str]) -> bool:
    word = following[0].lower() if following else ""
    base = infinitive(word)
    return word == "been" or (base is not None and base != word and not word.endswith("s"))


def _guessed_infinitive(words: list[str], position: int) -> str | None:
    """Take an unknown word in -s for a verb if what follows can only be its object: "registers 3,400"."""
    word = words[position].lower()
    after = words[position + 1] if position + 1 < len(words) else ""
    if not word.isalpha() or len(word) < 5 or not word.endswith("s") or word.endswith(("ss", "us", "is")):
        return None
    if (after.lower() not in _DETERMINERS and not after[:1].isdigit()) or words[position - 1].lower().endswith("s"):
        return None
    return (
        word[:-3] + "y" if word.endswith("ies") else word[:-2] if word.endswith(("shes", "ches", "xes")) else word[:-1]
    )


def _do(subject: str, verb: str) -> str:
    return "do" if verb == "have" or not verb.endswith("s") else "does"


def _is_finite(words: list[str], position: int, base: str) -> bool:
    """Rule out nouns and participles that look like verbs."""
    word, before, after = words[position].lower(), words[position - 1].lower(), words[position + 1].lower()
    if before in _DETERMINERS or before in PREPOSITIONS or before in STOP_WORDS - PRONOUNS - _ADVERBS:
        return False
    if after in BE or after in MODALS or after in HAVE or (after == "of" and base != "consist"):
        return False
    if word == base and not _is_plural(words[:position]):
        return False
    if not word.endswith("ed") and _is_verb_too(words[position + 1 : position + 3]):
        return False
    return not (word.endswith("ed") and after in PREPOSITIONS and _has_later_verb(words[position + 1 : position + 8]))


def _is_plural(subject: list[str]) -> bool:
    """True when the head of the subject, the word before its first preposition, is a plural or "they"."""
    head = subject[0]
    for word in subject[1:]:
        if word.lower() in PREPOSITIONS:
            break
        head = word
    return (head.endswith("s") and not head.endswith("ss")) or head.lower() in ("they", "we", "you", "people", "sheep")


def _has_later_verb(words: list[str]) -> bool:
    for word in words:
        if word.lower() in _SUBORDINATORS or word.lower() in ("and", "but"):
            return False
        if word.lower() in BE or word.lower() in MODALS:
            return True
    return False


def _is_verb_too(following: list[str]) -> bool:
    """True when the next word is more likely the verb: "reports show that", "plants needed"."""
    after = following[0].lower()
    base = infinitive(after)
    if base is None:
        return False
    later = following[1].lower() if len(following) > 1 else ""
    return after != base or later in _DETERMINERS or later == "that"


def lower_first(text: str) -> str:
    """Lower the first letter when the word is probably not a name.

    No names are stop words, words with the ending of a common noun, and words before another noun in lower case.
    """
    first, _, remainder = text.partition(" ")
    plain = first.lower()
    following = remainder.partition(" ")[0]
    common = plain in STOP_WORDS or plain in PREPOSITIONS or plain in _DETERMINERS or plain in _ADVERBS
    ending = first[1:].islower() and plain.endswith(_COMMON_ENDINGS)
    before_noun = first[1:].islower() and following.islower() and following not in PREPOSITIONS
    return f"{plain} {remainder}".strip() if common or ending or before_noun else text
