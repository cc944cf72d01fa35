"""The workers of a pipeline as child processes: started, watched, restarted, stopped together.

For one machine: development, the demo, a small server. On a cluster its scheduler does this.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from eventmill_schemas.pipeline import Pipeline

USAGE_EXIT = 2
"""What a worker exits with when the user must mend something: starting it again would not help."""

_STEADY = 30.0
"""Seconds after which a worker that ran is taken for healthy: its next restart is quick again."""

_LONGEST_PAUSE = 30.0


@dataclass(slots=True)
class Member:
    """One worker: stage, slot, and its process while it has one."""

    stage: str
    slot: int
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    restarts: int = 0
    restart_at: float | None = None
    log: Path | None = None
    failed: bool = field(default=False)

    @property
    def name(self) -> str:
        """Stage and slot."""
        return f"{self.stage}.{self.slot}"


class Fleet:
    """Runs `replicas` workers of each stage. `logs` None lets their logs through to this process's stderr."""

    def __init__(
        self,
        pipeline: Path,
        stages: Mapping[str, int],
        logs: Path | None,
        say: Callable[[str], None],
        arguments: Iterable[str] = (),
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self.members = [Member(stage, slot) for stage, count in stages.items() for slot in range(count)]
        self._pipeline = pipeline
        self._logs = logs
        self._say = say
        self._arguments = tuple(arguments)
        self._environ = {**os.environ, **(environ or {})}

    def start(self) -> None:
        """Start every worker."""
        for member in self.members:
            self._spawn(member)

    def watch(self) -> None:
        """Restart what has ended, later each time; call it often. A worker that says it was used wrongly stays down."""
        now = time.monotonic()
        for member in self.members:
            process = member.process
            if process is not None and process.poll() is not None:
                self._ended(member, process.returncode, now)
            if member.restart_at is not None and now >= member.restart_at:
                member.restart_at = None
                member.restarts += 1
                self._spawn(member)

    @property
    def failed(self) -> list[Member]:
        """The workers that will not be started again."""
        return [member for member in self.members if member.failed]

    def stop(self, seconds: float) -> None:
        """Ask all to drain and leave, wait at most `seconds`, then end what is left."""
        running = [m.process for m in self.members if m.process is not None and m.process.poll() is None]
        for process in running:
            process.send_signal(signal.SIGTERM)
        end = time.monotonic() + seconds
        for process in running:
            try:
                process.wait(max(0.1, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for member in self.members:
            member.process, member.restart_at = None, None

    def _spawn(self, member: Member) -> None:
        command = [sys.executable, "-m", "eventmill.cli", "worker", member.stage, "--pipeline", str(self._pipeline)]
        command += ["--slot", str(member.slot), "--parent", str(os.getpid()), *self._arguments]
        member.started = time.monotonic()
        log: IO[bytes] | None = None
        if self._logs is not None:
            self._logs.mkdir(parents=True, exist_ok=True)
            member.log = self._logs / f"{member.name}.log"
            log = member.log.open("ab")
        try:
            # A session of its own: Ctrl-C reaches this process, which then lets the workers drain.
            member.process = subprocess.Popen(  # noqa: S603 - our own command
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self._environ, start_new_session=True
            )
        finally:
            if log is not None:
                log.close()

    def _ended(self, member: Member, code: int, now: float) -> None:
        member.process = None
        if code == USAGE_EXIT:
            member.failed = True
            self._say(f"worker {member.name} can't run{_last_line(member.log)}")
            return
        if now - member.started > _STEADY:
            member.restarts = 0
        pause = min(_LONGEST_PAUSE, 0.5 * 2 ** min(member.restarts, 10))
        member.restart_at = now + pause
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        self._say(f"worker {member.name} ended ({how}); starting it again in {pause:g} s{_last_line(member.log)}")


def replicas(pipeline: Pipeline, wanted: Mapping[str, int]) -> dict[str, int]:
    """Return the number of workers of each stage: 1, unless `wanted` says otherwise."""
    return {stage.name: wanted.get(stage.name, 1) for stage in pipeline.stages}


def _last_line(log: Path | None) -> str:
    if log is None:
        return ""
    with log.open("rb") as lines:
        lines.seek(max(0, log.stat().st_size - 2000))
        text = lines.read().decode(errors="replace").strip().splitlines()
    return f":\n  {chr(10).join(text[-2:])}\n  (more in {log})" if text else ""
