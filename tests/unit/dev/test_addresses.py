"""Which servers the environment names."""

from itertools import combinations

import pytest

from eventmill.dev.addresses import Addresses, addresses_from_environment
from eventmill_schemas.errors import SetupError

ALL = {"EVENTMILL_KAFKA": "k:9092", "EVENTMILL_REGISTRY": "http://r", "EVENTMILL_POSTGRES": "postgresql://u:pw@p/d"}


def test_all_three_variables_name_an_external_stack() -> None:
    """The values are taken as they are."""
    assert addresses_from_environment(ALL) == Addresses("k:9092", "http://r", "postgresql://u:pw@p/d")


@pytest.mark.parametrize("environment", [{}, dict.fromkeys(ALL, "")])
def test_no_variable_or_empty_ones_name_none(environment: dict[str, str]) -> None:
    """An empty variable, as CI systems set it for a secret that is not there, counts as not set."""
    assert addresses_from_environment(environment) is None


@pytest.mark.parametrize("present", [set(names) for count in (1, 2) for names in combinations(ALL, count)])
def test_some_of_them_are_an_error_that_names_the_others(present: set[str]) -> None:
    """Half a stack is a forgotten variable: the message says which."""
    with pytest.raises(SetupError) as caught:
        addresses_from_environment({name: ALL[name] for name in present})
    _, _, missing = caught.value.message.partition(" set, ")
    assert {name for name in ALL if name in missing} == set(ALL) - present


def test_a_worker_of_connect_may_be_named_beside_them() -> None:
    """It is no part of every stack; alone it names none."""
    found = addresses_from_environment({**ALL, "EVENTMILL_CONNECT": "http://c:8083"})
    assert found is not None
    assert found.connect == "http://c:8083"
    assert addresses_from_environment({"EVENTMILL_CONNECT": "http://c:8083"}) is None


def test_the_password_is_not_in_repr() -> None:
    """Addresses may be logged."""
    assert "pw" not in repr(Addresses("k:9092", "http://r", "postgresql://u:pw@p/d", "http://u:pw@c"))
