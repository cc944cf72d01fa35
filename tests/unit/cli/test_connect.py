"""`eventmill connect` as a user meets it: files, exit codes, messages; the worker is a peer that the test scripts."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from connect_peer import JDBC, ConnectPeer, connect_peer, status
from eventmill.cli import app

PIPELINE = """
pipeline: mail
kafka: {bootstrap: "127.0.0.1:9092", registry: "http://127.0.0.1:8081/apis/ccompat/v7"}
stages:
  triage: {input: mails, result: copy.avsc}
  again: {input: triage, result: copy.avsc, topics: {costs: spent}}
"""
COPY = {"type": "record", "name": "Copy", "fields": [{"name": "text", "type": "string", "from": "event.text"}]}
TRACE = "java.lang.Boom: at first\n\tat somewhere\nCaused by: java.lang.Deep: the reason\n"

Cli = Callable[..., Result]


@pytest.fixture
def peer() -> Iterator[ConnectPeer]:
    """Give a worker without connectors."""
    with connect_peer() as found:
        yield found


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, peer: ConnectPeer) -> Cli:
    """Run `eventmill connect` in a folder with a pipeline."""
    (tmp_path / "pipeline.yaml").write_text(PIPELINE)
    (tmp_path / "copy.avsc").write_text(json.dumps(COPY))
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(app, ["connect", *arguments], env={"NO_COLOR": "1", "CONNECT": peer.url})

    return run


def test_a_stage_is_two_files(tmp_path: Path, cli: Cli) -> None:
    """Its results by event, its costs by attempt; paths on stdout, what workers must have on stderr."""
    done = cli("generate", "triage", "-o", "connect")
    assert done.exit_code == 0, done.output
    files = [tmp_path / line for line in done.stdout.splitlines()]
    assert [file.name for file in files] == ["mail.triage.results.postgres.json", "mail.triage.costs.postgres.json"]
    found = [json.loads(file.read_text()) for file in files]
    assert [one["config"]["primary.key.fields"] for one in found] == ["event_id", "cost_id"]
    assert [one["name"] for one in found] == [file.stem for file in files]
    assert done.stderr.split(": ")[1].split() == ["WAREHOUSE_PASSWORD,", "WAREHOUSE_URL,", "WAREHOUSE_USER"]


def test_without_a_stage_all_are_written_under_their_own_topics(tmp_path: Path, cli: Cli) -> None:
    """Also topics that the pipeline gave another name; the sink is part of the file's name."""
    assert cli("generate", "-o", "c", "--sink", "s3").exit_code == 0
    names = sorted(file.name for file in (tmp_path / "c").iterdir())
    topics = ("mail.again.results", "mail.triage.costs", "mail.triage.results", "spent")
    assert names == [f"{topic}.s3.json" for topic in topics]


def test_a_file_that_was_changed_is_kept_unless_told_otherwise(tmp_path: Path, cli: Cli) -> None:
    """The same command again is fine; nothing is written where one file differs."""
    options = ("generate", "triage", "-o", "c")
    assert [cli(*options).exit_code for _ in range(2)] == [0, 0]
    costs, results = (tmp_path / f"c/mail.triage.{kind}.postgres.json" for kind in ("costs", "results"))
    results.unlink()
    costs.write_text("mine")
    done = cli(*options)
    assert done.exit_code == 2
    assert str(costs.name) in done.stderr
    assert "--force" in done.stderr
    assert (costs.read_text(), results.exists()) == ("mine", False)
    assert cli(*options, "--force").exit_code == 0
    assert json.loads(costs.read_text())["name"] == costs.stem


def test_options_of_all_sinks(tmp_path: Path, cli: Cli) -> None:
    """The registry as workers see it, the place of secrets, copies of topics, settings of one's own."""
    options = ("--registry", "http://registry:8080/apis/ccompat/v7", "--secrets", "file:/run/w.properties")
    more = ("--replication", "3", "--set", "tasks.max=4", "--set", "batch.size=10=20")
    assert cli("generate", "triage", "-o", "c", *options, *more).exit_code == 0
    config = json.loads((tmp_path / "c/mail.triage.results.postgres.json").read_text())["config"]
    assert config["value.converter.apicurio.registry.url"] == "http://registry:8080/apis/registry/v3"
    assert config["connection.password"] == "${file:/run/w.properties:WAREHOUSE_PASSWORD}"
    assert config["errors.deadletterqueue.topic.replication.factor"] == "3"
    assert (config["tasks.max"], config["batch.size"]) == ("4", "10=20")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["nowhere"], "The stages are triage, again"),
        (["--set", "batch.size"], "'batch.size' is not KEY=VALUE"),
        (["--set", "=1"], "is not KEY=VALUE"),
        (["--set", "connection.password=hunter2"], "connection.password=${env:NAME}"),
        (["--secrets", "vault"], "is not a place of secrets"),
        (["--registry", "https://u:hunter2@r:1"], "holds a user and password"),
        (["--pipeline", "nowhere.yaml"], "nowhere.yaml: the file can't be read"),
        (["--sink", "oracle"], "oracle"),
        (["--replication", "0"], "--replication 0 is no topic"),
    ],
)
def test_wrong_use_is_exit_code_2_and_writes_nothing(
    tmp_path: Path, cli: Cli, options: list[str], message: str
) -> None:
    """The message says what is right, and tells no secret."""
    done = cli("generate", "-o", "c", *options)
    assert done.exit_code == 2
    assert message in done.stderr
    assert "hunter2" not in done.output
    assert not (tmp_path / "c").exists()


