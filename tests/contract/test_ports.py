"""Whoever satisfies a port has its methods, with the parameters that callers use."""

import inspect
from typing import Any

import pytest

from eventmill_agents.ports import ChatModels, Gate, LocalModels, Prices, Step, VectorStores
from eventmill_agents.steps.classify import Classify
from eventmill_agents.steps.complete import Complete
from eventmill_agents.steps.embed import Embed
from eventmill_agents.steps.infer import Infer
from eventmill_agents.steps.python import Python
from eventmill_agents.steps.retrieve import Retrieve
from eventmill_agents.steps.when import When
from eventmill_connectors.chat.clients import ChatClients
from eventmill_connectors.onnx.local_models import OnnxModels
from eventmill_connectors.postgres.stores import PgVectorStores
from eventmill_connectors.pricing import PriceList
from eventmill_connectors.testing import FixedPrices, ScriptedChat, VectorsInMemory, WordModels
from eventmill_streams.doors import EventGate


def methods(port: type[Any]) -> dict[str, Any]:
    """Return the public methods that a port declares."""
    return {name: member for name, member in vars(port).items() if inspect.isfunction(member) and name[0] != "_"}


@pytest.mark.parametrize(
    ("port", "part"),
    [
        (ChatModels, ChatClients),
        (ChatModels, ScriptedChat),
        (Prices, PriceList),
        (Prices, FixedPrices),
        (Gate, EventGate),
        (Step, Complete),
        (Step, Python),
        (Step, Classify),
        (Step, Embed),
        (Step, Infer),
        (Step, Retrieve),
        (Step, When),
        (LocalModels, OnnxModels),
        (LocalModels, WordModels),
        (VectorStores, PgVectorStores),
        (VectorStores, VectorsInMemory),
    ],
)
def test_part_takes_what_its_port_takes(port: type[Any], part: type[Any]) -> None:
    """Every method of the port is there, a coroutine where the port has one, with parameters of the same names."""
    declared = methods(port)
    assert declared
    for name, wanted in declared.items():
        found = getattr(part, name)
        assert inspect.iscoroutinefunction(found) == inspect.iscoroutinefunction(wanted)
        parameters = [
            [(parameter.name, parameter.kind) for parameter in inspect.signature(method).parameters.values()]
            for method in (wanted, found)
        ]
        assert parameters[0] == parameters[1]
