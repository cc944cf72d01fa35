"""`eventmill lag` without a broker: options, and how numbers are shown."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from eventmill.cli import app
from eventmill.cli.lag_view import COLUMNS, document, duration, head, line, rows
from eventmill.cli.output import show_json
from eventmill.cluster.progress import Progress, Watched
from eventmill_connectors.kafka.groups import GroupMember, GroupState
from eventmill_connectors.kafka.offsets import Committed
from eventmill_connectors.kafka.positions import Span
from eventmill_streams.lag import GroupLag, PartitionLag, Speed, partition_lag, with_ages
from eventmill_streams.offset_metadata import encode

NOON = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def at(topic: str, number: int, committed: Committed | None, end: int = 100) -> PartitionLag:
    """Return a partition of records 0 to `end`."""
    return partition_lag((topic, number), committed, Span(0, end, end))


def progress(
    *partitions: PartitionLag,
    stage: str | None = "triage",
    state: str = "stable",
    members: tuple[GroupMember, ...] = (),
    speed: Speed | None = None,
) -> Progress:
    """Return the group `p.triage`."""
    topics = tuple(dict.fromkeys(p.topic for p in partitions))
    watched = Watched("p.triage", stage, topics)
    return Progress(watched, GroupState("p.triage", state, members), GroupLag("p.triage", partitions), speed)


def worker(instance: str | None, *partitions: tuple[str, int]) -> GroupMember:
    """Return a member of the group."""
    return GroupMember("m-1", instance, "client-7", "127.0.0.1", partitions)


def test_a_row_has_every_number_in_its_column() -> None:
    """Committed 40 of 100 with ten settled beyond it: 60 lag, 50 to do; the owner is the slot, else the client."""
    settled = Committed(40, encode(40, [40], 51))
    lag = with_ages(GroupLag("g", (at("mails", 0, settled),)), {("mails", 0): 1_000}, 90_000)
    shown = progress(*lag.partitions, members=(worker("p.triage.2", ("mails", 0)),))
    row, total = (dict(zip(COLUMNS, row, strict=True)) for row in rows(shown))
    assert row == {
        "topic": "mails", "partition": 0, "committed": 40, "end": 100, "high": 100, "lag": 60, "settled": 10,
        "backlog": 50, "age": "1 m 29 s", "owner": "p.triage.2",
    }  # fmt: skip
    assert (total["topic"], total["lag"], total["settled"], total["backlog"]) == ("in all", 60, 10, 50)
    dynamic = progress(*lag.partitions, members=(worker(None, ("mails", 0)),))
    assert rows(dynamic)[0][-1] == "client-7"


def test_several_topics_have_sums_of_their_own() -> None:
    """The sums of each topic stand under its partitions, and those of all at the end."""
    shown = progress(at("a", 0, Committed(90, "")), at("b", 0, Committed(95, "")))
    assert [(row[0], row[5]) for row in rows(shown)] == [
        ("a", 10),
        ("a in all", 10),
        ("b", 5),
        ("b in all", 5),
        ("in all", 15),
    ]


def test_the_head_says_who_works_and_how_fast() -> None:
    """State, members, and in a watch the pace with the time that is left, or that it will not end."""
    one = (worker("s", ("mails", 0)),)
    assert head(progress(at("mails", 0, Committed(90, "")), members=one)) == "p.triage: stable (1 member)"
    assert head(progress(at("mails", 0, None), state="dead")) == "p.triage: never ran (0 members)"
    moving = progress(at("mails", 0, Committed(90, "")), members=one, speed=Speed(5.0, 1.0, 2.5))
    assert head(moving).endswith("settled 5.0/s, arriving 1.0/s, done in 2.5 s")
    losing = progress(at("mails", 0, Committed(90, "")), members=one, speed=Speed(1.0, 5.0, None))
    assert head(losing).endswith("not catching up")


def test_a_line_is_for_logs() -> None:
    """One line per group with names and numbers, and how many partitions could not be told."""
    shown = progress(at("mails", 0, Committed(90, "")), at("mails", 1, None), state="empty")
    assert line(shown, NOON) == (
        "12:00:00  p.triage  empty  members=0  lag=10  backlog=10  age=unknown  unknown_partitions=1"
    )


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, None),
        (0, "0 s"),
        (0.04, "0.0 s"),
        (59.9, "59.9 s"),
        (59.97, "1 m 0 s"),
        (3599.6, "1 h 0 m"),
        (90061, "1 d 1 h"),
    ],
)
def test_durations_have_two_units(seconds: float | None, text: str | None) -> None:
    """Tenths below a minute, then the two largest units; never 60 of one."""
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("partition", "word"),
    [
        (at("mails", 0, None), "transaction"),
        (at("mails", 0, Committed(900, "")), "made anew"),
        (partition_lag(("mails", 0), Committed(1, ""), Span(5, 9, 9)), "retention"),
        (partition_lag(("mails", 0), Committed(1, ""), None), "no leader"),
        (at("mails", 0, Committed(1, "foreign")), "not eventmill's"),
        (at("mails", 0, Committed(1, "")), "nobody works on it"),
    ],
)
def test_what_misleads_is_told(partition: PartitionLag, word: str) -> None:
    """Each odd state of a partition, and work that nobody does, is said in words with the group's name."""
    notes = progress(partition).notes()
    assert any(word in note and note.startswith("p.triage") for note in notes)


def test_a_stage_at_work_and_a_foreign_group_need_no_notes() -> None:
    """Nothing is said where all is well; another program's group may be without members and with texts of its own."""
    assert progress(at("mails", 0, Committed(1, "")), members=(worker("s", ("mails", 0)),)).notes() == []
    assert progress(at("mails", 0, Committed(1, "its own")), stage=None).notes() == []
    assert progress(at("mails", 0, Committed(100, ""))).notes() == []  # nothing is left, so nobody is needed


def test_the_document_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    """Everything in it has a JSON form, with totals, partitions and members."""
    shown = progress(at("mails", 0, Committed(90, "")), members=(worker("s", ("mails", 0)),), speed=Speed(1, 2, None))
    show_json(document([shown], NOON))
    text = capsys.readouterr().out
    for part in ('"group":"p.triage"', '"lag":10', '"standing":"within"', '"instance_id":"s"', '"drained_in":null'):
        assert part in text


@pytest.mark.parametrize("options", [["--watch"], ["--watch", "5"], ["--watch=0.5"], ["-g", "other", "--watch"], []])
def test_watch_may_stand_without_its_number(tmp_path: Path, options: list[str]) -> None:
    """Every way to write it is understood: what is complained about is the file that is not there."""
    done = CliRunner().invoke(app, ["lag", *options, str(tmp_path / "nowhere.yaml")])
    assert done.exit_code == 2
    assert "nowhere.yaml: the file can't be read" in done.stderr


def test_a_watch_needs_time_between_two_looks(tmp_path: Path) -> None:
    """Zero seconds would ask the broker without pause: it is refused."""
    done = CliRunner().invoke(app, ["lag", "--watch", "0", str(tmp_path / "nowhere.yaml")])
    assert done.exit_code == 2
    assert "--watch" in done.stderr
