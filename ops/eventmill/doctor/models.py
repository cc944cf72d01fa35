"""The models of a pipeline: keys, addresses and prices. No call is made."""

from collections.abc import Mapping

from eventmill.doctor.finding import Finding, fail, failed, ok, warn
from eventmill_connectors.chat.clients import ChatClients
from eventmill_connectors.pricing import PriceList
from eventmill_schemas.errors import UsageError
from eventmill_schemas.pipeline import ModelRef, Pipeline


def models(pipeline: Pipeline, environ: Mapping[str, str]) -> list[Finding]:
    """Judge every model that a route names, each once."""
    clients, found = ChatClients(environ=environ), []
    for model in dict.fromkeys(model for route in pipeline.routes.values() for model in route):
        try:
            clients.check([model])
        except UsageError as error:
            found.append(failed("models", error))
        else:
            found.append(ok("models", f"{model.provider} {model.model} at {clients.address(model)}"))
    return found


def prices(pipeline: Pipeline) -> list[Finding]:
    """Judge whether what the models cost will be known."""
    listed, found, known = PriceList(pipeline.prices), [], []
    for model in dict.fromkeys(model for route in pipeline.routes.values() for model in route):
        try:
            priced = listed.known(model.provider, model.model)
        except UsageError as error:
            found.append(failed("prices", error))
            continue
        if priced:
            known.append(model.model)
        else:
            found.append(_unpriced(model, allowed=pipeline.allow_unpriced))
    names = ", ".join(dict.fromkeys(known))
    return [*found, ok("prices", f"known for {names}")] if known else found


def _unpriced(model: ModelRef, *, allowed: bool) -> Finding:
    detail = f"the price of {model.model} is not known"
    if allowed:
        return warn("prices", f"{detail}: its costs will be unknown", "Give it under `prices`")
    return fail("prices", detail, "Give it under `prices`, or accept unknown costs by `allow_unpriced: true`")
