"""The page about retrieval, followed to the letter (tests/pages.py says how), on real servers with a real model."""

import asyncio
import re
import sys
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg

from eventmill.dev.addresses import Addresses
from pages import Shell, play
from tcp_proxy import TcpProxy
from worker_process import until

PAGE = (Path(__file__).parents[2] / "docs/how-to/retrieval.md").read_text("utf-8")


def logs(folder: Path) -> str:
    """Return what the workers have logged."""
    return "".join(log.read_text() for log in (folder / "logs").iterdir())


def test_the_page_finds_what_it_shows_also_after_an_outage(tmp_path: Path, addresses: Addresses, unique: str) -> None:
    """A model is built, a database filled by a worker, and a question finds the passages that are shown for it.

    Then Postgres is cut off while the pages come once more, one of them changed: the stage waits at its door, nothing
    fails, and afterwards the new text is found. Only what changed was embedded, and paid for.
    """

    async def ask(statement: str) -> object:
        connection = await asyncpg.connect(addresses.postgres, timeout=10)
        try:
            return await connection.fetchval(statement)
        finally:
            await connection.close()

    def translate(text: str) -> str:
        text = re.sub(r"\b(lamps|pages)(?=[./:-]|$| --from| with)", rf"{unique}\1", text, flags=re.MULTILINE)
        text = text.replace(f"{unique}lamps.example", "lamps.example")
        return text.replace("extension vector: 0.8.5", f"extension vector: {extension}")

    extension = asyncio.run(ask("SELECT default_version FROM pg_available_extensions WHERE name = 'vector'"))
    asyncio.run(ask(f"CREATE DATABASE {unique}"))
    server = urlsplit(addresses.postgres)
    proxy = TcpProxy(server.hostname or "", server.port or 0)
    environ = {
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        "KAFKA": addresses.bootstrap,
        "REGISTRY": addresses.registry,
        "DATABASE_URL": f"postgresql://{server.username}:{server.password}@127.0.0.1:{proxy.port}/{unique}",
    }
    with Shell(tmp_path, environ) as shell:
        count = play(PAGE, tmp_path, shell, translate, seconds=40)
        proxy.switch_off()
        pages = tmp_path / "handbook.jsonl"
        pages.write_text(pages.read_text().replace("take two days", "travel by barge now: three weeks"))
        assert shell.run(f"eventmill produce {unique}pages --from handbook.jsonl --schema page.avsc --key id")[0] == 0
        until(lambda: "postgres_unreachable" in logs(tmp_path), 30, lambda: logs(tmp_path))
        proxy.switch_on()
        until(lambda: "lane door open" in logs(tmp_path), 30, lambda: logs(tmp_path))
        until(lambda: "barge" in shell.run('eventmill search handbook "ships" --limit 1')[1], 30)
        assert shell.run("eventmill tail index.costs --from-beginning --no-follow --json | wc -l") == (0, "6\n")
        assert shell.run("eventmill tail index.dlq --from-beginning --no-follow --json | wc -l") == (0, "0\n")
        assert (server.password or "?") not in logs(tmp_path)
    proxy.switch_off()
    asyncio.run(ask(f"DROP DATABASE {unique} WITH (FORCE)"))
    assert count == 5
