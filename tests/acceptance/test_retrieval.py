"""The page about retrieval, followed to the letter (tests/pages.py says how), on real servers with a real model."""

import asyncio
import re
import sys
from pathlib import Path

import asyncpg

from eventmill.dev.addresses import Addresses
from pages import Shell, play

PAGE = (Path(__file__).parents[2] / "docs/how-to/retrieval.md").read_text("utf-8")


def test_the_page_finds_what_it_shows(tmp_path: Path, addresses: Addresses, unique: str) -> None:
    """A model is built, a database filled by a worker, and each question finds the passage that is shown for it."""

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
    environ = {
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        "KAFKA": addresses.bootstrap,
        "REGISTRY": addresses.registry,
        "DATABASE_URL": f"{addresses.postgres.rpartition('/')[0]}/{unique}",
    }
    with Shell(tmp_path, environ) as shell:
        count = play(PAGE, tmp_path, shell, translate, seconds=40)
    asyncio.run(ask(f"DROP DATABASE {unique} WITH (FORCE)"))
    assert count == 5
