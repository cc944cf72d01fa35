"""What a process uses: CPU time over a stretch of time, and its largest memory."""

import re
import time
from bisect import bisect_left
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # psutil ships no types

_EVERY = 0.1
_MIB = 1 << 20


class Usage:
    """Samples the CPU time and the memory of a process. Call `sample` often; times are seconds since the epoch."""

    def __init__(self, process_id: int) -> None:
        self.peak_mib = 0.0
        self._process = psutil.Process(process_id)
        self._times: list[float] = []
        self._cpu: list[float] = []

    def sample(self) -> None:
        """Look, unless the last look was less than 0.1 s ago."""
        now = time.time()
        if self._times and now - self._times[-1] < _EVERY:
            return
        with self._process.oneshot():
            cpu, memory = self._process.cpu_times(), self._process.memory_info()
        self._times.append(now)
        self._cpu.append(cpu.user + cpu.system)
        self.peak_mib = max(self.peak_mib, (_kept_peak(self._process.pid) or memory.rss) / _MIB)

    def cpu_seconds(self, start: float, end: float) -> float:
        """Return the CPU time, user and system of all threads, between two times."""
        return self._at(end) - self._at(start)

    def _at(self, moment: float) -> float:
        """Return the CPU time at a moment, on the line between the samples around it."""
        place = min(max(bisect_left(self._times, moment), 1), len(self._times) - 1)
        (t0, t1), (c0, c1) = self._times[place - 1 : place + 1], self._cpu[place - 1 : place + 1]
        share = min(max((moment - t0) / (t1 - t0), 0.0), 1.0)
        return c0 + share * (c1 - c0)


def _kept_peak(process_id: int) -> int | None:
    """Return the largest resident memory in bytes that the kernel remembers; None where it does not (Linux does)."""
    try:
        found = re.search(r"(?m)^VmHWM:\s+(\d+) kB$", Path(f"/proc/{process_id}/status").read_text())
    except OSError:
        return None
    return int(found[1]) << 10 if found else None
