"""Producing files of events to a topic: `produce(kafka, topic, file_source(path), Options(...))`."""

from eventmill.produce.job import produce
from eventmill.produce.options import Options
from eventmill.produce.report import ProduceReport, Progress, Skipped
from eventmill.produce.source import FileFormat, Source, file_source

__all__ = ["FileFormat", "Options", "ProduceReport", "Progress", "Skipped", "Source", "file_source", "produce"]
