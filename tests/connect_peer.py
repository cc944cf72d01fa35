"""A worker of Kafka Connect as its REST API shows it: answers are given by the test, requests are kept."""

import json
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

JDBC = "io.debezium.connector.jdbc.JdbcSinkConnector"


def status(name: str, connector: str, *tasks: str, trace: str | None = None) -> dict[str, Any]:
    """Return a status as Connect tells it; a state of FAILED has the trace."""

    def part(state: str) -> dict[str, Any]:
        more = {"trace": trace} if state == "FAILED" else {}
        return {"state": state, "worker_id": "w:8083", **more}

    return {"name": name, "connector": part(connector), "tasks": [{"id": n, **part(s)} for n, s in enumerate(tasks)]}


class ConnectPeer:
    """The answers by method and path: the first is taken, the last of them stays. Others are answered with 404."""

    def __init__(self, url: str, plugins: Any) -> None:
        """Serve at `url`; `plugins` is the answer to what connectors there are."""
        self.url = url
        self.requests: list[tuple[str, str, Any]] = []
        self._answers: defaultdict[str, list[tuple[int, bytes]]] = defaultdict(list)
        self.answer("GET /connector-plugins", plugins)

    def answer(self, what: str, document: Any, code: int = 200) -> None:
        """Add an answer to `what` (as "GET /path"): JSON, or bytes as they are."""
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        self._answers[what].append((code, body))

    def take(self, method: str, path: str, body: Any) -> tuple[int, bytes]:
        """Note a request and return its answer."""
        self.requests.append((method, path, body))
        answers = self._answers.get(f"{method} {path}")
        if not answers:
            return 404, b'{"error_code": 404, "message": "not found"}'
        return answers.pop(0) if len(answers) > 1 else answers[0]

    def said(self, method: str) -> list[tuple[str, Any]]:
        """Return path and body of the requests with this method."""
        return [(path, body) for one, path, body in self.requests if one == method]


@contextmanager
def connect_peer(plugins: Any = ({"class": JDBC, "type": "sink"},)) -> Iterator[ConnectPeer]:
    """Serve for the block, at a free port."""

    class Handler(BaseHTTPRequestHandler):
        def _serve(self) -> None:
            raw = self.rfile.read(int(self.headers.get("content-length") or 0))
            code, body = peer.take(self.command, self.path, json.loads(raw) if raw else None)
            self.send_response(code)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_PUT = do_POST = do_DELETE = _serve   # noqa: N815 - names of the base class

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        peer = ConnectPeer(f"http://127.0.0.1:{server.server_port}", plugins)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield peer
        finally:
            server.shutdown()
            thread.join()
