"""`eventmill check`: what it prints, where, and how it exits."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from eventmill.cli import app
from eventmill.config import load_with_lines
from eventmill.config.examine import examine
from eventmill.config.json_schema import json_schema
from eventmill_schemas.errors import PipelineFileErrors

STEPS = """\
import sys

print("imported")


async def count_words(event, so_far, call):
    return {"words": 3}


def page(event, so_far, call):
    return {"text": "x"}


def two(event, so_far):
    return {}
"""


@pytest.fixture
def checked(project: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Make a project whose functions can be imported, in a process that forgets them afterwards."""
    monkeypatch.chdir(project.folder)
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = set(sys.modules)
    project.write("mail.py", STEPS)
    yield project
    for name in set(sys.modules) - before:
        if str(project.folder) in (getattr(sys.modules[name], "__file__", None) or ""):
            del sys.modules[name]


def check(*arguments: str, **environ: str) -> Result:
    """Run the command in this process."""
    return CliRunner().invoke(app, ["check", *arguments], env=environ)


def test_a_right_pipeline(checked: Any) -> None:
    """Stages, topics, routes and prices on stdout, nothing on stderr but what the user's code printed, exit 0."""
    done = check(OPENAI_API_KEY="sk-1")
    assert done.exit_code == 0
    assert done.stderr == "imported\n"
    assert done.stdout.splitlines() == [
        "pipeline support-mail",
        ("STAGE     READS                        STEPS                 RESULTS                      COSTS"
        "                        DEAD LETTERS"),
        ("triage    mails                        complete count_words  support-mail.triage.results  "
        "support-mail.triage.costs    support-mail.triage.dlq"),
        ("escalate  support-mail.triage.results  pager                 pages                        "
        "support-mail.escalate.costs  page.failures"),
        "",
        "ROUTE   PROVIDER  MODEL       PRICE",
        "writer  openai    gpt-5-mini  known",
        "writer  openai    small       known",
    ]


def test_a_right_pipeline_as_json(checked: Any) -> None:
    """The same for programs: one JSON document and nothing else on stdout, although the user's module prints."""
    done = check("--json", OPENAI_API_KEY="sk-1")
    assert done.exit_code == 0
    assert json.loads(done.stdout) == {
        "ok": True,
        "errors": [],
        "warnings": [],
        "pipeline": "support-mail",
        "stages": {
            "triage": {
                "inputs": ["mails"],
                "steps": ["complete", "count_words"],
                "topics": {
                    "results": "support-mail.triage.results",
                    "costs": "support-mail.triage.costs",
                    "dlq": "support-mail.triage.dlq",
                },
            },
            "escalate": {
                "inputs": ["support-mail.triage.results"],
                "steps": ["pager"],
                "topics": {"results": "pages", "costs": "support-mail.escalate.costs", "dlq": "page.failures"},
            },
        },
        "routes": {
            "writer": [
                {"provider": "openai", "model": "gpt-5-mini", "price": "known"},
                {"provider": "openai", "model": "small", "price": "known"},
            ]
        },
        "models": {},
    }


def test_a_wrong_pipeline(checked: Any) -> None:
    """Every mistake is one line on stderr with file and line, stdout is empty, exit 2."""
    first = checked.spoil("in_flight: 100", "in_flght: 100")
    second = checked.spoil("result: schemas/page.avsc", "result: schemas/pages.avsc")
    done = check()
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.splitlines() == [
        (f"error: pipeline.yaml:{first}: `in_flght` is not a key that this version of eventmill knows in `triage`. "
        "Did you mean `in_flight`?"),
        f"error: pipeline.yaml:{second}: `schemas/pages.avsc` does not exist in the folder of the pipeline",
    ]


def test_a_wrong_pipeline_as_json(checked: Any) -> None:
    """Mistakes as data, exit 2."""
    line = checked.spoil("in_flight: 100", "in_flght: 100")
    done = check("--json")
    assert (done.exit_code, done.stderr) == (2, "")
    assert json.loads(done.stdout) == {
        "ok": False,
        "errors": [
            {
                "file": "pipeline.yaml",
                "line": line,
                "message": "`in_flght` is not a key that this version of eventmill knows in `triage`",
                "remedy": "Did you mean `in_flight`?",
            }
        ],
        "warnings": [],
    }


