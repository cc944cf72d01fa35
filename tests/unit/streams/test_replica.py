"""A replica against a scripted Kafka, one case at a time: taking over, committing, doubt, refusal, fencing, leaving."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from structlog.testing import capture_logs

from eventmill_connectors.kafka.group_metadata import Member
from eventmill_connectors.kafka.offsets import Committed
from eventmill_connectors.kafka.transaction import OutRecord
from eventmill_schemas.errors import EventError, InvariantViolated, RegistryUnreachable, SetupError
from eventmill_schemas.events import RawRecord, Source
from eventmill_streams.doors import EventGate
from eventmill_streams.lane import Batch, Partition
from eventmill_streams.metrics import Metrics
from eventmill_streams.replica import DOOR_NEWS, LAST_FLUSH, Replica
from eventmill_streams.settlement import End, Settlement
from eventmill_streams.takeover import ALARM_AFTER, Takeover
from eventmill_streams.window import Limits
from scripted_kafka import REFUSED, Cluster, Fate, ScriptedOffsets, ScriptedProducer
from virtual_time import run_virtually

IN: Partition = ("in", 0)
OTHER: Partition = ("in", 1)


class Steps:
    """A Processor whose events end when the test says so. Values: `now`, `large`, anything else waits."""

    def __init__(self) -> None:
        """Start with nothing at work."""
        self.waiting: dict[int, asyncio.Future[None]] = {}
        self.buried: list[tuple[int, str]] = []
        self.dead_letter_fits = True
        self.broken = False
        self.told: list[str] = []

    def now(self, record: RawRecord) -> Settlement | None:
        """Settle what needs no waiting."""
        if self.broken:
            raise SetupError("the dead letter does not fit")
        return self._end(record) if record.value in {b"now", b"large"} else None

    async def run(self, record: RawRecord, gate: EventGate) -> Settlement:
        """Wait for the test."""
        waiting = self.waiting[record.source.offset] = asyncio.get_running_loop().create_future()
        try:
            await waiting
        finally:
            self.waiting.pop(record.source.offset, None)
        return self._end(record)

    def bury(self, record: RawRecord, settlement: Settlement, error: EventError) -> Settlement:
        """Make the dead letter."""
        self.buried.append((record.source.offset, error.kind))
        value = str(record.source).encode() if self.dead_letter_fits else REFUSED
        return Settlement(End.DEAD_LETTER, (OutRecord("dlq", 0, record.key, value),), settlement.costs, error.kind)

    def committed(self, settlement: Settlement) -> None:
        """Note what was told to be committed."""
        self.told += [(record.value or b"").decode() for record in settlement.records]

    def _end(self, record: RawRecord) -> Settlement:
        value = REFUSED if record.value == b"large" else str(record.source).encode()
        return Settlement(End.RESULT, (OutRecord("results", 0, record.key, value),))


class Fetcher:
    """A Position that notes what it is asked."""

    def __init__(self) -> None:
        """Start with nothing removed by retention."""
        self.start = 0
        self.sought: list[tuple[Partition, int]] = []
        self.failures: list[Exception] = []

    async def log_start(self, partition: Partition) -> int:
        """Return the first offset, or fail as told."""
        if self.failures:
            raise self.failures.pop()
        return self.start

    async def log_end(self, partition: Partition) -> int:
        """Return an end that is far away."""
        return 1 << 40

    async def seek(self, partition: Partition, offset: int) -> None:
        """Note it."""
        self.sought.append((partition, offset))


class Case:
    """A replica with everything around it."""

    def __init__(self, limits: Limits | None = None) -> None:
        """Build it; `begin` starts it."""
        self.cluster = Cluster()
        self.fates: list[Fate] = []
        self.producer = ScriptedProducer(self.cluster, lambda: self.fates.pop(0) if self.fates else Fate.COMMIT)
        self.offsets = ScriptedOffsets(self.cluster)
        self.metrics = Metrics()
        self.steps = Steps()
        self.fetcher = Fetcher()
        self.errors: list[BaseException] = []
        takeover = Takeover(self.producer, self.offsets, self.metrics)
        limits = limits or Limits(10, 20, 100, 1 << 20)
        self.replica = Replica(limits, self.steps, takeover, self.fetcher, self.metrics, self.errors.append)

    def member(self, member_id: str = "m1", instance_id: str | None = None) -> Member:
        """Return the membership in the cluster's generation."""
        return Member("g", self.cluster.generation, member_id, instance_id)

    async def begin(self, *partitions: Partition, member: Member | None = None) -> None:
        """Start, and wait until the lanes are open."""
        self.replica.begin()
        self.replica.assigned(member or self.member(), set(partitions or [IN]))
        await until(lambda: self.replica.ready)

    def deliver(self, values: list[bytes], start: int = 0, partition: Partition = IN, key: bytes | None = None) -> None:
        """Hand a batch over, as the fetcher does."""
        records = [RawRecord(Source(*partition, start + i), key, value, (), 0) for i, value in enumerate(values)]
        self.replica.take(Batch(partition, self.cluster.generation, start, start + len(values), records))

    async def finish(self, *offsets: int) -> None:
        """Let events end."""
        await until(lambda: all(offset in self.steps.waiting for offset in offsets))
        for offset in offsets:
            self.steps.waiting[offset].set_result(None)

    @property
    def values(self) -> list[str]:
        """What read_committed readers see: topic and source."""
        return [f"{record.topic} {(record.value or b'').decode()}" for record in self.cluster.visible]

    def metric(self, name: str, **labels: str) -> float:
        """Return the value of a metric."""
        return self.metrics.registry.get_sample_value(name, labels) or 0.0


