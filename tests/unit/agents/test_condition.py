"""Conditions and `from` expressions."""

import contextlib
import copy
from datetime import UTC, date, datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventmill_agents.condition import Expression
from eventmill_agents.names import ALL_NAMES
from eventmill_agents.sandbox import MAX_LENGTH
from eventmill_agents.scope import EVENT, META, META_FIELDS, RESULT, scope_of
from eventmill_schemas.errors import EventError, MissingEventField, TemplateFailed, UsageError
from eventmill_schemas.events import Event, RawRecord, Source

FIELDS = {
    "category": "URGENT",
    "n": 5,
    "price": Decimal("12.50"),
    "at": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    "day": date(2026, 1, 2),
    "raw": b"abc",
    "none": None,
    "tags": ["b", "a"],
    "items": [{"sku": "x", "n": 2}, {"sku": "y", "n": 3}],
    "customer": {"name": "Anna", "keys": "house", "address": None},
    "not": "a keyword",
    "sp ace": 1,
}


def scope(**result: Any) -> dict[str, Any]:
    """Return the scope of an event with FIELDS and the result so far."""
    record = RawRecord(Source("mails", 3, 41), b"k\xff", b"", (), 1_700_000_000_000)
    return scope_of(Event("e-1", "acme", copy.deepcopy(FIELDS), record), result)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("event.category", "URGENT"),
        ("event['category']", "URGENT"),
        ("event.category == 'URGENT' and event.n > 3", True),
        ("event.category in ['A', 'B']", False),
        ("event.customer.name | lower", "anna"),
        ("event['customer'].name ~ '!'", "Anna!"),
        ("event['sp ace'] + 1", 2),
        ("event.not", "a keyword"),
        ("event.none", None),
        ("event.none is none", True),
        ("event.missing is defined", False),
        ("event.missing | default('x')", "x"),
        ("event.customer.address is none", True),
        ("event.tags | sort | join(',')", "a,b"),
        ("event.tags | map('upper') | list", ["B", "A"]),
        ("event.tags | map('upper')", ["B", "A"]),
        ("event.tags | reverse", ["a", "b"]),
        ("event.tags[0]", "b"),
        ("event.tags[5] is defined", False),
        ("event.category[0:3]", "URG"),
        ("event.items | sum(attribute='n')", 5),
        ("event.items | selectattr('n', 'gt', 2) | map(attribute='sku') | list", ["y"]),
        ("event.price * 2", Decimal("25.00")),
        ("event.at.isoformat()", "2026-01-02T03:04:05+00:00"),
        ("event.at.year", 2026),
        ("event.day", date(2026, 1, 2)),
        ("event.raw.decode()", "abc"),
        ("'%.1f' % event.price", "12.5"),
        ("'%.1f' | format(event.price)", "12.5"),
        ("event.category.replace('U', 'V').startswith('V')", True),
        ("event.n ** 3", 125),
        ("event.n % 3", 2),
        ("event.n / 2", 2.5),
        ("event.customer | tojson", '{"name": "Anna", "keys": "house", "address": null}'),
        ("'yes' if event.n else 'no'", "yes"),
        ("{'a': event.n, 'b': [event.n]}", {"a": 5, "b": [5]}),
        ("meta.id", "e-1"),
        ("meta.tenant", "acme"),
        ("meta.key", "k\ufffd"),
        ("meta.topic ~ '/' ~ meta.partition ~ '@' ~ meta.offset", "mails/3@41"),
        ("meta.timestamp", datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)),
        ("result.summary", "short"),
        ("1 + 1", 2),
    ],
)
def test_value(text: str, value: Any) -> None:
    """An expression has the value that its Jinja text says, in the types of the event."""
    assert Expression(text).evaluate(scope(summary="short")) == value


