"""Sums of cost events: exact to the last digit, and nothing without an amount counted as one."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avro_strategies import decimals
from eventmill.reading.costs import CostReport, Period, read_costs
from eventmill.reading.values import Seen
from eventmill_schemas.codec import AvroReader, AvroWriter, frame
from eventmill_schemas.errors import UsageError
from eventmill_schemas.events import RawRecord, Source
from eventmill_schemas.pipeline import Kafka, Pipeline
from eventmill_schemas.records import cost_event_schema

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
WRITER = AvroWriter(cost_event_schema(), 1)
ALWAYS = Period()
READER = AvroReader(cost_event_schema())


def seen(**fields: Any) -> Seen:
    """Make a cost event as it is read from a topic."""
    values = {
        **dict.fromkeys(("cost_id", "call_id", "event_id", "step", "source_topic", "provider"), "x"),
        **dict.fromkeys(("source_partition", "source_offset", "attempt", "duration_ms"), 1),
        "tenant": None,
        "pipeline": "shop",
        "stage": "triage",
        "model": "small",
        "outcome": "ok",
        "certainty": "EXACT",
        "cost": Decimal("0.000000000001"),
        "started_at": NOON,
        **fields,
    }
    value = WRITER.encode(values)
    return Seen(RawRecord(Source("costs", 0, 7), None, value, (), 0), READER.decode(frame(value)[1]))


def report(*records: Seen, by: tuple[str, ...] = ("stage",), period: Period = ALWAYS) -> CostReport:
    """Sum up records."""
    found = CostReport(by)
    for record in records:
        found.add(record, "shop", period)
    return found


AMOUNTS = decimals(38, 12)


@given(st.lists(st.tuples(AMOUNTS, st.sampled_from(["a", "b", None])), max_size=20))
def test_sums_are_exact(amounts: list[tuple[Decimal, str | None]]) -> None:
    """Also where the amounts have all the digits that the schema allows; by tenant and in all."""
    found = report(*(seen(cost=cost, tenant=tenant) for cost, tenant in amounts), by=("tenant",))
    for (key, currency), spent in found.rows.items():
        mine = [cost for cost, tenant in amounts if (tenant,) == key]
        assert (currency, spent.attempts) == ("USD", len(mine))
        assert spent.cost is not None
        assert Fraction(spent.cost) == sum(map(Fraction, mine))
    if amounts:
        assert Fraction(found.totals["USD"].cost or 0) == sum(Fraction(cost) for cost, _ in amounts)


def test_what_has_no_amount_is_counted_apart() -> None:
    """An attempt that may have been billed is not one that cost nothing; where no amount is known there is none."""
    found = report(
        seen(certainty="UNCERTAIN", cost=None, stage="a"),
        seen(certainty="UNPRICED", cost=None, stage="a", input_tokens=5, output_tokens=7),
        seen(cost=Decimal(0), stage="b"),
    )
    first, second = found.rows[("a",), "USD"], found.rows[("b",), "USD"]
    assert (first.cost, first.uncertain, first.unpriced, first.attempts) == (None, 1, 1, 2)
    assert (first.input_tokens, first.output_tokens) == (5, 7)
    assert (second.cost, second.input_tokens) == (Decimal(0), None)
    assert found.totals["USD"].cost == Decimal(0)


def test_currencies_are_never_added_up() -> None:
    """Each has its own sum."""
    found = report(seen(cost=Decimal(1)), seen(cost=Decimal(2), currency="EUR"))
    assert {currency: spent.cost for currency, spent in found.totals.items()} == {"USD": Decimal(1), "EUR": Decimal(2)}
    assert len(found.rows) == 2


def test_days_are_those_of_utc() -> None:
    """By when the attempt began."""
    found = report(seen(started_at=NOON), seen(started_at=NOON + timedelta(hours=13)), by=("day", "month"))
    assert list(found.rows) == [(("2026-11-20", "2026-11"), "USD"), (("2026-11-21", "2026-11"), "USD")]


def test_a_period_begins_with_its_first_moment_and_ends_before_its_last() -> None:
    """So that periods side by side count everything once."""
    records = [seen(started_at=NOON + timedelta(hours=hour)) for hour in range(4)]
    hours = [NOON + timedelta(hours=hour) for hour in (0, 2, 4)]
    counts = [
        report(*records, period=Period(since, until)).totals["USD"].attempts
        for since, until in zip([None, *hours[1:]], [hours[1], None], strict=False)
    ]
    assert counts == [2, 2]
    assert report(*records, period=Period(NOON, NOON)).totals == {}


def test_events_of_other_pipelines_are_not_ours() -> None:
    """Pipelines may share a topic."""
    assert report(seen(pipeline="other")).totals == {}


def broken(**changes: Any) -> Seen:
    """Make a record that says it is a cost event, and is none."""
    good = seen()
    assert isinstance(good.value, dict)
    return Seen(good.record, {**good.value, **changes})


@pytest.mark.parametrize(
    ("record", "told"),
    [
        (Seen(seen().record, None, "the registry gave no answer"), "costs/0@7: the registry gave no answer"),
        (Seen(seen().record, None), "it is no cost event"),
        (Seen(seen().record, "text"), "it is no cost event"),
        (Seen(seen().record, {"stage": "a"}), "no usable pipeline"),
        (broken(started_at=7), "no usable started_at"),
        (broken(cost=0.5), "no usable cost"),
        (broken(certainty="SURE"), "no usable certainty"),
        (broken(cost=None), "says that it is exact"),
        (broken(input_tokens="7"), "no usable input_tokens"),
        (broken(compute_seconds="7"), "no usable compute_seconds"),
    ],
)
def test_a_record_that_is_no_cost_event_is_told(record: Seen, told: str) -> None:
    """And is in no sum: a sum that silently lacks something is wrong."""
    found = report(record, seen(), record)
    assert found.unread == 2
    assert told in found.problem
    assert found.totals["USD"].attempts == 1


def test_the_largest_amounts_come_first_and_days_in_their_order() -> None:
    """Groups without an amount come after those with one."""
    found = report(
        seen(stage="a", cost=Decimal(1)),
        seen(stage="b", cost=Decimal(3)),
        seen(stage="c", certainty="UNPRICED", cost=None),
    )
    assert [key for key, _, _ in found.ranked()] == [("b",), ("a",), ("c",)]
    days = report(
        seen(started_at=NOON, cost=Decimal(1)),
        seen(started_at=NOON - timedelta(days=1), cost=Decimal(9)),
        by=("stage", "day"),
    )
    assert [key[1] for key, _, _ in days.ranked()] == ["2026-11-19", "2026-11-20"]


def test_an_unknown_dimension_is_told() -> None:
    """With those that there are, before Kafka is asked."""
    nowhere = Kafka("127.0.0.1:1", "http://127.0.0.1:1")
    with pytest.raises(UsageError, match="can't be told by 'colour'") as caught:
        read_costs(Pipeline("shop", ".", nowhere, (), {}), nowhere, ["stage", "colour"])
    assert "tenant" in (caught.value.remedy or "")