async def until(condition: Callable[[], Any], seconds: float = 100.0) -> None:
    """Wait in virtual time for `condition`."""
    async with asyncio.timeout(seconds):
        while not condition():   # noqa: ASYNC110 - what is waited for sets no event, and the time is virtual
            await asyncio.sleep(0.01)


def play(body: Callable[[Case], Awaitable[None]], case: Callable[[], Case] = Case) -> list[Any]:
    """Run `body` with a case in virtual time; return what was logged. Nothing may have failed unnoticed."""

    async def whole() -> None:
        one = case()
        await body(one)
        assert not one.errors, one.errors
        visible = [(record.value or b"").decode() for record in one.cluster.visible]
        assert sorted(one.steps.told) == sorted(visible), "each settlement is told once, when it is committed"
        one.replica.stop()

    with capture_logs() as logs:
        run_virtually(whole())
    return logs


def events(logs: list[Any]) -> list[str]:
    """Return the texts of log lines."""
    return [line["event"] for line in logs]


def test_nothing_is_taken_until_the_committed_state_is_known() -> None:
    """Records that come before the stable read are dropped and not wanted; afterwards they are asked for again."""

    async def body(case: Case) -> None:
        case.cluster.pending.add(IN)
        case.replica.begin()
        case.replica.assigned(case.member(), {IN})
        await asyncio.sleep(1)
        assert case.producer.is_open, "the predecessor's transaction is ended first"
        assert not case.replica.ready
        assert not case.replica.wants(IN)
        case.deliver([b"now"])
        assert case.metric("eventmill_stale_batches_total") == 1
        case.cluster.pending.clear()
        await until(lambda: case.replica.ready)
        assert case.replica.wants(IN)
        assert case.replica.missed(IN, 1)
        assert not case.replica.missed(IN, 0)

    play(body)


def test_results_and_offsets_commit_together() -> None:
    """Finished events are visible within a tick, together with an offset that lies beyond them."""

    async def body(case: Case) -> None:
        await case.begin()
        case.deliver([b"now", b"now", b"call"])
        await until(lambda: case.cluster.visible)
        assert case.values == ["results in/0@0", "results in/0@1"]
        assert case.cluster.frontier(IN) == 2
        await case.finish(2)
        await until(lambda: case.cluster.frontier(IN) == 3)
        assert case.metric("eventmill_ticks_total", outcome="committed") == 2
        assert case.metric("eventmill_settle_seconds_count") == 3
        assert case.replica.window.unsettled == 0

    play(body)


def test_one_lane_that_hangs_does_not_hold_the_others() -> None:
    """While a pending transaction hides one partition, the other one's results are committed."""

    async def body(case: Case) -> None:
        case.cluster.pending.add(OTHER)
        case.replica.begin()
        case.replica.assigned(case.member(), {IN, OTHER})
        await until(lambda: case.replica.wants(IN))
        case.deliver([b"now"])
        await until(lambda: case.cluster.frontier(IN) == 1)
        assert not case.replica.ready
        case.cluster.pending.clear()
        await until(lambda: case.replica.ready)

    play(body)


