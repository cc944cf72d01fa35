"""Which Kafka and registry a command talks to: what is given, else the pipeline's, else the environment's."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from eventmill.config import load
from eventmill_schemas.pipeline import Kafka, Pipeline

USUAL_FILE = Path("pipeline.yaml")
USUAL_KAFKA = "127.0.0.1:9092"
USUAL_REGISTRY = "http://127.0.0.1:8081"

PipelineOption = Annotated[
    Path | None,
    typer.Option("--pipeline", "-p", help="The pipeline file; pipeline.yaml is read where there is one."),
]
KafkaOption = Annotated[
    str | None, typer.Option("--kafka", metavar="HOST:PORT", help="Kafka's address, instead of the pipeline's.")
]
RegistryOption = Annotated[
    str | None, typer.Option("--registry", metavar="URL", help="The schema registry, instead of the pipeline's.")
]


def find_pipeline(file: Path | None, kafka: str | None = None) -> Pipeline | None:
    """Return the pipeline of `file`, or of pipeline.yaml in this folder; None where there is none.

    An address given instead leaves out a pipeline.yaml that nobody named: its credentials are for its own Kafka.
    Raises PipelineFileErrors.
    """
    if file is None and (kafka is not None or not USUAL_FILE.is_file()):
        return None
    return load(file or USUAL_FILE, os.environ)


def find_kafka(pipeline: Pipeline | None, kafka: str | None, registry: str | None) -> Kafka:
    """Return where to connect: what is given, else the pipeline's, else KAFKA and REGISTRY, else the usual places."""
    if pipeline is None:
        known = Kafka(os.environ.get("KAFKA") or USUAL_KAFKA, os.environ.get("REGISTRY") or USUAL_REGISTRY)
    else:
        known = pipeline.kafka
    return replace(known, bootstrap=kafka or known.bootstrap, registry=registry or known.registry)
