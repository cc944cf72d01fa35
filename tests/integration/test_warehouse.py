"""Results and costs in Postgres, by a real worker of Kafka Connect: types, upserts, transactions, crashes, failures."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import pytest
from confluent_kafka import Consumer, TopicPartition

from backends import Worker
from eventmill.dev.addresses import Addresses
from warehouse_pipeline import AT, FIELDS, SORT, SortPipeline, computed, cost, result


class Warehouse:
    """The tables, as somebody who asks SQL sees them."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        """Ask through `connection`."""
        self.connection = connection

    async def rows(self, statement: str) -> list[dict[str, Any]]:
        """Return what a query gives; nothing where a table is not there yet."""
        try:
            return [dict(row) for row in await self.connection.fetch(statement)]
        except asyncpg.UndefinedTableError:
            return []

    async def until(self, statement: str, wanted: Callable[[list[dict[str, Any]]], object]) -> list[dict[str, Any]]:
        """Ask until the rows are as wanted."""
        async with asyncio.timeout(30):
            while True:
                if wanted(found := await self.rows(statement)):
                    return found
                await asyncio.sleep(0.05)

    async def row(self, table: str, key: str, value: str) -> dict[str, Any]:
        """Return one row, when it is there."""
        return (await self.until(f"select * from {table} where {key} = '{value}'", len))[0]


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory, addresses: Addresses, connect: Worker) -> Iterator[SortPipeline]:
    """Give a stage whose two connectors run. Tests tell their records apart by their ids."""
    made = SortPipeline(tmp_path_factory.mktemp("pipeline"), addresses, connect, f"w{uuid4().hex[:10]}")
    made.apply()
    # What the database refuses is tried again a few times before the task gives up.
    made.connect("--set", "flush.retry.delay.ms=100")
    yield made
    names = [made.connector(kind) for kind in ("results", "costs")]
    made.must("connect", "delete", *names)
    assert made.cli("connect", "status", names[0]).exit_code == 2


@pytest.fixture
async def warehouse(addresses: Addresses) -> AsyncIterator[Warehouse]:
    """Give the database that the connectors write into."""
    connection = await asyncpg.connect(addresses.postgres)
    try:
        yield Warehouse(connection)
    finally:
        await connection.close()


async def test_case_101_a_results_types_are_those_of_the_table(pipeline: SortPipeline, warehouse: Warehouse) -> None:
    """Exact decimals, times, enums, arrays, bytes; a record becomes columns of its own; names stay as they are."""
    pipeline.write("results", [result("read", reader={"name": "Bo", "age": 3}), result("types")])
    row = await warehouse.row(pipeline.table("results"), "event_id", "types")
    expected = result("types")
    writer, reader = expected.pop("writer"), expected.pop("reader")
    expected |= {"writer_name": writer["name"], "writer_age": writer["age"]}
    assert reader is None
    expected |= {"reader_name": None, "reader_age": None}
    # A timestamp without zone, in UTC.
    expected |= {name: AT.replace(tzinfo=None) for name in ("seen_at", "processed_at")}
    assert row == expected
    read = await warehouse.row(pipeline.table("results"), "event_id", "read")
    assert (read["reader_name"], read["reader_age"]) == ("Bo", 3)
    found = await warehouse.rows(
        f"select column_name, data_type, numeric_precision, numeric_scale from information_schema.columns "
        f"where table_name = '{pipeline.table('results')}'"
    )
    kinds = {one["column_name"]: one["data_type"] for one in found}
    assert kinds["tags"] == kinds["vector"] == "ARRAY"
    assert kinds["seen_at"] == "timestamp without time zone"
    assert (kinds["amount"], kinds["day"], kinds["urgent"]) == ("numeric", "date", "boolean")
    sizes = {one["column_name"]: (one["numeric_precision"], one["numeric_scale"]) for one in found}
    assert sizes["amount"] == sizes["cost"] == (38, 12)


async def test_a_cost_event_arrives_whole(pipeline: SortPipeline, warehouse: Warehouse) -> None:
    """Every field of the declaration is a column, those that are not known are null."""
    known = cost("whole", tenant="acme", input_tokens=2**40, output_tokens=0, cost=Decimal("0.1"), price_row="r")
    unknown = cost("unknown", certainty="UNCERTAIN", outcome="ambiguous")
    pipeline.write("costs", [known, unknown])
    whole = await warehouse.row(pipeline.table("costs"), "cost_id", "whole")
    assert {name: whole[name] for name in known} == {**known, "started_at": AT.replace(tzinfo=None)}
    row = await warehouse.row(pipeline.table("costs"), "cost_id", "unknown")
    assert {name for name, value in row.items() if value is None} == set(row) - set(unknown)


async def test_a_repeated_event_replaces_its_row(pipeline: SortPipeline, warehouse: Warehouse) -> None:
    """Also within one batch; the key of the record, which all have in common, is not the row's."""
    pipeline.write("results", [result("again", large=1), result("again", large=2), result("other")])
    pipeline.write("results", [result("again", large=3, cost=None)])
    where = f"select large, cost from {pipeline.table('results')} where event_id in ('again', 'other')"
    rows = await warehouse.until(where, lambda rows: len(rows) == 2 and {"large": 3, "cost": None} in rows)
    assert [row for row in rows if row["large"] != 3] == [{"large": 2**62, "cost": Decimal("0.000000000001")}]


