"""What `doctor` makes of what it sees: each thing as it should be, odd, and impossible."""

import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import requires
from pathlib import Path
from time import time
from typing import Any

import pytest

from eventmill.cluster.changes import ConfigureTopic, CreateTopic, GrowTopic, RegisterSchema
from eventmill.cluster.plan import Plan, Problem
from eventmill.dev.stack import PartStatus
from eventmill.doctor import fit, machine
from eventmill.doctor.finding import Finding, Level
from eventmill.doctor.kafka import kafka_settings, retention
from eventmill.doctor.local_stack import judge, uses
from eventmill.doctor.models import models, prices
from eventmill.doctor.registry import clock, registry_settings
from eventmill_connectors.kafka.admin import TopicState
from eventmill_connectors.kafka.cluster import ClusterInfo
from eventmill_connectors.registry import SchemaRegistry
from eventmill_schemas.pipeline import Kafka, ModelRef, Pipeline, PriceOverride
from eventmill_schemas.topics import TopicSpec

GIB = 1 << 30


def levels(findings: list[Finding]) -> list[str]:
    """Return how each finding ended."""
    return [finding.level.value for finding in findings]


def test_only_exact_pins_are_compared() -> None:
    """Ranges and the packages of extras are pip's business; extras in brackets do not hide a pin."""
    requirements = [
        "aiohttp<4,>=3.14",
        "aiokafka==0.14.0",
        "confluent-kafka[avro]==2.16.0",
        "ruff==0.17.5; extra == 'dev'",
    ]
    assert machine.pins(requirements) == {"aiokafka": "0.14.0", "confluent-kafka": "2.16.0"}


def test_the_pins_of_the_project_are_found_and_hold_here() -> None:
    """The three packages whose inner workings eventmill stands on are pinned, and the test environment has them."""
    pinned = machine.pins(requires("eventmill") or ())
    assert set(pinned) == {"aiokafka", "confluent-kafka", "faust-streaming"}
    assert machine.packages(pinned, machine.installed(pinned)).level is Level.OK


def test_other_versions_and_missing_packages_fail_with_the_command_that_mends_them() -> None:
    """Each wrong package is named with both versions."""
    found = machine.packages({"aiokafka": "1.0", "gone": "2.0"}, {"aiokafka": "1.1", "gone": None})
    assert found.level is Level.FAIL
    assert found.detail == "aiokafka is 1.1, not 1.0; gone is missing, not 2.0"
    assert found.hint is not None
    assert '"aiokafka==1.0"' in found.hint
    assert machine.installed(["no-such-package-anywhere"]) == {"no-such-package-anywhere": None}


def test_python_and_fencing_are_as_they_should_be_here() -> None:
    """The environment of the tests is one that eventmill runs in."""
    assert levels([machine.python(), machine.fencing()]) == ["ok", "ok"]


@pytest.mark.parametrize(("limit", "level"), [(1023, "warn"), (1256, "ok"), (-1, "ok")])
def test_open_files_are_measured_by_the_calls_in_flight(limit: int, level: str) -> None:
    """1,000 calls need 1,256 files; no limit is fine."""
    assert levels([machine.open_files(1000, limit)]) == [level]


