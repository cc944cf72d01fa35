"""Who will answer: a real model, which is paid for, or the stand-in of this machine."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_address
from urllib.parse import urlsplit

import httpx

from eventmill.dev.model.server import MARK
from eventmill_connectors.chat.clients import ChatClients
from eventmill_schemas.pipeline import CompleteStep, ModelRef, Pipeline, PythonStep, Stage

_LOOK = 2.0
"""Seconds that a server of this machine gets to say what it is."""


@dataclass(frozen=True, slots=True)
class Answering:
    """A model of a stage, and the server that answers for it. `address` None: the stand-in in this process."""

    model: ModelRef
    address: str | None
    is_stand_in: bool

    def line(self) -> str:
        """Say it to a person."""
        if self.is_stand_in:
            place = "in this process" if self.address is None else f"at {self.address}"
            return f"{self.model.model}: the stand-in {place}; no model answers, and nobody pays the amounts shown"
        return f"{self.model.model}: {self.model.provider} at {self.address}; calls cost money"


def models_of(pipeline: Pipeline, stage: Stage) -> list[ModelRef]:
    """Return the models that the stage's `complete` steps ask, each once."""
    routes = dict.fromkeys(step.route for step in stage.steps if isinstance(step, CompleteStep))
    return list(dict.fromkeys(model for route in routes for model in pipeline.routes[route]))


def answering(pipeline: Pipeline, stage: Stage, environ: Mapping[str, str]) -> list[Answering]:
    """Return who answers for the stage's models. Python steps may ask any route: then all of them are named.

    A server of this machine is asked what it is, for two seconds at most. Raises UsageError for a model that can't be
    asked, such as one without a key.
    """
    clients = ChatClients(environ=environ)
    asked = models_of(pipeline, stage)
    clients.check(asked)
    if any(isinstance(step, PythonStep) for step in stage.steps):
        asked = list(dict.fromkeys([*asked, *(model for route in pipeline.routes.values() for model in route)]))
    addresses = {model: clients.address(model) for model in asked}
    stand_ins = {address for address in set(addresses.values()) if _is_stand_in(address)}
    return [Answering(model, address, address in stand_ins) for model, address in addresses.items()]


def at_stand_in(pipeline: Pipeline) -> Pipeline:
    """Return the pipeline with all models where the environment says, so that a stand-in can be put there."""
    routes: Mapping[str, Sequence[ModelRef]] = pipeline.routes
    return replace(
        pipeline,
        routes={name: tuple(replace(model, base_url=None) for model in models) for name, models in routes.items()},
    )


def _is_stand_in(address: str) -> bool:
    if not _is_here(urlsplit(address).hostname or ""):
        return False
    try:
        return MARK in httpx.get(f"{address}/models", timeout=_LOOK, trust_env=False).headers
    except httpx.HTTPError:
        return False   # the first call says what is wrong with it


def _is_here(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