async def test_what_a_transaction_aborted_never_arrives(pipeline: SortPipeline, warehouse: Warehouse) -> None:
    """A record that was committed after it, in the same partition, is there, so the aborted one was passed."""
    pipeline.write("results", [result("aborted")], commit=False)
    pipeline.write("results", [result("after")])
    await warehouse.row(pipeline.table("results"), "event_id", "after")
    assert not await warehouse.rows(f"select 1 from {pipeline.table('results')} where event_id = 'aborted'")


async def test_case_101_what_can_not_be_decoded_is_kept_aside(pipeline: SortPipeline, warehouse: Warehouse) -> None:
    """It goes to the connector's own topic with the reason, and what follows arrives."""
    pipeline.producer.begin_transaction()
    pipeline.producer.produce(pipeline.topic("costs"), b"not avro")
    pipeline.producer.commit_transaction(20)
    pipeline.write("costs", [cost("behind")])
    await warehouse.row(pipeline.table("costs"), "cost_id", "behind")
    kept = first_record(pipeline.addresses, f"{pipeline.connector('costs')}.dlq")
    assert kept.value() == b"not avro"
    headers = dict(kept.headers() or [])
    assert headers["__connect.errors.stage"] == b"VALUE_CONVERTER"
    assert headers["__connect.errors.topic"] == pipeline.topic("costs").encode()


async def test_case_101_a_new_field_is_a_new_column(pipeline: SortPipeline, warehouse: Warehouse) -> None:
    """Rows from before have null in it, and records with the old schema still arrive."""
    pipeline.write("results", [result("before")])
    await warehouse.row(pipeline.table("results"), "event_id", "before")
    old = pipeline.writers["results"]
    more = {**computed("mood", ["null", "string"]), "default": None}
    pipeline.declare({**SORT, "fields": [*FIELDS, more]})
    await asyncio.to_thread(pipeline.apply)
    pipeline.write("results", [result("with", mood="fine")])
    assert (await warehouse.row(pipeline.table("results"), "event_id", "with"))["mood"] == "fine"
    assert (await warehouse.row(pipeline.table("results"), "event_id", "before"))["mood"] is None
    pipeline.writers["results"] = old
    pipeline.write("results", [result("late")])
    assert (await warehouse.row(pipeline.table("results"), "event_id", "late"))["mood"] is None


async def test_after_a_crash_the_table_is_the_topic(pipeline: SortPipeline, warehouse: Warehouse) -> None:
    """The worker is killed while records arrive: nothing is missing, nothing is there twice, the newest wins."""
    table, events = pipeline.table("results"), 3000
    ids = [f"crash-{number % (events // 2)}" for number in range(events)]

    def write(numbers: range) -> None:
        pipeline.write("results", [result(ids[number], large=number) for number in numbers])

    write(range(1000))
    await warehouse.until(f"select 1 from {table} where event_id like 'crash-%'", len)
    write(range(1000, 2000))
    crash = asyncio.create_task(asyncio.to_thread(pipeline.worker.crash))
    await asyncio.to_thread(write, range(2000, events))
    await crash
    wanted = {ids[number]: number for number in range(events)}
    rows = await warehouse.until(
        f"select event_id, large from {table} where event_id like 'crash-%'",
        lambda rows: {row["event_id"]: row["large"] for row in rows} == wanted,
    )
    assert len(rows) == len(wanted)