@pytest.mark.parametrize(("free", "level"), [(GIB // 8, "fail"), (GIB, "warn"), (50 * GIB, "ok")])
def test_disk_is_measured_where_the_folder_will_be(tmp_path: Path, free: int, level: str) -> None:
    """A folder that is not made yet stands for the one it will be made in."""
    found = machine.disk(tmp_path / "not" / "yet", free)
    assert (found.level.value, str(tmp_path) in found.detail) == (level, True)


def cluster(brokers: int, **settings: str) -> ClusterInfo:
    """Return a cluster with these settings."""
    names = {name.replace("_", "."): value for name, value in settings.items()}
    return ClusterInfo("id", tuple(f"b{number}:9092" for number in range(brokers)), names)


@pytest.mark.parametrize(
    ("info", "expected"),
    [
        (cluster(1), ["ok"]),
        (cluster(3), ["ok"]),
        (cluster(3, offset_metadata_max_bytes="4096", transaction_state_log_replication_factor="3"), ["ok"]),
        (cluster(3, offset_metadata_max_bytes="512"), ["ok", "fail"]),
        (cluster(3, transaction_state_log_replication_factor="1"), ["ok", "warn"]),
        (cluster(1, transaction_state_log_replication_factor="1"), ["ok"]),
    ],
)
def test_settings_of_brokers_are_judged(info: ClusterInfo, expected: list[str]) -> None:
    """Offsets need room for what is settled beyond them; one copy of the transaction log is only for one broker."""
    assert levels(kafka_settings(info, "b0:9092")) == expected


@pytest.mark.parametrize(
    ("minutes", "kept", "policy", "expected"),
    [
        (None, timedelta(days=7), "delete", []),
        ("1440", timedelta(days=7), "delete", ["warn"]),
        ("1440", timedelta(hours=24), "delete", []),
        (None, timedelta(milliseconds=-1), "delete", ["warn"]),
        (None, timedelta(days=1), "compact", ["warn"]),
        (None, timedelta(days=1), "compact,delete", []),
    ],
)
def test_input_that_outlives_the_offsets_is_told(
    minutes: str | None, kept: timedelta, policy: str, expected: list[str]
) -> None:
    """A group whose offsets are forgotten begins again with what the input still holds, and that costs money."""
    config = {"retention.ms": str(kept // timedelta(milliseconds=1)), "cleanup.policy": policy}
    info = cluster(1, **({"offsets_retention_minutes": minutes} if minutes else {}))
    assert levels(retention(info, [TopicState("mails", 1, config)])) == expected


class Answers(ThreadingHTTPServer):
    """A registry that answers from a table, with the clock that it is given."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.table: dict[str, tuple[int, Any]] = {
            "/mode": (200, {"mode": "READWRITE"}),
            "/config": (200, {"compatibilityLevel": "BACKWARD"}),
        }
        self.date: str | None = formatdate(usegmt=True)

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Answers

    def do_GET(self) -> None:
        missing = (404, {"error_code": 40401, "message": "Subject not found."})
        status, body = self.server.table.get(self.path.partition("?")[0], missing)
        raw = json.dumps(body).encode()
        self.send_response_only(status)
        if self.server.date is not None:
            self.send_header("Date", self.server.date)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the base's word
        """Say nothing."""


@pytest.fixture
def answers() -> Iterator[Answers]:
    """Run a registry."""
    server = Answers()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


async def judged(answers: Answers, subjects: Mapping[str, str | None] = {}) -> list[Finding]:
    """Judge the registry, with subjects that have a level of their own or None."""
    for subject, level in subjects.items():
        if level is not None:
            answers.table[f"/config/{subject}"] = (200, {"compatibilityLevel": level})
    client = SchemaRegistry(answers.url)
    try:
        return await registry_settings(client, answers.url, list(subjects))
    finally:
        await client.close()


async def test_a_registry_is_judged_by_mode_and_levels(answers: Answers) -> None:
    """READWRITE and BACKWARD are fine; a subject without a level has the registry's."""
    assert levels(await judged(answers, {"a-value": None, "b-value": "FULL"})) == ["ok"]
    found = await judged(answers, {"a-value": None, "b-value": "NONE"})
    assert levels(found) == ["ok", "warn"]
    assert "the level of b-value is NONE" in found[1].detail


async def test_a_lax_or_closed_registry_is_told(answers: Answers) -> None:
    """NONE for the whole registry and READONLY are warnings with what to do."""
    answers.table["/mode"] = (200, {"mode": "READONLY"})
    answers.table["/config"] = (200, {"compatibilityLevel": "NONE"})
    found = await judged(answers, {"a-value": "BACKWARD"})
    assert levels(found) == ["ok", "warn", "warn"]
    assert all(finding.hint for finding in found[1:])
    assert "the level of the registry is NONE" in found[2].detail


@pytest.mark.parametrize("broken", [(500, {}), (200, {"odd": 1}), (401, {"error_code": 401, "message": "no"})])
async def test_a_registry_without_usable_answers_fails(answers: Answers, broken: tuple[int, Any]) -> None:
    """Whatever is wrong with its answer, it is one finding that fails, not a crash."""
    answers.table["/mode"] = broken
    assert levels(await judged(answers)) == ["fail"]


@pytest.mark.parametrize(("skew", "level"), [(0, "ok"), (-3, "ok"), (60, "warn"), (-60, "warn")])
async def test_clocks_are_compared_by_the_date_of_an_answer(answers: Answers, skew: int, level: str) -> None:
    """A minute apart is told, with the direction; a second is not: that is how fine the date is."""
    answers.date = formatdate(time() + skew, usegmt=True)
    [found] = await clock(answers.url)
    assert found.level.value == level
    if level == "warn":
        assert ("behind" if skew > 0 else "ahead") in found.detail


async def test_no_date_is_no_finding(answers: Answers) -> None:
    """A registry that tells no time, or is away, says nothing about the clock."""
    answers.date = None
    assert await clock(answers.url) == []
    assert await clock("http://127.0.0.1:9") == []


def test_a_plan_becomes_findings() -> None:
    """Missing topics, small dead letters and unregistered schemas fail; counts that differ are warnings."""
    made = Plan(
        changes=(
            CreateTopic(TopicSpec("p.s.results", 2), "results of stage s"),
            ConfigureTopic("p.s.dlq", {"max.message.bytes": "9"}, {"max.message.bytes": "5"}),
            GrowTopic("p.s.costs", 4, 2),
            RegisterSchema("p.s.results-value", "{}", None, 1),
        ),
        warnings=("more partitions, which can't be undone, for p.s.costs", "p.s.dlq has 9 partitions"),
        problems=(Problem("the topic mails is missing", "Create it"),),
        refused=(RegisterSchema("p.s.costs-value", "{}", None, 7),),
    )
    of_topics = fit.topics(made, 4)
    assert levels(of_topics) == ["fail", "fail", "fail", "warn", "warn"]
    named = ["mails", "p.s.results", "p.s.dlq", "p.s.costs", "p.s.dlq"]
    assert all(name in finding.detail for name, finding in zip(named, of_topics, strict=True))
    of_schemas = fit.schemas(made, 2)
    assert levels(of_schemas) == ["fail", "fail"]
    assert "version 7" in of_schemas[1].detail
    assert levels(fit.topics(Plan(), 4) + fit.schemas(Plan(), 2)) == ["ok", "ok"]


def pipeline(*route: ModelRef, **settings: Any) -> Pipeline:
    """Return a pipeline with one route."""
    return replace(Pipeline("p", "/nowhere", Kafka("b:9092", "http://r"), (), {"writer": route}), **settings)


def test_models_are_judged_without_a_call() -> None:
    """Without a key the public address fails; a server of one's own needs none; each model is judged once."""
    public = ModelRef("openai", "gpt-5-mini")
    own = ModelRef("openai", "local", base_url="http://127.0.0.1:9/v1")
    found = models(pipeline(public, own, public), {})
    assert levels(found) == ["fail", "ok"]
    assert found[0].hint is not None
    assert "OPENAI_API_KEY" in found[0].hint
    assert "http://127.0.0.1:9/v1" in found[1].detail
    assert levels(models(pipeline(public), {"OPENAI_API_KEY": "sk-secret"})) == ["ok"]
    assert "sk-secret" not in repr(models(pipeline(public), {"OPENAI_API_KEY": "sk-secret"}))


def test_prices_are_judged() -> None:
    """A listed price and an own one are known; an unknown one fails unless it is allowed."""
    strange = ModelRef("openai", "strange-model")
    assert levels(prices(pipeline(ModelRef("openai", "gpt-5-mini")))) == ["ok"]
    assert levels(prices(pipeline(strange))) == ["fail"]
    assert levels(prices(pipeline(strange, allow_unpriced=True))) == ["warn"]
    own = PriceOverride("openai", "strange-model", Decimal(1), Decimal(2))
    assert levels(prices(pipeline(strange, prices=(own,)))) == ["ok"]


@pytest.mark.parametrize(
    ("bootstrap", "registry", "used"),
    [
        ("127.0.0.1:9092", "http://elsewhere:8081", True),
        ("a:9092, localhost:9092", "http://elsewhere:8081", True),
        ("elsewhere:9092", "http://127.0.0.1:8081/apis/ccompat/v7", True),
        ("elsewhere:9092", "http://elsewhere:8081,http://localhost:8081/apis", True),
        ("elsewhere:9092", "http://elsewhere:8081", False),
        ("127.0.0.1:1", "http://127.0.0.1:2", False),
    ],
)
def test_the_local_stack_is_looked_at_only_where_it_is_used(bootstrap: str, registry: str, used: bool) -> None:
    """It is used where an address of the pipeline is that of one of its parts."""
    parts = [
        PartStatus("kafka", "ready", 9092),
        PartStatus("registry", "ready", 8081),
        PartStatus("postgres", "stopped"),
    ]
    assert uses(parts, Kafka(bootstrap, registry)) == used


def test_parts_of_the_local_stack_that_do_not_work_fail() -> None:
    """The part is named with its complaint, or its state where it has none."""
    parts = [PartStatus("kafka", "unready", 9092, complaint="no leader"), PartStatus("registry", "died", 8081)]
    assert [finding.detail for finding in judge(parts)] == ["kafka: no leader", "registry: died"]
    assert levels(judge([PartStatus("kafka", "ready", 9092, memory_mib=300.0)])) == ["ok"]
