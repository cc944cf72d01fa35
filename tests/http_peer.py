"""An HTTP server that answers what a test tells it to, byte for byte."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import NamedTuple


class Received(NamedTuple):
    """One request as it arrived. Header names are in lower case; `connection` counts from 1."""

    line: str
    headers: dict[str, str]
    body: bytes
    connection: int


Play = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Scene = bytes | Play


async def close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Close the connection without a byte."""
    writer.close()


async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Reset the connection without a byte."""
    writer.transport.abort()


async def silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Say nothing until the client goes away."""
    await reader.read()


def cut(raw: bytes) -> Play:
    """Send `raw` and close."""

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(raw)
        await writer.drain()
        writer.close()

    return play


class Peer:
    """An HTTP/1.1 server with a script: one scene for each request, the last of them for all that follow."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.connections = 0
        self._scenes: list[Scene] = []
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()

    @property
    def base_url(self) -> str:
        """The address that clients are given."""
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"

    def play(self, *scenes: Scene) -> None:
        """Set the script anew."""
        self._scenes = list(scenes)

    def answer(self, body: bytes, status: str = "200 OK", headers: str = "", length: int | None = None) -> None:
        """Set the script to one answer."""
        self.play(http(body, status, headers, length))

    async def start(self) -> None:
        """Listen on a free port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)

    async def stop(self) -> None:
        """Close everything."""
        assert self._server is not None
        self._server.close()
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        self.connections += 1
        connection = self.connections
        try:
            while (request := await _request(reader, connection)) is not None:
                self.received.append(request)
                scene = self._scenes.pop(0) if len(self._scenes) > 1 else self._scenes[0]
                if isinstance(scene, bytes):
                    writer.write(scene)
                else:
                    await scene(reader, writer)
                if writer.is_closing():
                    return
        except (ConnectionError, asyncio.CancelledError):
            return
        finally:
            self._open.discard(task)
            writer.close()


def http(body: bytes, status: str = "200 OK", headers: str = "", length: int | None = None) -> bytes:
    """Return an HTTP response; `length` is the content-length it claims, by default the right one."""
    size = len(body) if length is None else length
    return f"HTTP/1.1 {status}\r\ncontent-length: {size}\r\n{headers}\r\n".encode("latin-1") + body


async def _request(reader: asyncio.StreamReader, connection: int) -> Received | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.IncompleteReadError:
        return None
    line, *rest = head.split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (one.partition(":") for one in rest if one)}
    return Received(line, headers, await reader.readexactly(int(headers.get("content-length", 0))), connection)
