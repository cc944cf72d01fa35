"""Texts for local models: what stands in the event, and nothing around it."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventmill_agents.scope import scope_of
from eventmill_agents.template import MAX_CHARACTERS, TextTemplate
from eventmill_schemas.errors import MissingEventField, TemplateFailed, UsageError
from eventmill_schemas.events import Event
from eventmill_schemas.storable_text import storable_text

Make = Callable[..., Event]


@given(body=st.text())
def test_the_text_comes_as_it_is(event: Make, body: str) -> None:
    """No fence, no escape, no evaluation of what an event carries; only what no Avro text can hold is taken out."""
    rendered = TextTemplate("{{ event.body }}").render(scope_of(event(body=body)))
    assert rendered == storable_text(body)


@pytest.mark.parametrize(
    ("source", "fields", "text"),
    [
        ("{{ event.subject }}\n{{ event.body }}", {"subject": "Hi", "body": "there"}, "Hi\nthere"),
        ("{{ event.a }}{{ event.b }}|{{ event.c }}", {"a": None, "b": True, "c": [1, 2]}, "true|[1, 2]"),
        ("{% if event.a %}yes{% endif %}{{ result.category }}", {"a": 1}, "yesBUG"),
        ("{{ event.body }}", {"body": "{{ event.secret }}"}, "{{ event.secret }}"),
    ],
)
def test_values_as_text(event: Make, source: str, fields: dict[str, Any], text: str) -> None:
    """Null is empty, lists are JSON; fields of the steps before are there."""
    assert TextTemplate(source).render(scope_of(event(**fields), {"category": "BUG"})) == text


@pytest.mark.parametrize(
    "source", ["{{ event.", "{{ nobody }}", "{% include 'x' %}", "{{ meta.nothing }}", "{{ 1 | evil }}"]
)
def test_mistakes_are_told_without_an_event(source: str) -> None:
    """With the label that says whose text it is."""
    with pytest.raises(UsageError, match="`text` of step 'c'"):
        TextTemplate(source, label="`text` of step 'c'")


def test_what_an_event_lacks_is_its_own_failure(event: Make) -> None:
    """A missing field, and a text without end."""
    with pytest.raises(MissingEventField, match="the text: there is no field 'body'"):
        TextTemplate("{{ event.body }}").render(scope_of(event()))
    endless = TextTemplate("{% for a in event.parts %}{{ event.body }}{% endfor %}")
    with pytest.raises(TemplateFailed, match="longer than"):
        endless.render(scope_of(event(parts=[0] * 5, body="x" * (MAX_CHARACTERS // 4))))
