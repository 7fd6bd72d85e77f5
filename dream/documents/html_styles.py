"""Elements that a page's own style sheets hide: those with `display: none` or `visibility: hidden`."""

import re
from collections.abc import Iterator
from typing import Any

MOST_RULES, MOST_ELEMENTS = 100, 2000
# Hidden elements with a larger share of the page's letters are assumed to be shown by a script: a single element, and
# all together.
MOST_OF_PAGE, MOST_TOGETHER = 0.3, 0.7
_COMMENT = re.compile(r"/\*.*?\*/|<!--|-->", re.DOTALL)
_AT_RULE = re.compile(r"@[^{};]*(?:;|\{(?:[^{}]*\{[^{}]*\})*[^{}]*\})")
_RULE = re.compile(r"([^{}]+)\{([^{}]*)\}")
_HIDES = re.compile(r"(?:^|;)\s*(?:display\s*:\s*none|visibility\s*:\s*hidden)\b", re.IGNORECASE)
_SHOWS = re.compile(r"(?:^|;)\s*(?:display|visibility)\s*:", re.IGNORECASE)
# Selectors by class, id, name and attribute; those that depend on the mouse or the position in a list are ignored.
_SELECTOR = re.compile(r"[\w.#\- >+~*\[\]=\"'^$|\n\t\r]+")


def hidden_by_styles(soup: Any) -> list[Any]:
    """The elements that rules for all screens hide, unless a later rule shows them."""
    rules = list(_rules("\n".join(style.get_text() for style in soup.find_all("style"))))
    if not any(hides for _, hides in rules):
        return []
    hidden: dict[int, Any] = {}
    n_letters = len(soup.get_text())
    for number, (selector, hides) in enumerate(rules):
        if not hides or len(hidden) > MOST_ELEMENTS:
            continue
        later = [shown for shown, hides_too in rules[number + 1 :] if not hides_too]
        for element in _selected(soup, selector):
            is_shown = any(_matches(element, shown) for shown in later)
            if not is_shown and len(element.get_text()) <= MOST_OF_PAGE * n_letters:
                hidden[id(element)] = element
    outermost = [each for each in hidden.values() if not any(id(parent) in hidden for parent in each.parents)]
    n_hidden = sum(len(element.get_text()) for element in outermost)
    return outermost if n_hidden <= MOST_TOGETHER * n_letters else []


def _rules(css: str) -> Iterator[tuple[str, bool]]:
    """The selector of each rule that shows or hides elements, and True if it hides; rules for some screens only are
    left out."""
    n_rules = 0
    for rule in _RULE.finditer(_AT_RULE.sub("", _COMMENT.sub("", css))):
        hides = bool(_HIDES.search(rule[2]))
        if not hides and not _SHOWS.search(rule[2]):
            continue
        for selector in rule[1].split(","):
            if _SELECTOR.fullmatch(selector.strip()) and n_rules < MOST_RULES:
                n_rules += 1
                yield selector.strip(), hides


def _selected(soup: Any, selector: str) -> list[Any]:
    from soupsieve import SelectorSyntaxError

    try:
        return soup.select(selector, limit=MOST_ELEMENTS)
    except SelectorSyntaxError:
        return []


def _matches(element: Any, selector: str) -> bool:
    import soupsieve

    try:
        return soupsieve.match(selector, element)
    except soupsieve.SelectorSyntaxError:
        return False
