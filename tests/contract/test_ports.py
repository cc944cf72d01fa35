"""Whoever satisfies a port has its methods, with the parameters that callers use."""

import inspect
from typing import Any

import pytest

from eventmill_agents.ports import ChatModels, Gate, Prices, Step
from eventmill_agents.steps.complete import Complete
from eventmill_agents.steps.python import Python
from eventmill_connectors.chat.clients import ChatClients
from eventmill_connectors.pricing import PriceList
from eventmill_connectors.testing import FixedPrices, ScriptedChat
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
