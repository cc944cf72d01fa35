"""A pipeline at work on real servers: its files, topics and schemas, a model stand-in, and its workers as processes."""

import asyncio
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self
from urllib.request import urlopen

from confluent_kafka import Consumer, Message, Producer, TopicPartition

from checker import Report, StageTopics, check
from checking.evidence import Expect, Rate
from eventmill.config import load
from eventmill.dev.addresses import Addresses
from eventmill.fleet import Fleet
from eventmill_connectors.kafka.admin import Topics
from eventmill_connectors.registry import SchemaRegistry
from eventmill_schemas.codec import AvroWriter
from eventmill_schemas.pipeline import Pipeline
from eventmill_schemas.records import cost_event_schema
from eventmill_schemas.result_schema import published, schema_text
from eventmill_schemas.topics import TopicSpec, stage_topics, subject, topic_specs
from worker_process import WorkerProcess

LARGEST = 3 << 20   # bytes that dead letter topics must have room for
KEY = "stand-in"   # the model stand-in takes any
Put = tuple[bytes | None, bytes | None, Sequence[tuple[str, bytes | None]]]


class ModelServer:
    """The model stand-in as a process of its own, so that it shares nothing with what is tested."""

    def __init__(self, *options: str) -> None:
        """Start it, and read its address from the line it prints."""
        command = [sys.executable, "-m", "eventmill.cli", "dev", "model", "--json", *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert self.process.stdout is not None
        self.base_url: str = json.loads(self.process.stdout.readline())["base_url"]

    @property
    def url(self) -> str:
        """Its address without the API's path."""
        return self.base_url.removesuffix("/v1")

    def ledger(self) -> dict[str, Any]:
        """Its own account of the calls."""
        with urlopen(f"{self.url}/_ledger?entries=1", timeout=10) as answer:
            found: dict[str, Any] = json.load(answer)
        return found

    def stop(self) -> None:
        """End it."""
        self.process.terminate()
        self.process.wait(10)
        assert self.process.stdout is not None
        self.process.stdout.close()


class Scenario:
    """One pipeline on its own topics. Use it as a context manager: at the end no process of it is left."""

    def __init__(self, folder: Path, addresses: Addresses, name: str, pipeline: str, files: Mapping[str, str]) -> None:
        """Write the pipeline's files. `pipeline` is the text below `kafka:`; `{name}` in it is the scenario's name."""
        self.folder, self.addresses, self.name = folder, addresses, name
        for path, text in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text)
        self.file = folder / "pipeline.yaml"
        head = f"pipeline: {name}\nkafka: {{bootstrap: {addresses.bootstrap}, registry: '{addresses.registry}'}}\n"
        self.file.write_text(head + pipeline.replace("{name}", name))
        self.pipeline: Pipeline = load(self.file, {})
        self.model: ModelServer | None = None
        self.fleet: Fleet | None = None
        self.workers: list[WorkerProcess] = []

    def __enter__(self) -> Self:
        """Give the scenario."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the workers and the model."""
        if self.fleet is not None:
            self.fleet.stop(20)
        for worker in self.workers:
            worker.kill()
        if self.model is not None:
            self.model.stop()

    def topics(self, stage: str) -> Any:
        """Return the names of a stage's topics."""
        described = self.pipeline.stage(stage)
        return stage_topics(self.pipeline.name, described.name, described.topics)

    def create(
        self, partitions: int = 8, inputs: Sequence[str] = (), input_config: Mapping[str, str] | None = None
    ) -> None:
        """Create all topics, and register the schemas of results and costs."""
        specs = [TopicSpec(topic, partitions, input_config or {}) for topic in inputs]
        for stage in self.pipeline.stages:
            specs += topic_specs(self.topics(stage.name), partitions, input_max_message_bytes=LARGEST)
        Topics({"bootstrap.servers": self.addresses.bootstrap}).create(specs)

        async def register() -> None:
            registry = SchemaRegistry(self.addresses.registry)
            for stage in self.pipeline.stages:
                topics, schema = self.topics(stage.name), published(stage.result.avro, stage.result.file)
                await registry.register(subject(topics.results), schema_text(schema))
                await registry.register(subject(topics.costs), cost_event_schema())
            await registry.close()

        asyncio.run(register())

    def writer(self, topic: str, schema: str) -> AvroWriter:
        """Register an input schema and return the encoder of its values."""

        async def register() -> int:
            registry = SchemaRegistry(self.addresses.registry)
            schema_id = await registry.register(subject(topic), schema)
            await registry.close()
            return schema_id

        return AvroWriter(schema, asyncio.run(register()))

    def produce(self, topic: str, records: Iterable[tuple[bytes | None, bytes | None]]) -> None:
        """Produce (key, value) pairs in order, as Java clients would choose their partitions."""
        self._send(topic, ((key, value, []) for key, value in records), {})

    def put(self, topic: str, partition: int, records: Iterable[Put]) -> None:
        """Produce (key, value, headers) to one partition, in order."""
        self._send(topic, records, {"partition": partition})

    def _send(self, topic: str, records: Iterable[Put], place: Mapping[str, int]) -> None:
        failed = []
        producer = Producer(
            {
                "bootstrap.servers": self.addresses.bootstrap,
                "enable.idempotence": True,
                "partitioner": "murmur2_random",
                "message.max.bytes": 2 * LARGEST,   # the topic's limit decides
            }
        )
        for key, value, headers in records:
            producer.produce(
                topic,
                value,
                key,
                headers=list(headers),
                on_delivery=lambda error, _: failed.append(error) if error else None,
                **place,
            )
            producer.poll(0)
        assert producer.flush(30) == 0
        assert not failed, failed[0]

    def start(self, stages: Mapping[str, int], *options: str, environ: Mapping[str, str] | None = None) -> Fleet:
        """Start workers; their logs go to the scenario's folder."""
        environ = {**self._environ(), **(environ or {})}
        self.fleet = Fleet(self.file, stages, self.folder / "logs", self._said, options, environ)
        self.fleet.start()
        return self.fleet

    def worker(self, stage: str, *options: str, environ: Mapping[str, str] | None = None) -> WorkerProcess:
        """Start one worker that nobody restarts."""
        log = self.folder / "logs" / f"{stage}-{len(self.workers)}.log"
        worker = WorkerProcess(stage, self.file, log, options, {**self._environ(), **(environ or {})})
        self.workers.append(worker)
        return worker

    def _environ(self) -> dict[str, str]:
        return {} if self.model is None else {"OPENAI_BASE_URL": self.model.base_url, "OPENAI_API_KEY": KEY}

    def wait(self, done: Callable[[], bool], seconds: float) -> None:
        """Watch the workers until `done`; fail with their logs after `seconds`."""
        end = time.monotonic() + seconds
        while not done():
            assert time.monotonic() < end, f"not done after {seconds} s\n{self.logs()}"
            if self.fleet is not None:
                self.fleet.watch()
                assert not self.fleet.failed, self.logs()
            time.sleep(0.2)

    def count(self, *topics: str) -> int:
        """Count the committed records of topics: offsets are not enough, markers and aborted records have some too."""
        return len(self.read(*topics))

    def read(self, *topics: str) -> list[Message]:
        """Return the committed records of topics."""
        consumer = Consumer(
            {
                "bootstrap.servers": self.addresses.bootstrap,
                "group.id": "counting",
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "fetch.message.max.bytes": 2 * LARGEST,
            }
        )
        found: list[Message] = []
        ended: set[tuple[str | None, int | None]] = set()
        known = {topic: consumer.list_topics(topic, 10).topics[topic].partitions for topic in topics}
        partitions = [TopicPartition(topic, partition, 0) for topic in topics for partition in known[topic]]
        consumer.assign(partitions)
        while len(ended) < len(partitions):
            for message in consumer.consume(1000, 1.0):
                if message.error():
                    ended.add((message.topic(), message.partition()))
                else:
                    found.append(message)
        consumer.close()
        return found

    def settled(self, stage: str) -> int:
        """Count the results and dead letters of a stage."""
        topics = self.topics(stage)
        return self.count(topics.results, topics.dlq)

    def check(self, stage: str, expect: Expect, prices: Mapping[str, Rate] | None = None) -> Report:
        """Let the independent checker judge a stage."""
        topics = self.topics(stage)
        return check(
            self.addresses.bootstrap,
            self.addresses.registry,
            StageTopics(self.pipeline.stage(stage).inputs, topics.results, topics.costs, topics.dlq),
            ledger_url=self.model.url if self.model is not None and prices else None,
            prices=prices,
            expect=expect,
        )

    def logs(self) -> str:
        """Return the end of every worker's log, and what it says of itself."""
        files = sorted((self.folder / "logs").glob("*.log"))
        texts = {file.name: file.read_text(errors="replace") for file in files}
        return "\n".join(f"== {name}\n{text[-3000:]}\n{_health(text)}" for name, text in texts.items())

    def _said(self, text: str) -> None:
        with (self.folder / "fleet.txt").open("a") as file:
            file.write(text + "\n")


def _health(log: str) -> str:
    """Ask the worker that wrote `log` how it is."""
    addresses = re.findall(r'"health": "([^"]+)"', log)
    if not addresses:
        return "never listened"
    try:
        with urlopen(f"{addresses[-1]}/healthz", timeout=5) as answer:
            return str(answer.read().decode())
    except OSError as error:
        return f"no answer from {addresses[-1]}: {error}"
