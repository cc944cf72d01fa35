"""The text of an HTML mail, for readers that want words. Linear in its length, whatever the markup."""

import html
import re

_NAME = re.compile(r"/?([A-Za-z][A-Za-z0-9]*)")
_SPACE = re.compile(r"[ \t\r\n\f\xa0]+")
_LINES = re.compile(r" ?\n ?")
_GAPS = re.compile(r"\n{3,}")
_UNSEEN = frozenset({"script", "style", "head", "title", "template"})
_BLOCKS = frozenset({
    *("address", "article", "aside", "blockquote", "br", "center", "dd", "div", "dl", "dt", "fieldset", "figure"),
    *("footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "li", "main", "nav", "ol", "p", "pre"),
    *("section", "table", "tr", "ul"),
})
_APART = frozenset({"p", "h1", "h2", "h3", "h4", "h5", "h6", "blockquote", "table", "ul", "ol"})


def html_text(markup: str) -> str:
    """Return what a reader sees: lines at block elements, without scripts, styles and comments.

    Markup that never closes hides what follows it, as in a browser.
    """
    parts: list[str] = []
    at = 0
    while (tag := markup.find("<", at)) >= 0:
        parts.append(_words(markup[at:tag]))
        at = _after_tag(markup, tag, parts)
        if at < 0:
            break
    else:
        parts.append(_words(markup[at:]))
    return _GAPS.sub("\n\n", _LINES.sub("\n", _joined(parts))).strip()


def _after_tag(markup: str, tag: int, parts: list[str]) -> int:
    """Add what the tag at this place means, and return where its end is; -1: there is none."""
    if markup.startswith("<!--", tag):
        return _after(markup.find("-->", tag + 4), 3)
    name = _NAME.match(markup, tag + 1)
    if name is None:
        if markup[tag + 1 : tag + 2] in {"!", "?"}:
            return _after(markup.find(">", tag), 1)
        parts.append("<")   # a lone one is text
        return tag + 1
    element = name[1].lower()
    end = _after(markup.find(">", name.end()), 1)
    if element in _UNSEEN and not name[0].startswith("/") and end >= 0:
        closing = re.compile(f"</{element}", re.IGNORECASE).search(markup, end)
        return -1 if closing is None else _after(markup.find(">", closing.end()), 1)
    if element in _BLOCKS:
        parts.append("\n\n" if element in _APART else "\n")
    elif element in {"td", "th"}:
        parts.append(" ")
    return end


def _after(place: int, length: int) -> int:
    return place + length if place >= 0 else -1


def _words(text: str) -> str:
    return _SPACE.sub(" ", html.unescape(text))


def _joined(parts: list[str]) -> str:
    return re.sub(r" {2,}", " ", "".join(parts))
