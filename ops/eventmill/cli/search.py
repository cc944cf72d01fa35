"""`eventmill search`: the passages of a vector store that are near to a text."""

import asyncio
import os
import shutil
import sys
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import typer

from eventmill.cli.lazy import command_app
from eventmill.cli.output import say, show_json, show_table
from eventmill.config import load
from eventmill_schemas.errors import UsageError
from eventmill_schemas.local_models import Passage, Query

app = command_app()

_LEAST_WIDTH = 20


@app.command(no_args_is_help=True)
def search(
    store: Annotated[str, typer.Argument(help="A store of the pipeline.")],
    text: Annotated[str, typer.Argument(help="What to look for: any text; near is what means the same.")],
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1000, help="How many passages at most.")] = 5,
    min_similarity: Annotated[
        float | None, typer.Option(min=-1, max=1, help="Only passages at least so similar (cosine).")
    ] = None,
    tenant: Annotated[str | None, typer.Option(help="Only passages of this tenant; else of all.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    pipeline: Annotated[Path, typer.Option("--pipeline", "-p", help="The pipeline file.")] = Path("pipeline.yaml"),
) -> None:
    """Show the stored passages that are nearest to a text, with the events that they are from.

    The text is embedded by the store's model, on this machine; no model server is called. Similarity is the cosine: 1
    is the same text, about 0 an unrelated one.
    """
    if not text.strip():
        raise UsageError("the text to look for is blank")
    described = load(pipeline, os.environ)
    from eventmill import vectors  # noqa: PLC0415 - brings ONNX Runtime, the driver and numpy

    def ask(vector: Any) -> Query:
        return Query(vector, limit, min_similarity, tenant, any_tenant=tenant is None)

    found = asyncio.run(vectors.search(described, store, text, ask))
    if json:
        show_json({"store": store, "passages": [_document(passage) for passage in found]})
    elif found:
        show_passages(found, shutil.get_terminal_size().columns if sys.stdout.isatty() else None)
    else:
        say("nothing found")


def show_passages(passages: Sequence[Passage], columns: int | None) -> None:
    """Print a table of passages, each in one line of at most `columns` characters; None: with all of its text."""
    texts = [" ".join(passage.text.split()) for passage in passages]
    if columns is not None:
        event = max(len("event"), *(len(passage.event_id) for passage in passages))
        source = max(len("source"), *(len(str(passage.source)) for passage in passages))
        width = max(_LEAST_WIDTH, columns - len("similarity") - event - source - 3 * len("  "))
        texts = [text if len(text) <= width else f"{text[: width - 1]}…" for text in texts]
    rows = [
        (Decimal(f"{passage.similarity:.2f}"), passage.event_id, str(passage.source), text)
        for passage, text in zip(passages, texts, strict=True)
    ]
    show_table(("similarity", "event", "source", "text"), rows)


def _document(passage: Passage) -> dict[str, Any]:
    return {
        "id": passage.id,
        "text": passage.text,
        "similarity": passage.similarity,
        "event_id": passage.event_id,
        "source": passage.source._asdict(),
    }
