"""How a worker starts and ends where things are not as they should be: no broker, a mute one, a step that hangs."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from digest_pipeline import COPY, INPUT
from eventmill.dev.addresses import Addresses
from scenario import Scenario

WORKER = """
import asyncio, os, sys
from types import SimpleNamespace
from eventmill_schemas.errors import EventmillError
from eventmill_schemas.pipeline import Kafka
from eventmill_streams.slot import identity
from eventmill_streams.window import Limits
from eventmill_streams.worker import Worker, WorkerSettings

async def main():
    kafka = Kafka(sys.argv[1], "http://127.0.0.1:9")
    worker = Worker(kafka, ("in",), identity("p", "s", None), Limits(1, 1, 1, 1000), WorkerSettings(), 1 << 20, 1 << 20)
    await worker.run(SimpleNamespace(bury=None, committed=None), lambda address: print("started", address, flush=True))

try:
    asyncio.run(main())
except EventmillError as error:
    print(error.kind, error, flush=True)
os._exit(0)
"""
HANGING = """
import pathlib, time
def hang(event, so_far, call):
    pathlib.Path(__file__).with_name("begun").touch()
    time.sleep(120)
    return {"summary": ""}
"""
PIPELINE = """
stages:
  hang:
    input: "{name}.notes"
    event: {id: id}
    result: copy.avsc
    steps: [python: "hang:hang"]
"""


def start(bootstrap: str) -> subprocess.Popen[str]:
    """Start a worker whose topics were looked at already, and wait until its port listens."""
    process = subprocess.Popen([sys.executable, "-c", WORKER, bootstrap], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline().startswith("started")
    return process


def test_a_broker_that_is_gone_is_named_and_not_traced() -> None:
    """Kafka went away between the look at the topics and joining the group: a message, and an end."""
    with start("127.0.0.1:9") as process:
        printed, _ = process.communicate(timeout=30)
    assert printed.startswith("kafka_unreachable no Kafka broker answers at 127.0.0.1:9")
    assert process.returncode == 0


def test_a_worker_that_waits_for_a_mute_broker_can_be_stopped() -> None:
    """A broker that takes connections and never answers: SIGTERM ends the worker long before its requests time out."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
        with start(f"127.0.0.1:{mute.getsockname()[1]}") as process:
            connection, _ = mute.accept()
            began = time.monotonic()
            process.terminate()
            process.wait(30)
            connection.close()
        assert process.returncode == 0
        assert time.monotonic() - began < 20


def test_a_step_that_hangs_in_its_thread_does_not_keep_the_process(
    tmp_path: Path, addresses: Addresses, unique: str
) -> None:
    """A plain function can't be stopped; after the shutdown time-out the worker leaves without it, with exit code 0."""
    fields = [*json.loads(COPY)["fields"][:1], {"name": "summary", "type": "string"}]
    result = json.dumps({**json.loads(COPY), "fields": [{**fields[0], "from": "event.id"}, fields[1]]})
    with Scenario(tmp_path, addresses, unique, PIPELINE, {"copy.avsc": result, "hang.py": HANGING}) as scenario:
        notes = f"{unique}.notes"
        scenario.create(partitions=1, inputs=[notes])
        writer = scenario.writer(notes, INPUT)
        scenario.produce(notes, [(b"k", writer.encode({"id": "n1", "body": "x"}))])
        (member,) = scenario.start({"hang": 1}, "--shutdown-timeout", "1").members
        scenario.wait((tmp_path / "begun").exists, 60)
        assert member.process is not None
        began = time.monotonic()
        os.kill(member.process.pid, signal.SIGTERM)
        assert member.process.wait(60) == 0
        assert time.monotonic() - began < 45, "the step sleeps for 120 s"
        assert scenario.settled("hang") == 0
