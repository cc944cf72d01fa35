"""The loop of a production: read, encode, hand over, count, and stop where it must."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from eventmill.produce.encode import Encoded, Encoder, Unfit
from eventmill.produce.interrupt import Interrupts
from eventmill.produce.options import Options
from eventmill.produce.report import Progress, Skipped
from eventmill.produce.rows import BadRow, Row
from eventmill.produce.send import Sender
from eventmill.produce.source import LINES, Reader, Source
from eventmill.produce.target import Target
from eventmill_schemas.dead_letter import record_size
from eventmill_schemas.errors import KafkaUnreachable, SetupError, UsageError

_POLL_EVERY = 256   # events; a poll takes in all acknowledgements that are there
_TELL_EVERY = 0.2
"""Seconds between two reports of progress."""

_GIVE_UP = 5.0
"""Seconds that acknowledgements on their way get after a failure or Ctrl-C."""


@dataclass(frozen=True, slots=True)
class Listeners:
    """Who is told how it goes."""

    progress: Callable[[Progress], None]
    skipped: Callable[[Skipped], None]


class Run:
    """Produces all rows of an open `reader`, and again as often as the options say. Used once."""

    def __init__(
        self, source: Source, reader: Reader, encoder: Encoder, sender: Sender, target: Target, options: Options
    ) -> None:
        self._source = source
        self._reader = reader
        self._encoder = encoder
        self._sender = sender
        self._target = target
        self._options = options
        self._listeners = Listeners(lambda _: None, lambda _: None)
        self._interrupts = Interrupts()
        self._started = time.monotonic()
        self._told = 0.0
        self._repetition = 1
        self._line = source.skip_lines
        self.sent = 0
        self.skipped = 0
        self.without_key = 0

    def complete(self, listeners: Listeners) -> float:
        """Produce everything and wait for all acknowledgements. Return the seconds it took.

        After KeyboardInterrupt what was on its way is acknowledged or dropped, and the listeners know how far it went.
        Raises InputFileError, KafkaUnreachable, SetupError and UsageError; they say what was produced and how to go on.
        """
        self._listeners = listeners
        with self._interrupts:
            try:
                self._all()
            except KeyboardInterrupt:
                self._give_up()
                raise
        return time.monotonic() - self._started

    def _all(self) -> None:
        while True:
            before = self.sent
            if self._once():
                break
            if self._repetition == self._options.repeat and self._options.events is None:
                break
            self._check_repeatable(self.sent - before)
            self._repetition += 1
            self._reader.open()
            self._reader.begin(lambda _: None)   # checked at the first time
        self._settle()

    def _give_up(self) -> None:
        if not self._sender.wait(_GIVE_UP):
            self._sender.give_up(_GIVE_UP)
        self._tell()

    def _once(self) -> bool:
        """Produce the file's rows; whether that is all that was asked for."""
        rows = iter(self._reader.rows())
        while (row := self._interrupts.at_once(next, rows, None)) is not None:
            if isinstance(row, BadRow):
                self._bad(row)
            else:
                self._produce(row)
                if self.sent == self._options.events:
                    return True
            self._line = row.last_line
        return False

    def _produce(self, row: Row) -> None:
        try:
            record = self._encoder.encode(row, self._repetition)
        except Unfit as unfit:
            self._bad(BadRow(row.line, row.last_line, str(unfit), text_line=row.text_line))
            return
        if (too_large := self._too_large(record)) is not None:
            self._bad(BadRow(row.line, row.last_line, too_large, text_line=row.text_line))
            return
        if self._options.rate is not None:
            self._pace(self._options.rate)
        while not self._sender.send(row.line, record):
            self._interrupts.check()
            self._tell_sometimes()
        if self._sender.failed_line is not None:
            self._fail()
        self.sent += 1
        self.without_key += record.key is None
        if self.sent % _POLL_EVERY == 0:
            self._sender.poll()
            self._tell_sometimes()

    def _too_large(self, record: Encoded) -> str | None:
        if not record.headers and 2 * (len(record.value) + len(record.key or b"")) < self._target.max_bytes:
            return None   # most records: not worth exact arithmetic
        headers = [(name, value.encode() if isinstance(value, str) else value) for name, value in record.headers]
        size = record_size(record.key, record.value, headers)
        if size <= self._target.max_bytes:
            return None
        return (
            f"the record has {size:,} bytes, the topic {self._target.topic} takes {self._target.max_bytes:,} "
            "(max.message.bytes)"
        )

    def _pace(self, rate: float) -> None:
        due = self._started + self.sent / rate
        while (left := due - time.monotonic()) > 0:
            self._interrupts.check()
            self._sender.poll(min(left, 0.1))
            self._tell_sometimes()

    def _bad(self, row: BadRow) -> None:
        if self._options.skip_bad and not row.final:
            if self._repetition == 1:
                self.skipped += 1 if self._source.unit == LINES else row.last_line - row.line + 1
                place = self._source.place(row.line, row.text_line)
                self._listeners.skipped(Skipped(place, row.line, row.last_line, row.reason))
            return
        self._settle()
        raise self._source.error(row, self._advice(row))

    def _advice(self, row: BadRow) -> str:
        parts = [row.remedy] if row.remedy else []
        parts.append(self._produced())
        if self._repetition == 1 and not (row.final and self._source.unit != LINES):
            skip = self._source.skip_option
            again = f"Correct it and go on with `{skip} {row.line - 1}`" if row.line > 1 else "Correct it"
            every = "" if row.final else f" (`--on-error skip` leaves out every such {self._source.unit})"
            parts.append(f"{again}, or leave it out with `{skip} {row.last_line}`{every}")
        return ". ".join(parts)

    def _produced(self) -> str:
        count = self._sender.acknowledged
        if count == 0:
            return f"Nothing was produced to {self._target.topic}"
        what = "1 event before it is" if count == 1 else f"{count:,} events before it are"
        return f"{what} in {self._target.topic}"

    def _settle(self) -> None:
        """Wait until everything is acknowledged."""
        while not self._sender.wait(_TELL_EVERY):
            self._interrupts.check()
            self._tell()
            if self._sender.failed_line is not None:
                break
        if self._sender.failed_line is not None:
            self._fail()
        self._tell()

    def _fail(self) -> None:
        self._sender.give_up(_GIVE_UP)
        self._tell()
        line, count = self._sender.failed_line or 1, self._sender.acknowledged
        message = f"{self._source.place(line)}: the event was not produced: {self._sender.failure}"
        remedy = f"{count:,} events are in {self._target.topic}. "
        if self._repetition == 1:
            skip = f"`{self._source.skip_option} {line - 1}`"
            remedy += f"Go on with {skip}: later events that are there already come a second time"
        else:
            remedy += "Run it again: the events have the same ids"
        raise (KafkaUnreachable if self._sender.timed_out else SetupError)(message, remedy=remedy)

    def _check_repeatable(self, produced: int) -> None:
        if produced == 0:
            self._settle()
            raise UsageError(f"{self._source.name} has no events to repeat")
        if not self._source.is_rereadable:
            self._settle()
            wanted = self._options.events or 0
            raise UsageError(
                f"{self._source.name} ended after {self.sent:,} of {wanted:,} events, and can't be read again",
                remedy=f"The {self.sent:,} are in {self._target.topic}; only a file can be repeated",
            )

    def _tell_sometimes(self) -> None:
        now = time.monotonic()
        if now - self._told >= _TELL_EVERY:
            self._tell()

    def _tell(self) -> None:
        self._told = time.monotonic()
        sender = self._sender
        line = self._line if sender.failed_line is None else sender.failed_line - 1
        self._listeners.progress(
            Progress(
                self.sent,
                sender.acknowledged,
                self.skipped,
                line,
                self._told - self._started,
                self._fraction(),
                sender.is_cut_off,
            )
        )

    def _fraction(self) -> float | None:
        if self._options.events is not None:
            return self.sent / self._options.events
        read = self._reader.fraction
        return None if read is None else (self._repetition - 1 + read) / self._options.repeat