def test_a_commit_from_an_old_generation_ends_the_session_and_its_work_is_adopted() -> None:
    """Nothing is committed or taken any more; reassigned, the result in hand goes out without a new call."""

    async def body(case: Case) -> None:
        await case.begin()
        case.deliver([b"call", b"call"])
        case.cluster.generation += 1
        await case.finish(0)
        await until(lambda: not case.replica.wants(IN))
        assert case.replica.session is not None
        assert case.replica.session.closed
        assert not case.cluster.visible
        assert case.metric("eventmill_ticks_total", outcome="stale_generation") == 1
        case.cluster.generation -= 1
        case.deliver([b"now"], start=2)   # a batch of the old generation, after the end
        case.cluster.generation += 1
        await case.replica.revoked()
        case.replica.assigned(case.member(), {IN})
        await until(lambda: case.replica.ready)
        case.deliver([b"call", b"call"])
        await until(lambda: case.cluster.frontier(IN) == 1)
        assert case.values == ["results in/0@0"]
        assert set(case.steps.waiting) == {1}, "the call in flight went on, and none was made again"
        await case.finish(1)
        await until(lambda: case.cluster.frontier(IN) == 2)
        assert case.replica.window.unsettled == case.replica.window.running == 0

    assert "results in hand can't be committed any more" in events(play(body))


@pytest.mark.parametrize("fate", [Fate.COMMIT_UNKNOWN, Fate.ABORT_UNKNOWN])
def test_doubt_about_a_transaction_is_resolved_by_reading(fate: Fate) -> None:
    """Whether the transaction had committed or not: each result is visible once, and work goes on."""

    async def body(case: Case) -> None:
        await case.begin()
        case.fates.append(fate)
        case.deliver([b"now", b"call", b"now"])
        await until(lambda: len(case.cluster.visible) == 2 and case.replica.window.unsettled == 1)
        assert case.producer.opened == 2, "a new producer ends the transaction before the truth is read"
        await case.finish(1)
        await until(lambda: case.cluster.frontier(IN) == 3)
        assert sorted(case.values) == [f"results in/0@{i}" for i in range(3)]

    play(body)


def test_another_owners_progress_is_seen_and_ends_the_session() -> None:
    """Doubt, and the read shows that somebody else has gone on: ours are dropped as theirs, and nothing stops."""

    async def body(case: Case) -> None:
        await case.begin()
        case.deliver([b"call", b"call", b"call"])
        await until(lambda: len(case.steps.waiting) == 3)
        case.fates.append(Fate.ABORT_UNKNOWN)
        case.cluster.committed[IN] = Committed(3, "")
        await case.finish(1)
        await until(lambda: case.replica.session is None or case.replica.session.closed)
        case.cluster.generation += 1
        await case.replica.revoked()
        case.replica.assigned(case.member(), {IN})
        await until(lambda: case.replica.ready)
        assert not case.cluster.visible
        assert case.replica.window.unsettled == case.replica.window.running == 0

    assert "another replica has gone on with these partitions" in events(play(body))


@pytest.mark.parametrize(
    ("refusal", "kind"), [("MSG_SIZE_TOO_LARGE", "record_too_large"), ("INVALID_RECORD", "unstorable_result")]
)
def test_a_refused_record_becomes_a_dead_letter_and_the_others_commit_in_order(refusal: str, kind: str) -> None:
    """Of nine events one is refused: eight results and one dead letter that says why, in order, in few transactions."""

    async def body(case: Case) -> None:
        case.cluster.refusal = refusal
        await case.begin()
        case.deliver([b"now"] * 5 + [b"large"] + [b"now"] * 3, key=b"k")
        await until(lambda: case.cluster.frontier(IN) == 9)
        assert case.values == [f"{'dlq' if i == 5 else 'results'} in/0@{i}" for i in range(9)]
        assert case.steps.buried == [(5, kind)]
        assert case.metric("eventmill_ticks_total", outcome="rejected") <= 5, "halves, not one by one"

    play(body)


def test_a_door_that_flaps_is_logged_once_and_then_again_after_a_while() -> None:
    """Of many flips only the first closing and its opening are said, the next ones after DOOR_NEWS seconds."""

    async def body(case: Case) -> None:
        await case.begin()
        for _ in range(50):
            case.replica.doors.close(RegistryUnreachable("away"))
            case.replica.doors.open(RegistryUnreachable.kind)
            await asyncio.sleep(0.01)
        await asyncio.sleep(DOOR_NEWS)
        case.replica.doors.close(RegistryUnreachable("away"))
        case.replica.doors.open(RegistryUnreachable.kind)

    told = [event for event in events(play(body)) if event.startswith("lane door")]
    assert told == ["lane door closed: nothing new is taken", "lane door open"] * 2


