"""Where a stack answers: the addresses that the rest of eventmill, its tests and benchmarks are given."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from eventmill_schemas.errors import SetupError

VARIABLES = {"bootstrap": "EVENTMILL_KAFKA", "registry": "EVENTMILL_REGISTRY", "postgres": "EVENTMILL_POSTGRES"}
CONNECT_VARIABLE = "EVENTMILL_CONNECT"


@dataclass(frozen=True)
class Addresses:
    """Addresses of one stack, local or external.

    `bootstrap` is Kafka's `host:port[,host:port]`, `registry` the base URL of a Confluent-compatible schema registry,
    `postgres` a `postgresql://` URL, `connect` the base URL of a worker of Kafka Connect, None where there is none. The
    last two may hold a password and are therefore not in `repr`.
    """

    bootstrap: str
    registry: str
    postgres: str = field(repr=False)
    connect: str | None = field(default=None, repr=False)


def addresses_from_environment(environment: Mapping[str, str] | None = None) -> Addresses | None:
    """Return the external stack named by EVENTMILL_KAFKA, EVENTMILL_REGISTRY and EVENTMILL_POSTGRES, or None.

    EVENTMILL_CONNECT may name a worker of Kafka Connect beside them.

    Raises SetupError if only some of the three are set: half a stack is nearly always a forgotten variable.
    """
    environment = os.environ if environment is None else environment
    found = {name: environment.get(variable, "") for name, variable in VARIABLES.items()}
    missing = [VARIABLES[name] for name, value in found.items() if not value]
    if len(missing) == len(VARIABLES):
        return None
    if missing:
        present = [VARIABLES[name] for name, value in found.items() if value]
        raise SetupError(
            f"{' and '.join(present)} {'is' if len(present) == 1 else 'are'} set, {' and '.join(missing)} not",
            remedy="Set all three to use an external stack, or none of them to use the local one",
        )
    return Addresses(**found, connect=environment.get(CONNECT_VARIABLE) or None)