def test_a_file_elsewhere(checked: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is an argument; without it, it is pipeline.yaml here."""
    monkeypatch.chdir("/")
    assert check().exit_code == 2
    assert check(str(checked.file), OPENAI_API_KEY="sk-1").exit_code == 0


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("mail:nobody", "has no 'nobody'"),
        ("nowhere:page", "there is no module 'nowhere'"),
        ("mail:two", "can't be called with (event, so_far, call)"),
        ("broken:page", "ZeroDivisionError"),
        ("leaves:page", "SystemExit"),
        ("json:dumps", "'json'"),
    ],
)
def test_functions_are_imported(checked: Any, function: str, message: str) -> None:
    """A python step that a worker could not use is a mistake at its line, with the reason."""
    checked.write("broken.py", "1 / 0\n")
    checked.write("leaves.py", "raise SystemExit\n")
    line = checked.spoil('{function: "mail:page", name: pager}', f'"{function}"')
    done = check()
    assert done.exit_code == 2
    (error,) = [text for text in done.stderr.splitlines() if text != "imported"]
    assert error.startswith(f"error: pipeline.yaml:{line}: ")
    assert function in error
    assert message in error


def test_an_unknown_price_is_a_mistake(checked: Any) -> None:
    """Nobody runs a model without knowing its price unless they say so; then it is a warning, and the table tells."""
    line = checked.spoil("model: gpt-5-mini,", "model: our-own-model,")
    done = check(OPENAI_API_KEY="sk-1")
    assert done.exit_code == 2
    assert done.stderr.splitlines()[-1] == (
        f"error: pipeline.yaml:{line}: the price of `our-own-model` is not known. "
        "Give it under `prices`, or accept unknown costs by `allow_unpriced: true`"
    )
    checked.spoil("allow_unpriced: false", "allow_unpriced: true")
    done = check(OPENAI_API_KEY="sk-1")
    assert done.exit_code == 0
    assert f"warning: pipeline.yaml:{line}: the price of `our-own-model` is not known" in done.stderr
    assert "writer  openai    our-own-model  unknown" in done.stdout


@pytest.mark.parametrize(
    ("setting", "problem"),
    [
        ("foo.bar: 1", 'No such configuration property: "foo.bar"'),
        ("socket.timeout.ms: soon", 'Invalid value for configuration property "socket.timeout.ms"'),
    ],
)
def test_a_setting_that_the_kafka_client_refuses_is_a_mistake(checked: Any, setting: str, problem: str) -> None:
    """The library judges its own settings before any worker is started; file and line are named."""
    checked.spoil("    security.protocol: SSL", f"    security.protocol: SSL\n    {setting}")
    line = 5
    done = check(OPENAI_API_KEY="sk-1")
    assert done.exit_code == 2
    assert f"error: pipeline.yaml:{line}: kafka.client: {problem}" in done.stderr
    assert "Its keys and values are librdkafka's" in done.stderr


def test_a_tls_file_that_is_not_here_is_a_warning(checked: Any) -> None:
    """It may be where the workers run; here none could start."""
    checked.spoil("    security.protocol: SSL", "    security.protocol: SSL\n    ssl.ca.location: /nowhere.pem")
    done = check(OPENAI_API_KEY="sk-1")
    assert done.exit_code == 0
    assert "warning: pipeline.yaml:5: no worker can start here: kafka.client: ssl.ca.location failed" in done.stderr


def test_a_missing_key_is_a_warning(checked: Any) -> None:
    """The pipeline is right; only here no worker could start. A server of one's own needs no key."""
    done = check()
    assert done.exit_code == 0
    (warning,) = [line for line in done.stderr.splitlines() if line.startswith("warning: ")]
    assert warning.startswith("warning: pipeline.yaml:10: ")
    assert "OPENAI_API_KEY is not set" in warning
    assert "warning" not in check(OPENAI_BASE_URL="http://127.0.0.1:1").stderr


def test_the_schema_is_printed(checked: Any) -> None:
    """For editors; no pipeline file is needed."""
    checked.file.unlink()
    done = check("--schema")
    assert done.exit_code == 0
    assert json.loads(done.stdout) == json_schema()


def test_as_a_process(checked: Any) -> None:
    """A real process without anything in its environment that Python does not need."""
    done = subprocess.run(
        [sys.executable, "-m", "eventmill.cli", "check"],
        cwd=checked.folder, env={}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("pipeline support-mail\n")
    checked.spoil("order: key", "order: no")
    done = subprocess.run(
        [sys.executable, "-m", "eventmill.cli", "check"],
        cwd=checked.folder, env={}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: pipeline.yaml:27: `order` must be `key` or `none`, not `no`\n")


def test_what_only_the_worker_finds_is_told_too(checked: Any) -> None:
    """Each stage is set up as a worker does it: what that refuses is a mistake at the stage, and no surprise later."""
    loaded = load_with_lines(checked.file, {})
    triage, escalate = loaded.pipeline.stages
    spoilt = replace(loaded.pipeline, stages=(triage, replace(escalate, when="event.")))
    with pytest.raises(PipelineFileErrors) as caught:
        examine(loaded._replace(pipeline=spoilt), {})
    assert [(error.file, error.line) for error in caught.value.errors] == [(str(checked.file), 32)]
    assert "'escalate'" in caught.value.errors[0].message


EXAMPLES = sorted((Path(__file__).parents[3] / "examples").glob("*/pipeline.yaml"))


@pytest.mark.parametrize("file", EXAMPLES, ids=[file.parent.name for file in EXAMPLES])
def test_the_examples_are_right(file: Path) -> None:
    """What is shown to users has neither mistakes nor warnings, but that of a model which is yet to be built."""
    done = subprocess.run(
        [sys.executable, "-m", "eventmill.cli", "check", str(file), "--json"],
        env={"OPENAI_API_KEY": "sk-1", "DATABASE_URL": "postgresql://h/d"},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    found = json.loads(done.stdout)
    to_be_built = "no worker can start here: there is no model at "
    warnings = [one for one in found["warnings"] if not one["message"].startswith(to_be_built)]
    assert (found["errors"], warnings) == ([], [])