def test_a_dead_letter_that_is_refused_stops_the_process() -> None:
    """What can't even be stored as a dead letter is said with its place and the remedy."""

    async def body(case: Case) -> None:
        case.steps.dead_letter_fits = False
        await case.begin()
        case.deliver([b"large"])
        await until(lambda: case.errors)
        error = case.errors.pop()
        assert isinstance(error, SetupError)
        assert "in/0@0" in str(error)
        assert "max.message.bytes" in str(error)

    play(body)


def test_a_producer_fenced_in_a_slot_stops_the_process() -> None:
    """Two replicas share a slot: the one whose producer was fenced exits, and names the slot."""

    async def body(case: Case) -> None:
        await case.begin(member=case.member(instance_id="p.s.0"))
        case.cluster.epoch += 1
        case.deliver([b"now"])
        await until(lambda: case.errors)
        error = case.errors.pop()
        assert isinstance(error, InvariantViolated)
        assert "p.s.0" in str(error)
        assert "--slot" in str(error)
        assert not case.cluster.visible

    play(body)


def test_a_fenced_producer_without_a_slot_is_opened_again() -> None:
    """A random id has no rival: the broker gave it up, and the results go out with a new producer."""

    async def body(case: Case) -> None:
        await case.begin()
        case.cluster.epoch += 1
        case.deliver([b"now"])
        await until(lambda: case.cluster.frontier(IN) == 1)
        assert case.values == ["results in/0@0"]

    play(body)


def test_a_new_member_id_of_a_slot_is_proven() -> None:
    """When a static member's id changes, an empty commit tells at once whether another replica has the slot."""

    async def body(case: Case) -> None:
        await case.begin(member=case.member("m1", "p.s.0"))
        await case.replica.revoked()
        case.cluster.generation += 1
        case.replica.assigned(case.member("m1", "p.s.0"), {IN})
        await until(lambda: case.replica.ready)
        await asyncio.sleep(1)
        assert not case.cluster.commits, "the same member needs no proof"
        await case.replica.revoked()
        case.cluster.generation += 1
        case.replica.assigned(case.member("m2", "p.s.0"), {IN})
        await until(lambda: case.cluster.commits)
        assert case.cluster.commits[0][0] == []
        assert case.cluster.frontier(IN) == 0
        case.cluster.epoch += 1
        await case.replica.revoked()
        case.cluster.generation += 1
        case.replica.assigned(case.member("m3", "p.s.0"), {IN})
        await until(lambda: case.errors)
        assert isinstance(case.errors.pop(), InvariantViolated)

    play(body)


def test_a_proof_that_a_rebalance_prevented_is_made_up_for() -> None:
    """An assignment that ends before its lanes are open proves nothing: the next one with that member id still does."""

    async def body(case: Case) -> None:
        await case.begin(member=case.member("m1", "p.s.0"))
        await case.replica.revoked()
        case.cluster.generation += 1
        case.offsets.delay = lambda: 5.0
        case.replica.assigned(case.member("m2", "p.s.0"), {IN})
        await asyncio.sleep(1)
        await case.replica.revoked()
        case.cluster.generation += 1
        case.replica.assigned(case.member("m2", "p.s.0"), {IN})
        await until(lambda: case.cluster.commits)

    play(body)


def test_a_rebalance_while_opening_leaves_the_old_lanes_shut() -> None:
    """An answer that comes after its assignment is over opens nothing; the new assignment's own answer does."""

    async def body(case: Case) -> None:
        case.offsets.delay = lambda: 2.0
        case.replica.begin()
        case.replica.assigned(case.member(), {IN})
        await asyncio.sleep(1)
        first = case.replica.session
        assert first is not None
        await case.replica.revoked()
        case.cluster.generation += 1
        case.replica.assigned(case.member(), {IN})
        await until(lambda: case.replica.ready)
        assert first.lanes[IN].settled is None

    play(body)


def test_control_records_move_the_offset_although_nothing_is_published() -> None:
    """A drained lane commits the end that it was shown, so that lag reaches 0."""

    async def body(case: Case) -> None:
        await case.begin()
        case.deliver([b"now"])
        await until(lambda: case.cluster.frontier(IN) == 1)
        case.replica.take(Batch(IN, 1, 1, 4, ()))
        await until(lambda: case.cluster.frontier(IN) == 4)
        assert len(case.cluster.visible) == 1

    play(body)


