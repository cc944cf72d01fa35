"""The mails of the support-mail example are valid input, and as varied as a real mailbox."""

import json
import re
from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import fastavro
import pytest

EXAMPLE = Path(__file__).parents[3] / "examples" / "support-mail"
SCHEMA = json.loads((EXAMPLE / "schemas" / "mail.avsc").read_text("utf-8"))
MAILS: list[dict[str, str]] = [json.loads(line) for line in (EXAMPLE / "mails.jsonl").read_bytes().split(b"\n")[:-1]]

# Words that one of the languages uses all the time and none of the others has.
WORDS = {
    "en": "the and you with that",
    "de": "und nicht ich Sie wir der bitte",
    "es": "los las pero una para con está",
    "fr": "les vous je est pas avec merci",
    "it": "che il non della sono grazie ho",
    "nl": "het een niet dat jullie geen",
    "pl": "się nie proszę dziękuję oraz mam",
    "pt": "não uma obrigado os com meu",
    "sv": "och att det är ni jag för",
    "cs": "jsem prosím byl která jste",
    "tr": "için bir lütfen yüzünden kadar",
}
SCRIPTS = {
    "ja": "[\u3040-\u30ff]",
    "ko": "[\uac00-\ud7af]",
    "zh": "[\u4e00-\u9fff]",
    "ar": "[\u0620-\u064a]",
    "he": "[\u05d0-\u05ea]",
    "el": "[\u03b1-\u03ce]",
    "uk": "[іїєґ]",
}


def language(mail: Mapping[str, str]) -> str:
    """Tell the language of a mail's own words, quotes left out: by script, else by its commonest small words."""
    text = "\n".join(line for line in mail["body"].split("\n") if not line.startswith(">"))[:2000]
    for name, letters in SCRIPTS.items():
        if len(re.findall(letters, text)) >= 10:
            return name
    words = Counter(re.findall(r"[^\W\d]+", text))
    score = {name: sum(words[word] for word in own.split()) for name, own in WORDS.items()}
    return max(score, key=lambda name: score[name]) if any(score.values()) else "?"


def threads() -> dict[str, list[dict[str, str]]]:
    """Give the mails of each customer, in the order of the file."""
    found: dict[str, list[dict[str, str]]] = {}
    for mail in MAILS:
        found.setdefault(mail["customer"], []).append(mail)
    return found


@pytest.mark.parametrize("mail", MAILS, ids=[mail["id"] for mail in MAILS])
def test_a_mail_is_valid_input_once_its_time_is_a_timestamp(mail: dict[str, str]) -> None:
    """Every line has the fields of the input schema, no others, and survives encoding; the time names its zone."""
    assert list(mail) == [field["name"] for field in SCHEMA["fields"]]
    received = datetime.fromisoformat(mail["received_at"])
    assert received.tzinfo is not None
    event: dict[str, Any] = {**mail, "received_at": received}
    stream = BytesIO()
    fastavro.schemaless_writer(stream, SCHEMA, event, strict=True)
    stream.seek(0)
    assert fastavro.schemaless_reader(stream, SCHEMA, None) == event


def test_ids_are_unique_and_mails_stand_in_the_order_in_which_they_came() -> None:
    """The file can be produced line by line: order per customer is the order of the file."""
    assert len({mail["id"] for mail in MAILS}) == len(MAILS) >= 80
    times = [datetime.fromisoformat(mail["received_at"]) for mail in MAILS]
    assert times == sorted(times)


def test_mails_come_in_many_languages_to_several_tenants() -> None:
    """At least a dozen languages, the ten large ones several times each; four tenants with many mails each."""
    spoken = Counter(language(mail) for mail in MAILS)
    assert len(spoken.keys() - {"?"}) >= 12, spoken
    assert all(spoken[name] >= 3 for name in ("en", "de", "es", "fr", "it", "nl", "pl", "pt", "ja", "ar")), spoken
    assert all(number >= 15 for number in Counter(mail["tenant"] for mail in MAILS).values())
    assert len({mail["tenant"] for mail in MAILS}) == 4
    assert len({mail["target_language"] for mail in MAILS}) >= 3


