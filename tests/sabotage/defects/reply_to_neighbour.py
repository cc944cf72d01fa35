"""Two calls that are in flight together get each other's replies, now and then."""

from typing import Any

from eventmill_connectors.chat.clients import ChatClients

_right = ChatClients.complete
_waiting: list[Any] = []


async def _swapped(self: ChatClients, model: Any, request: Any, timeout: float) -> Any:  # noqa: ASYNC109
    place: list[Any] = [request]
    _waiting.append(place)
    if len(_waiting) % 10 == 2:
        other = _waiting[-2]
        place[0], other[0] = other[0], place[0]
    try:
        import asyncio

        await asyncio.sleep(0.005)
        return await _right(self, model, place[0], timeout)
    finally:
        _waiting.remove(place)


ChatClients.complete = _swapped  # type: ignore[method-assign]