def test_control_records_that_come_during_a_commit_move_the_offset_too() -> None:
    """A frontier that may move is not forgotten because a tick was under way when it was shown."""

    async def body(case: Case) -> None:
        await case.begin()
        case.producer.hold = asyncio.Event()
        case.deliver([b"now"])
        await asyncio.sleep(1)
        case.replica.take(Batch(IN, 1, 1, 4, ()))
        await asyncio.sleep(1)
        case.producer.hold.set()
        await until(lambda: case.cluster.frontier(IN) == 4)

    play(body)


def test_a_gap_sends_the_fetcher_back() -> None:
    """Records missing before a batch are fetched again; until then the lane takes nothing."""

    async def body(case: Case) -> None:
        await case.begin()
        case.fetcher.failures.append(OSError("no leader"))
        case.deliver([b"now"], start=3)
        assert not case.replica.wants(IN)
        case.deliver([b"now"], start=0)
        assert not case.cluster.visible
        await until(lambda: case.fetcher.sought)
        assert case.fetcher.sought == [(IN, 0)]
        await until(lambda: case.replica.wants(IN))
        case.deliver([b"now"] * 4)
        await until(lambda: case.cluster.frontier(IN) == 4)

    assert "can't seek yet" in events(play(body))


def test_what_retention_removed_is_passed_and_said() -> None:
    """Records that are gone before they were read are not waited for, and their number is in the log."""

    async def body(case: Case) -> None:
        case.cluster.committed[IN] = Committed(5, "")
        await case.begin()
        case.fetcher.start = 20
        case.deliver([b"now"], start=20)
        await until(lambda: case.replica.wants(IN))
        assert case.fetcher.sought == [(IN, 20)]
        case.deliver([b"now"], start=20)
        await until(lambda: case.cluster.frontier(IN) == 21)

    logs = play(body)
    assert [line["missing"] for line in logs if "retention" in line["event"]] == ["[5, 20)"]


def test_work_in_hand_whose_record_has_gone_is_let_go() -> None:
    """After a rebalance an event's record is no longer in the log: its call is cancelled, and its budget is free."""

    async def body(case: Case) -> None:
        await case.begin()
        case.deliver([b"call", b"call"])
        await until(lambda: len(case.steps.waiting) == 2)
        await case.replica.revoked()
        case.cluster.generation += 1
        case.replica.assigned(case.member(), {IN})
        await until(lambda: case.replica.ready)
        records = [RawRecord(Source(*IN, 1), None, b"call", (), 0)]
        case.replica.take(Batch(IN, case.cluster.generation, 0, 2, records))   # offset 0 was compacted away
        await until(lambda: set(case.steps.waiting) == {1})
        assert case.replica.window.unsettled == case.replica.window.running == 1
        await case.finish(1)
        await until(lambda: case.cluster.frontier(IN) == 2)

    play(body)


def test_draining_waits_for_running_events_and_commits_them() -> None:
    """At the end nothing new is begun, what runs may finish, and its result is committed before the call returns."""

    async def body(case: Case) -> None:
        await case.begin()
        case.deliver([b"call", b"call"], key=b"k")
        await until(lambda: 0 in case.steps.waiting)
        draining = asyncio.create_task(case.replica.drain(30))
        await asyncio.sleep(5)
        assert not draining.done()
        await case.finish(0)
        await draining
        assert case.values == ["results in/0@0"]
        assert not case.steps.waiting, "the key's next event was not begun"
        assert not case.replica.wants(IN)

    assert [line["abandoned"] for line in play(body) if line["event"] == "drained"] == [0]


def test_draining_does_not_wait_longer_than_it_may() -> None:
    """An event that does not end is left behind, and said so."""

    async def body(case: Case) -> None:
        await case.begin()
        case.deliver([b"call"])
        await until(lambda: case.steps.waiting)
        began = asyncio.get_running_loop().time()
        await case.replica.drain(3)
        assert asyncio.get_running_loop().time() - began == pytest.approx(3, abs=0.1)

    assert [line["abandoned"] for line in play(body) if line["event"] == "drained"] == [1]


def test_a_last_commit_that_hangs_does_not_hold_the_end_up() -> None:
    """With a broker that does not answer, the end comes LAST_FLUSH after the drain, however long that may be."""

    async def body(case: Case) -> None:
        await case.begin()
        case.producer.hold = asyncio.Event()
        case.deliver([b"now"])
        began = asyncio.get_running_loop().time()
        await case.replica.drain(300)
        assert asyncio.get_running_loop().time() - began == pytest.approx(LAST_FLUSH, abs=0.1)

    play(body)