def test_customers_write_more_than_once_and_quote_what_was_said() -> None:
    """There are long conversations; in some, a mail holds the ones before it, quoted at several depths."""
    long = [mails for mails in threads().values() if len(mails) >= 3]
    assert len(long) >= 10
    assert all(len({mail["tenant"] for mail in mails}) == 1 for mails in threads().values())
    deep = [mail for mail in MAILS if re.search(r"^>>", mail["body"], re.MULTILINE)]
    assert len(deep) >= 3
    for mails in long:
        for before, after in pairwise(mails):
            if quoted := [line for line in after["body"].split("\n") if line.startswith(">")]:
                own = [line for line in before["body"].split("\n") if line and not line.startswith(">")]
                assert [line.removeprefix("> ") for line in quoted if line.removeprefix("> ") in own] == own


@pytest.mark.parametrize(
    ("what", "pattern", "at_least"),
    [
        ("HTML", r"(?i)<html[ >].*</html>", 2),
        ("emoji", "[\U0001f300-\U0001faff]", 3),
        ("right-to-left letters", "[\u0590-\u06ff]{3}", 4),
        ("a right-to-left override", "\u202e", 1),
        ("a zero-width space or joiner", "[\u200b\u200d]", 1),
        ("NUL", "\x00", 1),
        ("control characters", "[\x07\x08\x1b\x7f\x85\u2028]", 1),
        ("a combining accent", "u\u0308", 1),
        ("an injected instruction", r"(?i)ignore all previous instructions", 1),
        ("a fake closing fence", r"</data>", 1),
        ("a fake answer", r'"category": "URGENT"', 1),
        ("a fake tool call", r"<tool_call>", 1),
        ("a template's output", r"\{\{ \w+", 2),
        ("a template's statement", r"\{% if", 1),
        ("printf fields", r"%s", 1),
        ("a shell variable", r"\$\{\w+\}", 1),
        ("carriage returns", r"\r\n", 1),
    ],
)
def test_hostile_and_odd_text_is_among_the_mails(what: str, pattern: str, at_least: int) -> None:
    """Each kind of text that has broken such systems before is in at least one body or subject."""
    found = [mail["id"] for mail in MAILS if re.search(pattern, mail["body"] + mail["subject"], re.DOTALL)]
    assert len(found) >= at_least, what


def test_lengths_go_from_nothing_to_sixty_thousand_bytes() -> None:
    """One body is empty, one subject is, one subject is longer than most mails, one body has 60,000 bytes."""
    bodies = [len(mail["body"].encode()) for mail in MAILS]
    subjects = [len(mail["subject"]) for mail in MAILS]
    assert min(bodies) == min(subjects) == 0
    assert 60_000 <= max(bodies) < 64_000   # with room for the record: a default broker takes 1 MiB
    assert max(subjects) > 1_000
    assert sum(1 for size in bodies if size < 200) >= 5


def test_three_mails_force_the_outcomes_that_the_demo_shows() -> None:
    """Each marker for the model stand-in is in exactly one mail, and one of the customers writes again afterwards."""
    marked = [(marker, mail) for mail in MAILS for marker in re.findall(r"\[\[stand-in:(\w+)\]\]", mail["body"])]
    assert sorted(marker for marker, _ in marked) == ["invalid", "refuse", "truncate"]
    assert any(mails.index(mail) < len(mails) - 1 for _, mail in marked for mails in [threads()[mail["customer"]]])


def test_no_two_mails_begin_alike() -> None:
    """A reply made of a mail's beginning can be told from the reply to every other mail."""
    beginnings = Counter(" ".join(re.findall(r"\w+", mail["body"]))[:60] for mail in MAILS if mail["body"])
    assert [text for text, number in beginnings.items() if number > 1] == []
