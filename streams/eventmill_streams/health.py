"""The worker's small HTTP port: /healthz (progress), /readyz (readiness), /metrics."""

import time
from dataclasses import asdict, dataclass

from aiohttp import web
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST, generate_latest

from eventmill_schemas.errors import SetupError
from eventmill_streams.lane import Lane
from eventmill_streams.metrics import Metrics
from eventmill_streams.replica import Replica
from eventmill_streams.settlement import Settlement

STUCK_AFTER = 120.0
"""Seconds in which finished events were not committed until the worker calls itself unhealthy; above every deadline."""


@dataclass(frozen=True, slots=True)
class LaneState:
    """One input partition: `frontier` is what is committed, `position` the next offset to look at."""

    partition: str
    open: bool
    frontier: int
    position: int
    at_work: int
    repairing: bool


@dataclass(frozen=True, slots=True)
class Health:
    """What a replica says of itself. `problems` empty: healthy."""

    ready: bool
    partitions: int
    in_flight: int
    unsettled: int
    doors_closed: tuple[str, ...]
    seconds_since_commit: float
    problems: tuple[str, ...]
    lanes: tuple[LaneState, ...]


def health(replica: Replica) -> Health:
    """Look at `replica`. A closed door is no problem of the worker: restarting it would help nobody."""
    now, window = time.monotonic(), replica.window
    outcomes = (work.outcome for lane in window.lanes.values() for work in lane.work.values())
    oldest = min((outcome.finished_at for outcome in outcomes if outcome is not None), default=now)
    problems = ("finished events can't be committed",) if now - oldest > STUCK_AFTER else ()
    return Health(
        ready=replica.ready,
        partitions=len(window.lanes),
        in_flight=window.running,
        unsettled=window.unsettled,
        doors_closed=replica.doors.closed,
        seconds_since_commit=round(now - replica.ticker.last_commit, 3),
        problems=problems,
        lanes=tuple(_lane_state(lane) for _, lane in sorted(window.lanes.items())),
    )


def _lane_state(lane: Lane[Settlement]) -> LaneState:
    settled = lane.settled
    return LaneState(
        partition="{}/{}".format(*lane.partition),
        open=settled is not None,
        frontier=-1 if settled is None else settled.frontier,
        position=-1 if settled is None else settled.position,
        at_work=len(lane.work),
        repairing=lane.repairing,
    )


class HealthServer:
    """Serves one worker's health on `host`:`port` (0: a free one; `address` says which)."""

    def __init__(self, replica: Replica, metrics: Metrics, host: str, port: int) -> None:
        self._replica = replica
        self._metrics = metrics
        self._host = host
        self._port = port
        self._runner: web.AppRunner | None = None
        self.address: str | None = None

    async def start(self) -> None:
        """Listen. Raises SetupError where the port is taken."""
        app = web.Application()
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._serve_metrics)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self._port)
        try:
            await site.start()
        except OSError as error:
            raise SetupError(
                f"the worker's HTTP port {self._host}:{self._port} can't be used: {error.strerror}",
                remedy="Choose another with --http-port, or 0 for a free one",
            ) from error
        host, port = self._runner.addresses[0][:2]
        self.address = f"http://{host}:{port}"

    async def stop(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _healthz(self, _: web.Request) -> web.Response:
        state = health(self._replica)
        return _response(state, 503 if state.problems else 200)

    async def _readyz(self, _: web.Request) -> web.Response:
        state = health(self._replica)
        return _response(state, 200 if state.ready else 503)

    async def _serve_metrics(self, _: web.Request) -> web.Response:
        body = generate_latest(self._metrics.registry)  # type: ignore[no-untyped-call]  # the library's
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})


def _response(state: Health, status: int) -> web.Response:
    return web.json_response(asdict(state), status=status)
