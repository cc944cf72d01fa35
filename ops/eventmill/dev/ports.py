"""Ports of the local stack: free ones on the loopback interface, kept from one start to the next."""

import random
import socket
from collections.abc import Collection

LOOPBACK = "127.0.0.1"

# Tried first, so that a pipeline file written for a usual Kafka works unchanged with the first local stack.
USUAL = {"kafka": 9092, "controller": 9093, "registry": 8081, "management": 9000, "postgres": 5432, "connect": 8083}

# Below the range that systems hand out for outgoing connections (32768 on Linux), above the registered services.
_LOWEST, _HIGHEST = 20000, 32000


def is_free(port: int) -> bool:
    """Whether a server could listen on this port of the loopback interface now.

    Connections that linger in TIME_WAIT don't count: the servers set SO_REUSEADDR as well.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
            probe.listen(1)
        except OSError:
            return False
    return True


def choose(preferred: int | None = None, *, taken: Collection[int] = ()) -> int:
    """Return a free port: the preferred one if it is free, else one at random.

    `taken` names ports that were promised to others and are not open yet.
    """
    if preferred is not None and preferred not in taken and is_free(preferred):
        return preferred
    while True:
        port = random.randint(_LOWEST, _HIGHEST)
        if port not in taken and is_free(port):
            return port
