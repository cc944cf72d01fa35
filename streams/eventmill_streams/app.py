"""The Faust app of one stage: membership, subscription and fetch. It commits nothing and produces nothing."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faust
from aiokafka.errors import ConsumerStoppedError
from faust.exceptions import ConsumerNotStarted

from eventmill_schemas.pipeline import Kafka
from eventmill_streams import faust_internals
from eventmill_streams.lane import Partition
from eventmill_streams.replica import Replica
from eventmill_streams.security import credentials
from eventmill_streams.slot import Identity


@dataclass(frozen=True, slots=True)
class Membership:
    """Times of the group membership, in seconds. A dead member's partitions are back after `session`."""

    session: float = 10.0
    heartbeat: float = 3.0
    rebalance: float = 60.0
    request: float = 90.0


class FetchPosition:
    """The fetcher of a Faust app. Satisfies eventmill_streams.replica.Position.

    Raises ConnectionError also where the consumer is not running: before its start, and while the app stops.
    """

    def __init__(self, app: faust.App) -> None:
        self._app = app

    async def log_start(self, partition: Partition) -> int:
        """Return the first offset that retention has left."""
        with _running():
            return await faust_internals.log_start(self._app, partition)

    async def log_end(self, partition: Partition) -> int:
        """Return the offset of the next record to come."""
        with _running():
            return await faust_internals.log_end(self._app, partition)

    async def seek(self, partition: Partition, offset: int) -> None:
        """Read on from `offset`."""
        with _running():
            await faust_internals.seek(self._app, partition, offset)


@contextlib.contextmanager
def _running() -> Iterator[None]:
    try:
        yield
    except (ConsumerStoppedError, ConsumerNotStarted) as error:
        raise ConnectionError("the consumer is not running") from error


def create_app(kafka: Kafka, identity: Identity, times: Membership, largest_fetch: int) -> faust.App:
    """Return the app. `largest_fetch`: bytes of one partition's fetch, at least the largest record."""
    static = {"consumer_group_instance_id": identity.instance_id} if identity.instance_id else {}
    return faust.App(
        identity.group,
        broker="kafka://" + ";".join(part.strip() for part in kafka.bootstrap.split(",")),
        broker_credentials=credentials(kafka.client),
        broker_session_timeout=times.session,
        broker_heartbeat_interval=times.heartbeat,
        broker_rebalance_timeout=times.rebalance,
        broker_request_timeout=times.request,
        broker_max_poll_records=500,
        broker_max_poll_interval=86_400,  # aiokafka leaves the group when idle for longer: a long outage
        broker_commit_interval=60,  # there is never anything to commit
        consumer_auto_offset_reset="earliest",
        consumer_max_fetch_size=largest_fetch,
        key_serializer="raw",
        value_serializer="raw",
        topic_allow_declare=False,
        topic_disable_leader=True,
        table_standby_replicas=0,
        stream_wait_empty=False,
        web_enabled=False,
        datadir=str(Path(tempfile.gettempdir()) / f"eventmill-{os.getuid()}"),  # it writes nothing there
        **static,
    )


def connect(
    app: faust.App,
    inputs: tuple[str, ...],
    replica: Replica,
    identity: Identity,
    *,
    drain_seconds: float,
    leave: bool,
) -> None:
    """Let the app's agent and signals drive `replica`. `leave`: a static member gives its partitions up at the end."""
    faust_internals.install(replica)
    topic = app.topic(
        *inputs, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw", acks=False
    )

    async def intake(stream: Any) -> None:
        async for batch in stream.noack():
            replica.take(batch)

    async def assigned(_: Any, tps: Any, **__: Any) -> None:
        partitions = {(tp.topic, tp.partition) for tp in tps if tp.topic in inputs}
        replica.assigned(faust_internals.membership(app, identity.instance_id), partitions)

    async def revoked(*_: Any, **__: Any) -> None:
        await replica.revoked()

    async def before_shutdown(*_: Any, **__: Any) -> None:
        await replica.drain(drain_seconds)
        if leave:
            faust_internals.leave_on_stop(app)

    app.agent(topic, name="intake")(intake)
    app.on_partitions_assigned.connect(assigned, weak=False)
    app.on_partitions_revoked.connect(revoked, weak=False)
    app.on_before_shutdown.connect(before_shutdown, weak=False)
