"""The demo as a user runs it: what it counts is true, and nothing of it is left behind, however it ends."""

import re
import signal
from decimal import Decimal
from pathlib import Path

import pytest

from checker import StageTopics, check
from eventmill.dev.addresses import Addresses
from whole_run import DemoRun, WholeRun, whole_run


def at_work(run: WholeRun) -> dict[str, int]:
    """Wait until workers are busy; return the processes that there are then."""
    run.until("eventmill run", 90)
    run.until("triage: ", 30)
    found = run.started()
    assert {"worker triage", "worker escalate", "worker index", "dev model"} <= set(found), run.said
    return found


def test_the_demo_counts_what_an_independent_reader_counts(
    demo: DemoRun, addresses: Addresses, pytestconfig: pytest.Config
) -> None:
    """Every mail has one result or dead letter, and the sum of the costs is that of the topic, to the last digit."""
    figures = demo.figures
    mails = len((pytestconfig.rootpath / "examples/support-mail/mails.jsonl").read_text().splitlines())
    assert figures["events"] == mails == figures["results"] + figures["dead_letters"]
    assert figures["dead_letters"] == 3   # three mails ask the stand-in for replies that can't be used
    assert (figures["lost"], figures["duplicates"], figures["problems"]) == (0, 0, {})
    assert figures["stand_in"] is True

    pipeline = re.findall(r"support-mail-[0-9a-f]{8}", demo.said)[0]
    topics = StageTopics(
        [f"mails-{pipeline.rpartition('-')[2]}"],
        *(f"{pipeline}.triage.{kind}" for kind in ("results", "costs", "dlq")),
        other_costs=[f"{pipeline}.index.costs"],
    )
    report = check(addresses.bootstrap, addresses.registry, topics)
    assert report.clean, report
    assert report.cost_total == Decimal(figures["cost_total"]) > 0
    # a mail is classified, read by the chat model and embedded; each has its cost
    assert report.counts["cost_records"] == figures["cost_records"] == 3 * mails
    assert 0 < figures["classified"]["triage"]["sure"] < figures["classified"]["triage"]["events"] == figures["results"]
    assert "Nearest to 'the payroll export shows no hours and pay day is near' in mails:" in demo.said
    assert re.search(r"SIMILARITY +EVENT +TEXT\n +0\.\d+ +m0002 ", demo.said), "the mail that says so comes first"
    assert f"{Decimal(figures['cost_total']).normalize():f} USD at list price" in demo.said


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 130)])
def test_an_interrupted_demo_ends_its_processes_before_itself(
    tmp_path: Path, addresses: Addresses, pytestconfig: pytest.Config, number: signal.Signals, code: int
) -> None:
    """Ctrl-C and SIGTERM in the middle: workers and stand-in are gone when the demo is."""
    with whole_run(pytestconfig.rootpath, tmp_path, addresses, "demo", "--events", "20000") as run:
        at_work(run)
        run.process.send_signal(number)
        assert run.code(60) == code, run.said
        assert run.started() == {}
        assert "Traceback" not in run.said


def test_a_killed_demo_leaves_nothing_behind(
    tmp_path: Path, addresses: Addresses, pytestconfig: pytest.Config
) -> None:
    """SIGKILL in the middle: workers and stand-in notice that their parent is gone, and go."""
    with whole_run(pytestconfig.rootpath, tmp_path, addresses, "demo", "--events", "20000") as run:
        at_work(run)
        run.process.kill()
        run.process.wait()
        print(f"all gone after {run.alone(60):.1f} s")