def test_two_topics_that_would_be_one_table_are_refused(tmp_path: Path, cli: Cli) -> None:
    """`a.b` and `a-b` differ for Kafka only."""
    (tmp_path / "pipeline.yaml").write_text(PIPELINE.replace("costs: spent", "costs: mail-triage-costs"))
    done = cli("generate", "-o", "c")
    assert done.exit_code == 2
    assert "mail.triage.costs and mail-triage-costs" in done.stderr


def test_a_dead_task_is_exit_code_1_with_its_reason(cli: Cli, peer: ConnectPeer) -> None:
    """Although the connector is RUNNING; a healthy one beside it changes nothing."""
    found = {
        "bad": {"status": status("bad", "RUNNING", "FAILED", trace=TRACE)},
        "good": {"status": status("good", "RUNNING", "RUNNING")},
    }
    peer.answer("GET /connectors?expand=status", found)
    done = cli("status")
    assert done.exit_code == 1
    assert [line.split()[:3] for line in done.stdout.splitlines()[1:]] == [
        ["bad", "RUNNING", "FAILED"],
        ["good", "RUNNING", "RUNNING"],
    ]
    assert "bad: task 0 is FAILED: java.lang.Boom: at first Cause: java.lang.Deep: the reason" in done.stderr
    assert "good:" not in done.stderr
    assert cli("status", "good").exit_code == 0
    document = json.loads(cli("status", "--json").stdout)
    assert [document["ok"], *(one["ok"] for one in document["connectors"])] == [False, False, True]


def test_a_connector_that_is_not_there_is_wrong_use(cli: Cli, peer: ConnectPeer) -> None:
    """Not a healthy one."""
    peer.answer("GET /connectors?expand=status", {"a": {"status": status("a", "RUNNING", "RUNNING")}})
    done = cli("status", "b")
    assert done.exit_code == 2
    assert "There is a" in done.stderr


def test_no_connectors_are_said(cli: Cli, peer: ConnectPeer) -> None:
    """A table without rows could be taken for a failure to show them."""
    peer.answer("GET /connectors?expand=status", {})
    done = cli("status")
    assert (done.exit_code, done.stderr) == (0, "There are no connectors.\n")


def test_apply_makes_them_and_waits(cli: Cli, peer: ConnectPeer) -> None:
    """One line for each, and exit code 1 where a task fails for good."""
    cli("generate", "triage", "-o", "c")
    for kind, state in (("results", "RUNNING"), ("costs", "FAILED")):
        path = f"/connectors/mail.triage.{kind}.postgres"
        peer.answer(f"PUT {path}/config", {}, 201)
        peer.answer(f"GET {path}/status", status(f"mail.triage.{kind}.postgres", "RUNNING", state, trace=TRACE))
    done = cli("apply", "c")
    assert done.exit_code == 1
    assert done.stdout.splitlines() == ["mail.triage.costs.postgres: created", "mail.triage.results.postgres: created"]
    assert "the reason" in done.stderr
    assert "connect restart" in done.stderr


def test_validation_says_what_is_wrong_where(cli: Cli, peer: ConnectPeer) -> None:
    """Exit code 1, and nothing is changed."""
    cli("generate", "triage", "-o", "c")
    found = {"configs": [{"value": {"name": "tasks.max", "value": "x", "errors": ["not a number"]}}]}
    peer.answer(f"PUT /connector-plugins/{JDBC}/config/validate", found)
    done = cli("validate", "c/mail.triage.results.postgres.json")
    assert (done.exit_code, done.stdout) == (1, "mail.triage.results.postgres: tasks.max: not a number\n")
    document = json.loads(cli("validate", "c", "--json").stdout)
    assert document["problems"]["mail.triage.costs.postgres"] == [{"key": "tasks.max", "message": "not a number"}]
    assert all(path.endswith("/validate") for path, _ in peer.said("PUT"))


@pytest.mark.parametrize("command", [["status"], ["restart", "a"], ["delete", "a"]])
def test_no_worker_is_exit_code_1_with_the_way_out(cli: Cli, command: list[str]) -> None:
    """One message, no trace."""
    done = cli(*command, "--url", "http://127.0.0.1:9")
    assert done.exit_code == 1
    assert "no worker of Kafka Connect answers at http://127.0.0.1:9" in done.stderr
    assert "dev up --connect" in done.stderr
    assert "Traceback" not in done.output
