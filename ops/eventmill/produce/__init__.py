"""Producing files of events to a topic: `produce(kafka, topic, source(path), Options(...))`."""

from eventmill.produce.job import produce
from eventmill.produce.options import Options
from eventmill.produce.report import ProduceReport, Progress, Skipped
from eventmill.produce.source import FileFormat, Source, source

__all__ = ["FileFormat", "Options", "ProduceReport", "Progress", "Skipped", "Source", "produce", "source"]
