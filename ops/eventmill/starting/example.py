"""The example that a pipeline begins with where no topic is named: tickets to the support of two shops."""

import json
from importlib.resources import files

from eventmill.starting.events import Events
from eventmill_schemas.pipeline import Format

TOPIC = "tickets"
EVENTS_FILE = "tickets.jsonl"

_FOLDER = files(__package__).joinpath("example")


def example() -> Events:
    """Return what is known of the example's events."""
    lines = _text(EVENTS_FILE).splitlines()
    return Events(TOPIC, Format.AVRO, json.loads(_text("ticket.avsc")), [json.loads(line) for line in lines], None)


def example_files() -> dict[str, str]:
    """Return the files that only the example has, by path: its events, and texts with labels."""
    return {EVENTS_FILE: _text(EVENTS_FILE), "labels.csv": _text("labels.csv")}


def _text(name: str) -> str:
    return _FOLDER.joinpath(name).read_text("utf-8")
