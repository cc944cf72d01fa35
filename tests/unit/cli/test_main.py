"""The command line as a person and a script meet it: exit codes, streams, messages, and nothing loaded in vain."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import version
from types import ModuleType
from typing import Any, ClassVar

import pytest
from typer.testing import CliRunner

from eventmill.cli import app
from eventmill.cli.lazy import Lazy, LazyGroup, command_app
from eventmill_schemas.errors import EventmillError, KafkaUnreachable, PipelineFileError, SetupError

HEAVY = (
    "faust", "aiokafka", "confluent_kafka", "aiohttp", "httpx", "jinja2", "fastavro", "rich", "psutil", "yaml",
    "numpy", "onnx", "onnxruntime", "tokenizers",
)


def command_line(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run `eventmill` as a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "eventmill.cli", *arguments], capture_output=True, text=True, timeout=60, check=False
    )


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[BaseException], None]]:
    """Add the command `fail`, which raises what it is given; its module is one that nobody else imports."""
    module: Any = ModuleType("eventmill_test_fail")
    monkeypatch.setitem(sys.modules, module.__name__, module)

    def set_up(error: BaseException) -> None:
        module.app = command_app()

        @module.app.command()
        def fail() -> None:
            raise error

    root: Any = app.info.cls
    root.lazy["fail"] = Lazy(module.__name__, "Fail.")
    yield set_up
    del root.lazy["fail"]


def test_the_version_is_that_of_the_package() -> None:
    """As data on stdout, with nothing beside it."""
    done = command_line("version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"eventmill {version('eventmill')}\n", "")
    done = command_line("version", "--json")
    assert json.loads(done.stdout)["eventmill"] == version("eventmill")


def test_a_command_loads_only_what_it_needs() -> None:
    """Neither the version nor the list of all commands imports a client library."""
    for arguments in (["version"], ["--help"]):
        script = (
            f"import sys; from eventmill.cli import app; app({arguments!r}, standalone_mode=False); "
            f"print(*[name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
        )
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
        assert done.stdout
        assert done.stderr == "\n"


def test_every_command_of_the_help_can_be_loaded() -> None:
    """A name in the list is a command that answers --help."""
    root: Any = app.info.cls
    for name in ("version", *root.lazy):
        found = CliRunner().invoke(app, [name, "--help"])
        assert found.exit_code == 0, f"{name}: {found.output} {found.exception!r}"
        assert f"Usage: eventmill {name}" in found.stdout


def test_a_wrong_command_is_a_usage_error_with_a_suggestion() -> None:
    """Exit code 2, on stderr, also for a command whose module is not loaded."""
    found = CliRunner().invoke(app, ["dve"])
    assert (found.exit_code, found.stdout) == (2, "")
    assert "'dev'" in found.stderr


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (KafkaUnreachable("No broker answers at b:1"), 1, "error: No broker answers at b:1\n"),
        (
            SetupError("The topic mails is missing", remedy="Run: eventmill apply"),
            2,
            "error: The topic mails is missing\nRun: eventmill apply\n",
        ),
        (
            PipelineFileError("unknown key 'stagse'", file="p.yaml", line=3, remedy="Did you mean stages?"),
            2,
            "error: p.yaml:3: unknown key 'stagse'\nDid you mean stages?\n",
        ),
        (FileNotFoundError(2, "No such file", "mails.jsonl"), 1, "error: mails.jsonl: No such file\n"),
    ],
)
def test_an_error_is_a_message_and_a_remedy(
    failing: Callable[[BaseException], None], error: EventmillError, code: int, text: str
) -> None:
    """On stderr, without a stack trace; wrong use is 2, the rest 1."""
    failing(error)
    found = CliRunner().invoke(app, ["fail"])
    assert found.exit_code == code
    assert found.stderr.startswith(text)
    assert "Traceback" not in found.output


def test_debug_shows_where_an_error_arose(failing: Callable[[BaseException], None]) -> None:
    """By option or by variable, with the message all the same."""
    failing(KafkaUnreachable("No broker answers"))
    for found in (
        CliRunner().invoke(app, ["--debug", "fail"]),
        CliRunner().invoke(app, ["fail"], env={"EVENTMILL_DEBUG": "1"}),
    ):
        assert found.exit_code == 1
        assert "Traceback" in found.stderr
        assert "error: No broker answers" in found.stderr


def test_an_interrupt_is_quiet(failing: Callable[[BaseException], None]) -> None:
    """Exit code 130, as shells expect, and not a word."""
    failing(KeyboardInterrupt())
    found = CliRunner().invoke(app, ["fail"])
    assert (found.exit_code, found.output) == (130, "")


def test_a_reader_that_leaves_early_is_no_error() -> None:
    """`eventmill ... | head -0` writes no stack trace."""
    argv = [sys.executable, "-m", "eventmill.cli", "--help"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        assert writer.stderr is not None
        writer.stdout.close()
        assert writer.stderr.read() == ""


def test_a_group_that_is_added_to_has_the_help_line_it_was_given() -> None:
    """One line per command: its name, its module, its help."""

    class Group(LazyGroup):
        lazy: ClassVar = {"later": Lazy("no.such.module", "Comes later.")}

    grouped = command_app(help="A group.", group=Group)

    @grouped.command()
    def now() -> None:
        """Come now."""

    @grouped.command()
    def soon() -> None:
        """Come soon."""

    found = CliRunner().invoke(grouped, ["--help"])
    assert "later  Comes later." in found.stdout
    assert "now    Come now." in found.stdout
    assert isinstance(CliRunner().invoke(grouped, ["later"]).exception, ModuleNotFoundError)
