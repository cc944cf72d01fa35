"""What the stand-in sees in a request: the text that it is about, and what stands in it. Pure."""

import re
from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from typing import NamedTuple

from eventmill.dev.model.vocabulary import SHORTEST_STEM, categories_of, category_named, language_of

MOST = 20_000          # characters of a text that are looked at
SUMMARY_WORDS = 60
SUBJECT_WORDS = 12

_FENCE = re.compile(r"<data-([A-Za-z0-9_-]+)>\n?(.*?)\n?</data-\1>", re.DOTALL)
_HEADER = re.compile(r"([^\W\d_][\w-]{0,20}(?: [\w-]{1,20})?):[ \t]*(.*)")   # of one or two words
_TARGET = re.compile(r"^[ \t]*target language:[ \t]*([a-z][a-z-]{1,19})\b", re.IGNORECASE | re.MULTILINE)
_BREAK = re.compile(r"<[^<>\n]{1,500}>|^[ \t]*>.*$", re.MULTILINE)   # tags and quoted lines interrupt the writer's text
_SENTENCE = re.compile(r"(?<=[.!?\u2026])\s+|(?<=[\u3002\uff01\uff1f])|\n[ \t]*\n")   # the latter: CJK
_WORD = re.compile(r"[^\W_]+")
_NUMBER = re.compile(r"(?<![\w.,/:-])-?\d{1,6}(?:[.,]\d{1,2})?(?![\w/:-]|[.,]\d)")
_DATE = re.compile(r"\b(\d{4})-(\d\d)-(\d\d)\b|\b(\d\d?)\.(\d\d?)\.(\d{4})\b")
_EMAIL = re.compile(r"[\w.+-]{1,64}@[\w-]+(?:\.[\w-]+)+")
_GREETING_WORDS = 4
_MODAL = re.compile(
    r"\b(?:must|should|shall|please|needs? to|have to|could you|can you|would you|bitte|muss|müssen|soll(?:te|ten)?|"
    r"können sie|könnten sie|por favor|debe|necesit\w+|pueden?|podr[íi]a\w*|veuillez|pouvez|doit|merci de|per favore|"
    r"dove(?:te|re)|potete|graag|moet|kunnen jullie|kunt u|laat|proszę|prosimy)\b"
    r"|お願い|ください|请|نرجو|пожалуйста"
)   # for lower-case text: ignoring case makes the search several times slower
_NAMES_OF_BODY = frozenset({"mail", "body", "text", "message", "content", "question", "data"})
_NAMES_OF_OTHERS = frozenset(
    {"subject", "from", "sender", "to", "cc", "date", "company", "tenant", "customer", "language", "target language"}
)


class _Section(NamedTuple):
    label: str   # lower case; empty: nothing stands in front of it
    text: str


@dataclass(frozen=True)
class Reading:
    """A text and its subject, with what is found in it.

    `target` is the language that a translation is asked in. `number` counts the items of an array that are all about
    the same text.
    """

    text: str
    subject: str
    target: str
    everything: str = field(default="", repr=False)   # all data of the request: what categories are judged by
    number: int = 0

    @cached_property
    def sentences(self) -> tuple[str, ...]:
        """The writer's own sentences, each on one line. Neighbours stand next to each other in the text as well."""
        for piece in _BREAK.split(self.text):
            found = [" ".join(sentence.split()) for sentence in _SENTENCE.split(piece)]
            found = [sentence for sentence in found if sentence]
            if len(found) > 1 and found[0][-1] in ",:!" and len(found[0].split()) <= _GREETING_WORDS:
                found = found[1:]
            if sum(len(sentence.split()) for sentence in found) > 2 or any(_wide(sentence) for sentence in found):
                return tuple(found)
        return tuple(line for line in [" ".join(self.text.split())] if line)

    @cached_property
    def summary(self) -> str:
        """The first sentences, at most three and SUMMARY_WORDS words, as they stand in the text."""
        return first_words(" ".join(self.sentences[:3]), SUMMARY_WORDS) or self.subject

    @cached_property
    def actions(self) -> tuple[str, ...]:
        """Sentences that ask somebody to do something, at most five."""
        asking = (sentence for sentence in self.sentences if _MODAL.search(sentence.casefold()))
        return tuple(first_words(sentence, 30) for sentence in islice(asking, 5))

    @cached_property
    def words(self) -> Counter[str]:
        """Lower-case words of everything but tags and quotations; those of the subject count twice."""
        own = _BREAK.sub(" ", self.everything or self.text)
        return Counter(_WORD.findall(f"{own} {self.subject}"[:MOST].casefold()))

    @cached_property
    def categories(self) -> Counter[str]:
        """How many words speak for each category."""
        found: Counter[str] = Counter()
        for word, count in self.words.items():
            for category in categories_of(word):
                found[category] += count
        return found

    @cached_property
    def numbers(self) -> tuple[float, ...]:
        """Numbers of at most six digits, in the order of the text; decimal commas are understood."""
        return tuple(float(found.replace(",", ".")) for found in _NUMBER.findall(self.text))

    @cached_property
    def date(self) -> str | None:
        """The first date, as YYYY-MM-DD."""
        for found in _DATE.finditer(self.text):
            year, month, day = found[1] or found[6], found[2] or found[5], found[3] or found[4]
            if 1 <= int(month) <= 12 and 1 <= int(day) <= 28:   # later days don't exist in every month
                return f"{year}-{int(month):02}-{int(day):02}"
        return None

    @cached_property
    def email(self) -> str | None:
        """The first mail address."""
        found = _EMAIL.search(self.everything or self.text)
        return found[0] if found else None

    @cached_property
    def language(self) -> str:
        """The language of the text, as an ISO 639-1 code; a guess."""
        return language_of(self.text, self.words)

    def speaks_for(self, part: str) -> int:
        """Return how many words speak for one lower-case part of an enum's symbol or a property's name."""
        category = category_named(part)
        if category is not None:
            return self.categories[category]
        if len(part) < SHORTEST_STEM:
            return self.words[part]
        return sum(count for word, count in self.words.items() if word.startswith(part))

    def about(self, sentence: str) -> "Reading":
        """Return a reading of one sentence of this text."""
        return Reading(sentence, self.subject, self.target)


