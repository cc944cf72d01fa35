"""The schema registry for callers that block, also inside an event loop such as a notebook's."""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from eventmill_connectors.registry import SchemaRegistry
from eventmill_schemas.codec import AvroReader

T = TypeVar("T")


class BlockingRegistry:
    """Asks one registry from an event loop of its own, in a thread of its own."""

    def __init__(self, url: str) -> None:
        self._registry = SchemaRegistry(url)
        self._thread = ThreadPoolExecutor(1, "eventmill-registry")
        self._runner = asyncio.Runner()   # makes its loop where it first runs: in the thread

    def ask(self, question: Callable[[SchemaRegistry], Awaitable[T]]) -> T:
        """Return the registry's answer; raises what the question raises."""

        async def answer() -> T:
            return await question(self._registry)

        return self._thread.submit(lambda: self._runner.run(answer())).result()

    def reader(self, schema_id: int) -> AvroReader:
        """Return the reader of a schema, asking for each once. Raises Undecodable, RegistryUnreachable."""
        return self._registry.known(schema_id) or self.ask(lambda registry: registry.schema(schema_id))

    def close(self) -> None:
        """Close the connections. May be called twice."""
        try:
            self.ask(lambda registry: registry.close())
            self._thread.submit(self._runner.close).result()
        except RuntimeError:   # closed before
            return
        self._thread.shutdown()
