"""Testing a pipeline of your own in pytest: no Kafka, no registry, no network. `run_stage` says how."""

from eventmill.testing.replies import Replies, Reply, reply
from eventmill.testing.stage_run import Incoming, StageRun, run_stage, run_stage_async
from eventmill.trying.observed import Exchange
from eventmill.trying.trial import Call, Trial
from eventmill_connectors.testing import VectorsInMemory, WordModels

__all__ = [
    "Call",
    "Exchange",
    "Incoming",
    "Replies",
    "Reply",
    "StageRun",
    "Trial",
    "VectorsInMemory",
    "WordModels",
    "reply",
    "run_stage",
    "run_stage_async",
]