async def test_a_dead_task_is_told_and_restarted(pipeline: SortPipeline, warehouse: Warehouse) -> None:
    """Its connector is RUNNING still; `status` names the cause and exits 1; when that is gone, `restart` goes on."""
    name, table = pipeline.connector("costs"), pipeline.table("costs")
    pipeline.write("costs", [cost("first")])
    await warehouse.row(table, "cost_id", "first")
    # Somebody's own rule, which a record breaks.
    await warehouse.connection.execute(f"alter table {table} add constraint short check (attempt < 100)")
    pipeline.write("costs", [cost("refused", attempt=1000)])
    async with asyncio.timeout(30):
        while True:
            done = await asyncio.to_thread(pipeline.cli, "connect", "status", name)
            if done.exit_code:
                break
            await asyncio.sleep(0.1)
    assert done.exit_code == 1
    connector, tasks = done.stdout.splitlines()[1].split()[1:3]
    assert (connector, tasks) == ("RUNNING", "FAILED")
    assert "violates check constraint" in done.stderr
    await warehouse.connection.execute(f"alter table {table} drop constraint short")
    await asyncio.to_thread(pipeline.must, "connect", "restart", name)
    assert (await warehouse.row(table, "cost_id", "refused"))["attempt"] == 1000
    await asyncio.to_thread(pipeline.must, "connect", "status", name)


async def test_the_questions_of_the_page_have_answers(
    pipeline: SortPipeline, warehouse: Warehouse, pytestconfig: pytest.Config
) -> None:
    """Every statement of docs/how-to/warehouse.md runs as it stands, and counts rightly what is in the tables."""
    page = (pytestconfig.rootpath / "docs/how-to/warehouse.md").read_text("utf-8")
    found_there = re.findall(r"```sql\n(.*?)```", page, re.DOTALL)
    statements = {one.split("\n", 1)[0].removeprefix("-- "): one for one in found_there}
    later = AT + timedelta(days=1)
    calls = [
        # event, tenant, start, milliseconds, outcome, certainty, cost
        ("q1", "acme", AT, 100, "ok", "EXACT", "0.1"),
        ("q1", "acme", AT, 300, "ambiguous", "UNCERTAIN", None),
        ("q2", "acme", later, 200, "ok", "EXACT", "0.2"),
        ("q3", None, AT, 300, "ok", "EXACT", "0.000000000003"),
    ]
    names = ("event_id", "tenant", "started_at", "duration_ms", "outcome", "certainty", "cost")
    fields = [dict(zip(names, call, strict=True)) for call in calls]
    exact = [{**one, "cost": Decimal(one["cost"]) if one["cost"] else None} for one in fields]
    pipeline.write("costs", [cost(f"q{n}", source_topic="page", **one) for n, one in enumerate(exact)])
    page_results = {"q1": ("BUG", "0.1"), "q2": ("OTHER", "0.2"), "q3": ("BUG", None)}
    pipeline.write(
        "results",
        [
            result(one, source_topic="page", category=category, cost=Decimal(usd) if usd else None)
            for one, (category, usd) in page_results.items()
        ],
    )
    for kind, count in (("costs", len(calls)), ("results", len(page_results))):
        rows = f"select * from {pipeline.table(kind)} where source_topic = 'page'"
        await warehouse.until(rows, lambda found, count=count: len(found) == count)
        # Under the name that the page uses, for this connection alone.
        await warehouse.connection.execute(f"create temp table support_mail_triage_{kind} as {rows}")
    found = {name: [tuple(row.values()) for row in await warehouse.rows(one)] for name, one in statements.items()}
    cents = Decimal("0.100000000003")
    assert found == {
        "cost per tenant and day": [
            (AT.date(), "acme", Decimal("0.1"), 2, 1),
            (AT.date(), None, Decimal("0.000000000003"), 1, 0),
            (later.date(), "acme", Decimal("0.2"), 1, 0),
        ],
        "categories": [("BUG", 2, Decimal("0.1")), ("OTHER", 1, Decimal("0.2"))],
        "latency of models": [("gpt", 3, 200.0, pytest.approx(290.0))],
        "what failed attempts cost": [("ok", 3, cents + Decimal("0.2")), ("ambiguous", 1, None)],
        "cost per category, with failed attempts": [("BUG", cents, 2), ("OTHER", Decimal("0.2"), 1)],
    }


def test_the_worker_knows_every_setting(pipeline: SortPipeline) -> None:
    """What is generated for Postgres is what this version of the sink and of Connect has; others would be ignored."""
    for kind in ("results", "costs"):
        config = json.loads((pipeline.connectors / f"{pipeline.connector(kind)}.json").read_text())["config"]
        answer = httpx.get(f"{pipeline.worker.url}/connector-plugins/{config['connector.class']}/config", timeout=20)
        known = {one["name"] for one in answer.json()}
        theirs = ("consumer.override.", "value.converter.", "transforms.")
        assert {name for name in config if not name.startswith(theirs)} <= known


def first_record(addresses: Addresses, topic: str) -> Any:
    """Return the first record of a topic's only partition."""
    consumer = Consumer({"bootstrap.servers": addresses.bootstrap, "group.id": topic, "enable.auto.commit": False})
    try:
        consumer.assign([TopicPartition(topic, 0, 0)])
        return consumer.consume(1, timeout=20)[0]
    finally:
        consumer.close()