@pytest.mark.parametrize("name", ["items", "keys", "values", "get", "copy", "update", "pop"])
def test_field_named_like_a_method_is_the_field(name: str) -> None:
    """What stands after the point on a mapping is its field, also where Python's dict has a method of that name."""
    fields = {EVENT: {name: 7}, META: None, RESULT: {}}
    assert Expression(f"event.{name}").evaluate(fields) == 7
    assert Expression(f"event.{name} + 0").evaluate(fields) == 7
    with pytest.raises(MissingEventField):
        Expression(f"event.{name}").evaluate({EVENT: {}, META: None, RESULT: {}})


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("event.missing", "missing"),
        ("event['missing']", "missing"),
        ("event.missing == 1", "missing"),
        ("event.missing.more", "missing"),
        ("event.customer.missing", "missing"),
        ("event.customer.address.street", "street"),
        ("event.none.x", "x"),
        ("event.n.real", "real"),
        ("event.tags[5]", "5"),
        ("[event.missing]", "missing"),
        ("{'a': [{'b': event.missing}]}", "missing"),
        ("event.items | map(attribute='missing')", "missing"),
        ("event.items | map(attribute='missing') | list", "missing"),
        ("event.missing or true", "missing"),
        ("result.missing", "missing"),
        ("[event.missing] | tojson", "missing"),
        ("event.category.format(1)", "format"),
        ("event.category.center(9)", "center"),
        ("event.category.__class__", "__class__"),
        ("event.at.now()", "now"),
    ],
)
def test_missing_field_is_named(text: str, field: str) -> None:
    """A field that is not there is an error that names the expression and the field, wherever it is used."""
    with pytest.raises(MissingEventField) as caught:
        Expression(text, label="`when`").evaluate(scope())
    assert f"`when` {text!r}" in str(caught.value)
    assert f"no field {field!r}" in str(caught.value) or f"no field {field}" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("event.n / 0", "division by zero"),
        ("event.n > 'a'", "not supported"),
        ("event.category + 1", "TypeError"),
        ("event.n()", "not callable"),
        ("event.category.upper", "call it with ()"),
        ("event.tags.append('c')", "append"),
        ("event.raw | tojson | int + 'a'", "TypeError"),
    ],
)
def test_failure_says_why(text: str, reason: str) -> None:
    """Every other failure is TemplateFailed (or a missing field) with the reason, never a bare exception."""
    with pytest.raises(EventError) as caught:
        Expression(text).evaluate(scope())
    assert reason in str(caught.value)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "'a' * 1000000000",
        "1000000000 * 'a'",
        "[0] * 1000000000",
        "event.category * event.huge",
        "9 ** 999999999",
        "event.huge ** event.huge",
        "2 ** 4000 * 2 ** 4000",
        "'%0999999999d' % 1",
        "'%*d' % (999999999, 1)",
        "'%0999999999d' | format(1)",
        "event.category.replace('', 'x' * 900000)",
        "event.category | replace('', 'x' * 900000)",
        "1.5 | round(999999999, 'ceil')",
        "'a' | indent(999999999)",
    ],
)
def test_expensive_expression_is_refused(text: str) -> None:
    """What would take memory or time without bound fails at once and says so."""
    values = scope()
    values[EVENT]["huge"] = 10**9
    with pytest.raises(TemplateFailed, match=r"limit|more than|at most"):
        Expression(text).evaluate(values)


def test_growth_up_to_the_limit_is_allowed() -> None:
    """The limits stop no ordinary work."""
    assert len(Expression(f"'a' * {MAX_LENGTH}").evaluate(scope())) == MAX_LENGTH
    assert Expression("2 ** 64").evaluate(scope()) == 2**64


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("event.x ==", "at column 11"),
        ("event x", "unexpected 'x' at column 7"),
        ("event.a and\n event.b c", "at column 22"),
        ("(1", "at column 3"),
        ("", "at column 1"),
        ("event.x }} 3", "'}}' at column 9"),
        ("$", "unexpected char '$' at 0"),
        ("'abc", "unexpected char"),
        ("evnt.x", "unknown name 'evnt' (there are: event, meta, result)"),
        ("range(3)", "unknown name 'range'"),
        ("lipsum()", "unknown name 'lipsum'"),
        ("self", "unknown name 'self'"),
        ("meta.offest", "meta.offest does not exist (meta has: id, tenant,"),
        ("meta['offest']", "meta.offest does not exist"),
        ("result.sumary", "result.sumary does not exist (result has: summary)"),
        ("event.x | random", "random"),
        ("event.x | attr('y')", "attr"),
        ("event.x is foo", "foo"),
        ("(" * 5000 + "1" + ")" * 5000, "too deeply"),
        ("1" * 5000, "too long"),
    ],
)
def test_what_can_never_work_is_told_at_the_start(text: str, part: str) -> None:
    """A mistake in the expression is a UsageError with its place, before any event."""
    names = {**ALL_NAMES, RESULT: ("summary",)}
    with pytest.raises(UsageError) as caught:
        Expression(text, label="`from` of field 'a'", names=names)
    assert part in str(caught.value)
    assert str(caught.value).startswith("`from` of field 'a' ")


