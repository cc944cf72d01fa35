"""The life of one worker process: start, run until told to stop, drain, leave."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import faust
import structlog
from aiokafka.errors import KafkaConnectionError

from eventmill_connectors.kafka.admin import unreachable
from eventmill_connectors.kafka.group_metadata import check_format
from eventmill_connectors.kafka.offsets import StableOffsets
from eventmill_connectors.kafka.settings import client_settings, consumer_settings
from eventmill_connectors.kafka.transaction import TransactionalProducer
from eventmill_schemas.errors import EventmillError, InvariantViolated
from eventmill_schemas.pipeline import Kafka
from eventmill_streams.app import FetchPosition, Membership, connect, create_app
from eventmill_streams.health import HealthServer
from eventmill_streams.metrics import Metrics
from eventmill_streams.replica import Processor, Replica
from eventmill_streams.slot import Identity
from eventmill_streams.takeover import Takeover
from eventmill_streams.window import Limits

_STOP_MARGIN = 15.0
"""Seconds beyond the drain that leaving the group and closing clients may take; then the process exits anyway."""

_SAME_SIGNAL = 1.0
"""Seconds in which a second signal counts as the first: who signals a process and its group reaches us twice."""

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """How this process runs; what it does is the pipeline's.

    `shutdown_timeout`: seconds that calls in flight get. `leave`: at the end the partitions go to others at
    once (scaling in), instead of waiting a session time-out for this slot to come back (a restart).
    """

    http_host: str = "127.0.0.1"
    http_port: int = 0
    shutdown_timeout: float = 30.0
    leave: bool = False
    membership: Membership = field(default_factory=Membership)


class Worker:
    """Runs one replica of a stage until a signal or a failure ends it."""

    def __init__(
        self,
        kafka: Kafka,
        inputs: tuple[str, ...],
        identity: Identity,
        limits: Limits,
        settings: WorkerSettings,
        largest_record: int,
        smallest_limit: int,
    ) -> None:
        self.metrics = Metrics()
        self._kafka = kafka
        self._inputs = inputs
        self._identity = identity
        self._limits = limits
        self._settings = settings
        self._largest_record = largest_record
        self._smallest_limit = smallest_limit
        self._stopping = asyncio.Event()
        self._failure: BaseException | None = None
        self._asked_at = 0.0

    async def run(self, processor: Processor, started: Callable[[str], None]) -> None:
        """Work until SIGTERM or SIGINT; `started` is called with the health address once the port listens.

        Raises what made going on impossible. A second signal ends the process at once.
        """
        check_format()
        client = client_settings(self._kafka, self._largest_record, self._smallest_limit)
        producer = TransactionalProducer(client, self._identity.transactional_id)
        offsets = StableOffsets(consumer_settings(self._kafka), self._identity.group)
        app = create_app(self._kafka, self._identity, self._settings.membership, self._largest_record)
        takeover = Takeover(producer, offsets, self.metrics)
        replica = Replica(self._limits, processor, takeover, FetchPosition(app), self.metrics, self._fail)
        connect(
            app,
            self._inputs,
            replica,
            self._identity,
            drain_seconds=self._settings.shutdown_timeout,
            leave=self._settings.leave,
        )
        server = HealthServer(replica, self.metrics, self._settings.http_host, self._settings.http_port)
        self._handle_signals()
        await server.start()
        try:
            started(server.address or "")
            replica.begin()
            await self._run_app(app)
        finally:
            replica.stop()
            producer.close()
            offsets.close()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(server.stop(), 2)
        if self._failure is not None:
            raise self._failure

    async def _run_app(self, app: faust.App) -> None:
        starting, watch = asyncio.create_task(app.start()), asyncio.create_task(self._watch(app))
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not starting.done():
                _log.warning("stopped before Kafka had answered")
                return
            await starting
            await stopping
            await self._leave(app)
        except KafkaConnectionError as error:
            raise unreachable(consumer_settings(self._kafka)) from error
        finally:
            for task in (starting, stopping, watch):
                task.cancel()

    async def _leave(self, app: faust.App) -> None:
        nothing_to_save = isinstance(self._failure, InvariantViolated)  # nothing of this process may be committed
        limit = _STOP_MARGIN + (0 if nothing_to_save else self._settings.shutdown_timeout)
        leaving = asyncio.create_task(app.stop())
        await asyncio.wait({leaving}, timeout=limit)  # not wait_for: it would wait for the end of what it cancels
        if leaving.done():
            await leaving
        else:
            _log.error("leaving the group took too long; exiting without it", seconds=limit)

    async def _watch(self, app: faust.App) -> None:
        """Notice when Faust ends by itself: a crashed service stops the app without telling anybody."""
        await app.wait_until_stopped()
        if not self._stopping.is_set():
            ended = EventmillError("the consumer stopped by itself")
            self._fail(app.crash_reason or ended)

    def _fail(self, error: BaseException) -> None:
        if self._failure is None:
            self._failure = error
            _log.error("stopping: going on is not possible", reason=str(error), kind=getattr(error, "kind", "bug"))
        self._stopping.set()

    def _handle_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signalled, number)

    def _signalled(self, number: int) -> None:
        now = time.monotonic()
        if self._stopping.is_set() and now - self._asked_at < _SAME_SIGNAL:
            return
        if self._stopping.is_set():
            _log.warning("second signal: exiting at once; what was not committed is repeated by the next owner")
            os._exit(128 + number)
        self._asked_at = now
        _log.info("stopping", signal=signal.Signals(number).name, drain_seconds=self._settings.shutdown_timeout)
        self._stopping.set()
