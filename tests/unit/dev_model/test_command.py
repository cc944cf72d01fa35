"""`eventmill dev model` says where it listens, and ends when it is told to or is left alone."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

COMMAND = [sys.executable, "-m", "eventmill.cli", "dev", "model"]


@contextmanager
def started(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run the command; kill it in the end if it is still there."""
    process = subprocess.Popen([*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def announced(process: subprocess.Popen[str]) -> str:
    """Return the line that it prints when it listens."""
    assert process.stdout is not None
    return process.stdout.readline()


def calls_in_flight(url: str) -> int:
    """Ask a stand-in how many calls it works on."""
    with urllib.request.urlopen(f"{url}/_ledger") as answer:
        return int(json.load(answer)["in_flight"])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_until_it_is_told_to_stop(number: signal.Signals) -> None:
    """The printed address answers; SIGTERM and Ctrl-C end it with code 0 and without a word, calls in flight or no."""
    with started("--json", "--latency", "fixed:60") as process:
        line = json.loads(announced(process))
        assert line["base_url"] == line["url"] + "/v1"
        with urllib.request.urlopen(line["url"] + "/healthz") as answer:
            assert json.load(answer)["stand_in"] is True
        port = int(line["url"].rpartition(":")[2])
        body = b'{"model": "m", "messages": [{"role": "user", "content": "x"}]}'
        with socket.create_connection(("127.0.0.1", port)) as call:
            call.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n")
            call.sendall(b"content-length: %d\r\n\r\n%s" % (len(body), body))
            while calls_in_flight(line["url"]) == 0:
                pass
            process.send_signal(number)
            out, errors = process.communicate(timeout=20)
        assert (process.returncode, out, errors) == (0, "", "")


def test_it_prints_one_line_for_people() -> None:
    """With the address to set as OPENAI_BASE_URL, and that no model is behind it."""
    with started() as process:
        line = announced(process)
        assert "stand-in" in line
        assert line.strip().endswith("/v1")


def test_it_ends_with_its_parent() -> None:
    """A supervisor that was killed leaves no server behind."""
    parent = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    with started("--parent", str(parent.pid)) as process:
        assert announced(process)
        parent.kill()
        parent.wait()
        assert process.wait(timeout=20) == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--errors", "429=7"], "--errors: '429=7'"),
        (["--latency", "quick"], "--latency: 'quick'"),
        (["--ledger", "/nowhere/ledger"], "--ledger: /nowhere/ledger"),
    ],
)
def test_a_wrong_option_is_named_and_ends_with_2(arguments: list[str], words: str) -> None:
    """One message and no stack trace."""
    done = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_it_starts_quickly(capsys: pytest.CaptureFixture[str]) -> None:
    """The time until it listens is printed, beside that of the imports alone."""
    start = time.monotonic()
    with started() as process:
        announced(process)
        until = time.monotonic() - start
    start = time.monotonic()
    code = "import eventmill.cli.dev_model"
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ)
    with capsys.disabled():
        print(f"\nstand-in listens after {until:.2f} s; imports alone: {time.monotonic() - start:.2f} s")