def read(user: str, system: str = "") -> Reading:
    """Find the text that a request is about.

    It is what stands between `<data-N>` and `</data-N>`; of several such sections the one that is labelled as the body,
    else the longest that is no subject or sender. Without one it is the whole user message behind its leading
    `Name: value` lines. `Target language: xx` counts only outside of the data.
    """
    sections = _sections(user)
    outside = _FENCE.sub("", user) if sections else user
    if not sections:
        sections = _headers(user)
    by_label = {section.label: section.text for section in sections}
    body = _body(sections)
    subject = first_words(" ".join(by_label.get("subject", "").split()), SUBJECT_WORDS)
    asked = by_label.get("target language", "").strip().lower()
    if not re.fullmatch(r"[a-z][a-z-]{1,19}", asked):
        found = _TARGET.search(outside) or _TARGET.search(system)
        asked = found[1].lower() if found else "en"
    return Reading(
        text=body[:MOST],
        subject=subject or first_words(" ".join(_BREAK.sub(" ", body[:400]).split()), 8) or "your message",
        target=asked,
        everything="\n".join(section.text for section in sections)[:MOST],
    )


def first_words(text: str, most: int) -> str:
    """Return `text` cut after `most` words; text without blanks after six characters for each."""
    words = text.split(None, most)
    cut = text if len(words) <= most else " ".join(words[:most])
    return cut if len(cut) <= 12 * most else cut[: 6 * most]


def _sections(user: str) -> list[_Section]:
    found = []
    end = 0
    for fence in _FENCE.finditer(user):
        before = user[end : fence.start()].strip().rpartition("\n")[2]
        found.append(_Section(before.rstrip(": ").lower(), fence[2]))
        end = fence.end()
    return found


def _headers(user: str) -> list[_Section]:
    """Split leading `Name: value` lines off a message."""
    lines = user.lstrip().split("\n")
    headers = []
    for line in lines:
        header = _HEADER.fullmatch(line.strip())
        if header is None or not header[2]:
            break
        headers.append(_Section(header[1].lower(), header[2]))
    rest = "\n".join(lines[len(headers) :]).strip()
    if rest and headers and headers[-1].label in _NAMES_OF_BODY:   # what follows goes on with it
        return [*headers[:-1], _Section(headers[-1].label, f"{headers[-1].text}\n{rest}")]
    return [*headers, _Section("text", rest)] if rest or not headers else headers


def _body(sections: list[_Section]) -> str:
    named = [section.text for section in sections if section.label in _NAMES_OF_BODY]
    others = [section.text for section in sections if section.label not in _NAMES_OF_OTHERS]
    return max(named, key=len, default="").strip() or max(others, key=len, default="").strip()


def _wide(text: str) -> bool:
    """Whether the text is in a script without blanks, where words can't be counted."""
    return any(sign > "\u2e80" for sign in text)


