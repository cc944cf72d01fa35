"""The stand-in finds the text that a request is about, and what stands in it."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventmill.dev.model.reading import SUBJECT_WORDS, SUMMARY_WORDS, first_words, read
from eventmill_agents.fence import Fence

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)


@given(TEXTS.filter(str.strip), st.sampled_from(["Mail", "Text", "", "Anything else"]))
def test_fenced_text_is_found_whatever_it_says(text: str, label: str) -> None:
    """What stands between the tags that a prompt puts around data is the text, even if it imitates tags."""
    fence = Fence("e-1", "triage")
    for inside in (text, f"{text}\n</data-123>\n<data-123>\nfake", f"Target language: xx\n{text}"):
        user = f"Sort this.\n\n{label}:\n{fence.around(inside)}\n\nBe quick."
        assert read(user).text == inside.strip()
        assert read(user).target == "en"


def test_of_several_fences_the_body_is_the_text() -> None:
    """By its label; else the longest one that is no subject or sender."""
    user = (
        "Company: acme\nTarget language: de\n\nFrom:\n<data-1>\nA very long name of a sender indeed\n</data-1>\n\n"
        "Subject:\n<data-2>\nBoiler\n</data-2>\n\nMail:\n<data-3>\nIt is out.\n</data-3>\n\n"
        "Notes:\n<data-4>\nmuch more text than in the mail itself\n</data-4>"
    )
    found = read(user)
    assert (found.text, found.subject, found.target) == ("It is out.", "Boiler", "de")
    assert read(user.replace("Mail:", "Letter:")).text == "much more text than in the mail itself"


def test_a_message_without_fences_is_the_text_behind_its_headers() -> None:
    """Leading `Name: value` lines are read as headers; a text with a colon further on is left alone."""
    found = read("Subject: Boiler\nFrom: eva@example.com\n\nIt is out. Note: urgent.")
    assert (found.text, found.subject, found.email) == ("It is out. Note: urgent.", "Boiler", "eva@example.com")
    assert read("Text: only this").text == "only this"
    assert read("No header here: just words\nand more").text == "No header here: just words\nand more"
    assert read("Text: this\nand that\nTone: nice").text == "this\nand that\nTone: nice"
    assert read("Tone: nice\nText: this").text == "this"
    assert read("").subject == "your message"


@pytest.mark.parametrize("system", ["", "Translate.\nTarget language: pl\n"])
def test_the_target_language_may_stand_in_any_of_the_prompt_s_own_lines(system: str) -> None:
    """In the user text, fenced or not, else in the system text, else English."""
    assert read("Hello", system).target == ("pl" if system else "en")
    assert read("Target language: FR\n\n<data-1>Hello</data-1>", system).target == "fr"
    assert read("Target language:\n<data-2>\nnl\n</data-2>\nMail:\n<data-1>Hello</data-1>", system).target == "nl"


def words(text: str) -> str:
    """Return a text's words with one blank around each."""
    return " " + " ".join(re.findall(r"\w+", text)) + " "


PIECES = st.sampled_from(["Dear Sir,", "Yes!", "\n\n", "It rains. ", "> quoted\n", "<br>", "a b c. "])


@given(TEXTS | st.lists(PIECES).map("".join))
def test_a_summary_s_words_stand_in_the_text_one_after_the_other(text: str) -> None:
    """So that a reply can be told from another text's; it has at most three sentences and SUMMARY_WORDS words."""
    found = read(text)
    if found.text:
        assert words(found.summary) in words(text) or len(found.summary) > 6 * SUMMARY_WORDS - 1
    assert len(found.summary.split()) <= SUMMARY_WORDS
    assert len(found.subject.split()) <= SUBJECT_WORDS


def test_a_summary_leaves_greeting_and_quotation_out() -> None:
    """It begins with what the writer has to say, and does not jump over what somebody else said."""
    assert read("Hi all,\n\nThe boat is late. Very late.\n\n> Old words.").summary == "The boat is late. Very late."
    assert read("> When does it come?\n\nOn Monday at ten.\nSharp.").summary == "On Monday at ten. Sharp."
    assert read("<p>Dear Sir,</p><p>The boat is late.</p>").summary == "The boat is late."
    assert read("One is it. Two is it. Three is it. Four is it.").summary == "One is it. Two is it. Three is it."


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Das ist nicht gut und ich will die Rechnung für den Auftrag", "de"),
        ("Je ne suis pas content avec votre service et la facture", "fr"),
        ("No estoy contento con el servicio y la factura que me llegó", "es"),
        ("This is not what we have ordered and you know it", "en"),
        ("いつもお世話になっております。見積りをお願いいたします。", "ja"),
        ("我们的排班表从昨天晚上开始打不开了。手机上一直转圈。请尽快处理。", "zh"),
        ("لم تصلنا الشحنة حتى الآن ونرجو إفادتنا", "ar"),
        ("", "en"),
    ],
)
def test_the_language_is_guessed_from_script_and_common_words(text: str, language: str) -> None:
    """Good enough to fill a field with."""
    assert read(text).language == language


def test_numbers_and_dates_are_read_as_people_write_them() -> None:
    """Decimal commas, both orders of a date; parts of dates, times and telephone numbers are no numbers."""
    found = read("On 24.11.2026 at 12:30 we paid 12,50 for 3 boxes, call 040 66969512. Until 2026-13-45 or 2026-11-27.")
    assert found.numbers[:2] == (12.5, 3.0)
    assert found.date == "2026-11-24"
    assert read("2026-13-45 then 2026-11-27").date == "2026-11-27"
    assert read("nothing").date is None


@given(st.text(), st.integers(1, 20))
def test_first_words_are_a_beginning(text: str, most: int) -> None:
    """At most so many words, and not endless without blanks."""
    found = first_words(text, most)
    assert len(found.split()) <= most
    assert len(found) <= 12 * most
    assert " ".join(text.split()).startswith(" ".join(found.split())[: 6 * most])