def test_names_that_are_not_there_yet() -> None:
    """`when` knows nothing of results: the name is unknown, not undefined at run time."""
    with pytest.raises(UsageError, match="unknown name 'result'"):
        Expression("result.x", names={EVENT: None, META: META_FIELDS})


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("event.n", True),
        ("event.n - 5", False),
        ("''", False),
        ("event.none", False),
        ("event.tags | select('in', [])", False),
    ],
)
def test_truth(text: str, answer: bool) -> None:
    """`test` counts empty, zero and null as false, also an empty selection."""
    assert Expression(text).test(scope()) is answer


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)


@given(
    fields=st.dictionaries(st.sampled_from("abc"), JSON),
    path=st.lists(st.sampled_from("abc"), min_size=1, max_size=4),
    written=st.lists(st.booleans(), min_size=4, max_size=4),
    frozen=st.booleans(),
)
def test_bare_path_means_what_jinja_means(
    fields: dict[str, Any], path: list[str], written: list[bool], frozen: bool
) -> None:
    """The short cut for bare paths gives what Jinja's compiled code gives: the same value, or the same error."""
    text = EVENT + "".join(f"['{name}']" if item else f".{name}" for name, item in zip(path, written, strict=False))
    values = {EVENT: MappingProxyType(fields) if frozen else fields, META: None, RESULT: {}}

    def outcome(expression: str) -> tuple[str, Any]:
        try:
            return "value", Expression(expression).evaluate(values)
        except EventError as error:
            return type(error).__name__, str(error).partition(": ")[2]

    assert outcome(text) == outcome(f"[{text}][0]")


@given(st.text(alphabet="event.mtaxyz()[]{}'\"|,+-*/%~=<> 0129isnotandrdefi\n", max_size=40))
def test_any_text_compiles_or_is_a_usage_error(text: str) -> None:
    """No text makes the compiler fail in another way, and what compiles fails only with EventErrors."""
    try:
        expression = Expression(text)
    except UsageError:
        return
    try:
        expression.evaluate(scope())
    except EventError:
        return


VALUES = st.one_of(JSON, st.floats(), st.decimals(), st.binary(max_size=8), st.datetimes(timezones=st.just(UTC)))


OPERATIONS = [
    Expression(text)
    for text in (
        *("event.a + event.b", "event.a * event.b", "event.a ** event.b", "event.a % event.b", "event.a < event.b"),
        *("event.a | tojson", "event.a | int + 1", "event.a | length", "event.a.x", "event.a[event.b]", "not event.a"),
        *("event.a.upper()", "event.a | join(event.b)", "event.a | replace(event.b, event.a)", "event.a in event.b"),
    )
]


@given(VALUES, VALUES)
def test_no_event_raises_anything_else(left: Any, right: Any) -> None:
    """Whatever an event holds, evaluation gives a value or an EventError."""
    values = {EVENT: {"a": left, "b": right}, META: None, RESULT: {}}
    for expression in OPERATIONS:
        with contextlib.suppress(EventError):
            expression.evaluate(values)


def test_nesting_without_end_is_an_event_error() -> None:
    """An event nested deeper than Python recurses is that event's failure."""
    deep: Any = 1
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(TemplateFailed, match="RecursionError"):
        Expression("event.a | tojson").evaluate({EVENT: {"a": deep}, META: None, RESULT: {}})


def test_message_is_short_whatever_the_event_holds() -> None:
    """A failure quotes at most a few hundred characters of what came from outside."""
    with pytest.raises(EventError) as caught:
        Expression("{}[event.a] + 1").evaluate({EVENT: {"a": "x" * 1_000_000}, META: None, RESULT: {}})
    assert len(str(caught.value)) < 1_000


def test_evaluation_changes_nothing() -> None:
    """Neither methods nor filters can change the event: the sandbox is immutable."""
    values = scope()
    before = copy.deepcopy(values[EVENT])
    for text in ("event.tags.append('c')", "event.tags.sort()", "event.customer.update({})", "event.tags | sort"):
        try:
            Expression(text).evaluate(values)
        except EventError:
            continue
    assert values[EVENT] == before


@pytest.mark.parametrize("millis", [-1, 10**18])
def test_meta_of_a_bare_record(millis: int) -> None:
    """A record without key has none in `meta`; so has one without timestamp, or with an impossible one."""
    values = scope_of(Event("e", None, {}, RawRecord(Source("mails", 0, 0), None, b"", (), millis)))
    assert Expression("[meta.key, meta.timestamp, meta.tenant]").evaluate(values) == [None, None, None]