def test_a_revocation_waits_for_the_last_commit_but_not_for_ever() -> None:
    """Ready results are committed while the generation is valid; a broker that does not answer holds the group 5 s."""

    async def body(case: Case) -> None:
        await case.begin()
        case.deliver([b"now"])
        await case.replica.revoked()
        assert case.cluster.frontier(IN) == 1
        case.cluster.generation += 1
        case.replica.assigned(case.member(), {IN})
        await until(lambda: case.replica.ready)
        case.producer.hold = asyncio.Event()
        case.deliver([b"now"], start=1)
        began = asyncio.get_running_loop().time()
        await case.replica.revoked()
        assert asyncio.get_running_loop().time() - began == pytest.approx(5, abs=0.2)
        case.producer.hold.set()
        await until(lambda: case.cluster.frontier(IN) == 2)
        assert case.replica.window.unsettled == 0, "what committed after the revocation is no longer in hand"

    play(body)


def test_a_failure_that_must_stop_the_process_is_told_where_faust_would_swallow_it() -> None:
    """What `now` raises inside the agent reaches `failed`: Faust alone would start the agent again."""

    async def body(case: Case) -> None:
        await case.begin()
        case.steps.broken = True
        case.deliver([b"now"])
        assert isinstance(case.errors.pop(), SetupError)

    play(body)


def test_foreign_text_beside_an_offset_stops_with_the_remedy() -> None:
    """Offsets that another program has committed are not guessed at; the message says how to reset them."""

    async def body(case: Case) -> None:
        case.cluster.committed[IN] = Committed(7, "somebody else's")
        case.replica.begin()
        case.replica.assigned(case.member(), {IN})
        await until(lambda: case.errors)
        error = case.errors.pop()
        assert isinstance(error, SetupError)
        assert "in/0" in str(error)
        assert "--reset-offsets" in str(error)

    play(body)


def test_a_transaction_that_hangs_is_said_loudly_once() -> None:
    """After a minute without a stable answer the partition, what to look at and the remedy are logged, once."""

    async def body(case: Case) -> None:
        case.cluster.pending.add(IN)
        case.offsets.delay = lambda: 0.5
        case.replica.begin()
        case.replica.assigned(case.member(), {IN, OTHER})
        await asyncio.sleep(ALARM_AFTER - 1)
        before.append(case.metric("eventmill_unstable_partitions"))
        await asyncio.sleep(ALARM_AFTER)
        assert case.metric("eventmill_unstable_partitions") == 1
        case.cluster.pending.clear()
        await until(lambda: case.replica.ready)
        assert case.metric("eventmill_unstable_partitions") == 0

    before: list[float] = []
    loud = [line for line in play(body) if line["log_level"] == "error"]
    assert before == [0]
    assert [line["partitions"] for line in loud] == [["in/0"]]
    assert "kafka-transactions.sh" in loud[0]["remedy"]


def test_offsets_that_can_not_be_read_are_said_and_asked_for_calmly() -> None:
    """A group that may not be read, or no broker: the reason is in the log, and nobody asks ten times a second."""

    async def body(case: Case) -> None:
        case.offsets.broken = "GROUP_AUTHORIZATION_FAILED"
        case.replica.begin()
        case.replica.assigned(case.member(), {IN})
        await asyncio.sleep(20)
        assert 5 <= case.offsets.reads <= 12
        case.offsets.broken = None
        await until(lambda: case.replica.ready)

    reasons = {line["reason"] for line in play(body) if "offsets can't be read" in line["event"]}
    assert reasons == {"GROUP_AUTHORIZATION_FAILED"}


def test_two_hung_calls_within_minutes_stop_the_process() -> None:
    """One hung client call is borne; a second one soon after ends the process, for its supervisor."""

    async def body(case: Case) -> None:
        await case.begin()
        case.producer.hung = 1
        case.fates.append(Fate.ABORT_UNKNOWN)
        case.deliver([b"now"])
        await until(lambda: case.cluster.frontier(IN) == 1)
        assert case.metric("eventmill_hung_kafka_calls_total") == 1
        case.offsets.hung = 1
        case.fates.append(Fate.ABORT_UNKNOWN)
        case.deliver([b"now"], start=1)
        await until(lambda: case.errors)
        assert isinstance(case.errors.pop(), InvariantViolated)

    play(body)
