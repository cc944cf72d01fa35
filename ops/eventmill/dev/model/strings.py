"""The text of one string property, by what its name, format and description say that it is. Pure."""

import re
import uuid
from collections.abc import Callable, Collection, Mapping

from eventmill.dev.model.reading import Reading, first_words

REPLY_NAMES = frozenset({"reply", "replies", "response", "responses", "suggestion", "suggestions"})
ACTION_NAMES = frozenset({"action", "actions", "task", "tasks", "todo", "todos", "steps"})
LANGUAGE_NAMES = frozenset({"language", "lang", "locale"})
DATE_NAMES = frozenset({"date", "deadline", "due", "day", "until"})

_NO_DATE = "2000-01-01"   # where the text names none and the schema wants one
_PLACES = re.compile(r"at most (\d+) digits before and (\d+) after")   # how the JSON Schema of an Avro decimal words it


def string_for(words: Collection[str], form: str | None, description: str, reading: Reading) -> str:
    """Return the text for a property whose name consists of `words`; `form` is its `format`.

    Replies are at most 50 words. A translation is the summary behind the tag of its language.
    """
    if form is not None and form in _FORMATS:
        return _FORMATS[form](reading)
    for wording, write in _WORDINGS:
        if wording in description:
            return write(reading, description)
    for names, describe in _ROLES:
        if not names.isdisjoint(words):
            return describe(reading)
    return first_words(next(iter(reading.sentences), ""), 30) or reading.subject


def _translation(reading: Reading) -> str:
    return f"[{reading.target}] {reading.summary}"


def _reply(reading: Reading) -> str:
    quoted = f'"{reading.subject}"'
    replies = (
        f"Thank you for your message {quoted}. We have received it and will answer soon.",
        f"We are looking into {quoted} and will come back to you with details.",
        f"Thank you for writing. Could you tell us a little more about {quoted}, so that we can help?",
    )
    again = f" ({reading.number + 1})" if reading.number >= len(replies) else ""
    return replies[reading.number % len(replies)] + again


def _action(reading: Reading) -> str:
    return next(iter(reading.actions), "") or first_words(reading.text, 30)


def _date(reading: Reading) -> str:
    return reading.date or _NO_DATE


def _email(reading: Reading) -> str:
    return reading.email or "nobody@host.example"


def _time(reading: Reading, description: str) -> str:
    return f"{_date(reading)}T12:00:00" + ("" if "without zone" in description else "Z")


def _decimal(reading: Reading, description: str) -> str:
    found = _PLACES.search(description)
    before, after = (int(found[1]), int(found[2])) if found else (9, 2)
    fitting = (number for number in reading.numbers if abs(number) < 10**before)
    return f"{next(fitting, 0):.{after}f}"


_FORMATS: Mapping[str, Callable[[Reading], str]] = {
    "date": _date,
    "date-time": lambda reading: _time(reading, ""),
    "duration": lambda _: "PT1H",
    "email": _email,
    "hostname": lambda _: "host.example",
    "ipv4": lambda _: "192.0.2.1",
    "ipv6": lambda _: "2001:db8::1",
    "time": lambda _: "12:00:00Z",
    "uri": lambda _: "https://host.example/",
    "uuid": lambda reading: str(uuid.uuid5(uuid.NAMESPACE_OID, reading.text)),
}
_WORDINGS: tuple[tuple[str, Callable[[Reading, str], str]], ...] = (
    ("YYYY-MM-DDTHH:MM:SS", _time),
    ("umber as text", _decimal),
)
_ROLES: tuple[tuple[frozenset[str], Callable[[Reading], str]], ...] = (
    (frozenset({"translation", "translations", "translated", "translate"}), _translation),
    (frozenset({"summary", "abstract", "digest", "synopsis", "gist", "tldr"}), lambda reading: reading.summary),
    (frozenset({"subject", "title", "headline", "topic"}), lambda reading: reading.subject),
    (LANGUAGE_NAMES, lambda reading: reading.language),
    (REPLY_NAMES, _reply),
    (ACTION_NAMES, _action),
    (DATE_NAMES, _date),
    (frozenset({"email"}), _email),
)
