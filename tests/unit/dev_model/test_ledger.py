"""The stand-in's account is complete, adds up, and survives its process."""

from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventmill.dev.model.faults import Outcome
from eventmill.dev.model.ledger import Entry, Ledger
from eventmill_schemas.errors import UsageError

COUNTS = st.integers(0, 2**31)
ENTRIES = st.lists(
    st.builds(
        Entry,
        time=st.floats(0, 2e9),
        model=st.text(min_size=1, max_size=10),
        digest=st.binary(min_size=32, max_size=32),
        served=st.booleans(),
        outcome=st.sampled_from(Outcome),
        prompt_tokens=COUNTS,
        completion_tokens=COUNTS,
    ),
    max_size=20,
)
ONE = Entry(1.5, "m", bytes(32), True, Outcome.OK, 7, 3)


@given(ENTRIES)
def test_totals_are_the_sums_of_the_entries(entries: list[Entry]) -> None:
    """In all and by model; the entries come back as they were added, numbered from 1."""
    ledger = Ledger()
    for entry in entries:
        ledger.add(entry)
    assert list(ledger.entries()) == entries
    report = ledger.report(entries=True)
    assert report["calls"] == len(ledger) == len(entries)
    assert report["served"] == sum(entry.served for entry in entries)
    assert report["prompt_tokens"] == sum(entry.prompt_tokens for entry in entries)
    assert report["completion_tokens"] == sum(entry.completion_tokens for entry in entries)
    for name in ("calls", "served", "prompt_tokens", "completion_tokens"):
        assert sum(counts[name] for counts in report["by_model"].values()) == report[name]
    assert sum(report["outcomes"].values()) == len(entries)
    assert [one["sequence"] for one in report["entries"]] == list(range(1, len(entries) + 1))
    assert [bytes.fromhex(one["sha256"]) for one in report["entries"]] == [entry.digest for entry in entries]
    assert "entries" not in ledger.report()
    orjson.dumps(report)


def test_a_file_keeps_the_account(tmp_path: Path) -> None:
    """Every call is in the file when it was added; another run goes on from there."""
    file = tmp_path / "ledger.jsonl"
    first = Ledger(file)
    first.add(ONE)
    assert orjson.loads(file.read_bytes())["prompt_tokens"] == 7   # not closed: a kill would lose nothing
    second = Ledger(file)
    second.add(ONE._replace(model="n"))
    assert list(second.entries()) == [ONE, ONE._replace(model="n")]
    assert [orjson.loads(line)["sequence"] for line in file.read_bytes().splitlines()] == [1, 2]
    first.close()
    second.close()


def test_a_line_that_was_cut_by_a_kill_is_dropped(tmp_path: Path) -> None:
    """The whole lines before it count, and the next one begins on its own line."""
    file = tmp_path / "ledger.jsonl"
    ledger = Ledger(file)
    ledger.add(ONE)
    ledger.close()
    file.write_bytes(file.read_bytes() + b'{"sequence": 2, "ti')
    again = Ledger(file)
    again.add(ONE)
    again.close()
    assert [orjson.loads(line)["sequence"] for line in file.read_bytes().splitlines()] == [1, 2]


@pytest.mark.parametrize("content", [b"what is this\n", b"{}\n", b"[1]\n", b'{"sequence": 1}\n'])
def test_a_file_of_something_else_is_refused(tmp_path: Path, content: bytes) -> None:
    """It is named with its line, and left as it is."""
    file = tmp_path / "notes.txt"
    file.write_bytes(content)
    with pytest.raises(UsageError, match=r"notes\.txt:1: not a call"):
        Ledger(file)
    assert file.read_bytes() == content


def test_a_file_that_can_t_be_opened_is_named(tmp_path: Path) -> None:
    """A folder that is not there."""
    with pytest.raises(UsageError, match=r"--ledger: .*nothing"):
        Ledger(tmp_path / "nothing" / "ledger.jsonl")


def test_a_reset_forgets_everything(tmp_path: Path) -> None:
    """In memory and in the file; the next call is the first."""
    file = tmp_path / "ledger.jsonl"
    ledger = Ledger(file)
    ledger.add(ONE)
    ledger.reset()
    assert ledger.report(entries=True) == Ledger().report(entries=True)
    assert len(ledger) == 0
    assert file.read_bytes() == b""
    ledger.add(ONE)
    ledger.close()
    assert orjson.loads(file.read_bytes())["sequence"] == 1
