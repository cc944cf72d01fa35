"""Postgres and pgvector: whether they answer, are new enough, and have a place for the pipeline's vectors."""

from typing import TYPE_CHECKING

from eventmill.doctor.finding import Finding, fail, failed, ok, warn
from eventmill_schemas.errors import EventmillError
from eventmill_schemas.pipeline import Pipeline

if TYPE_CHECKING:
    from eventmill_connectors.postgres.setup import DatabasePlan


async def postgres(pipeline: Pipeline) -> list[Finding]:
    """Ask the database of a pipeline that has vector stores; nothing where it has none."""
    if not pipeline.stores:
        return []
    from eventmill.vectors import StoreSetup  # noqa: PLC0415 - brings the driver and numpy

    try:
        setup = StoreSetup(pipeline)
    except EventmillError as error:
        return [failed("stores", error)]
    try:
        extension, found = await setup.extension(), await setup.plan()
    except EventmillError as error:
        return [failed("postgres", error)]
    finally:
        await setup.close()
    version = extension.installed or extension.available
    answers = ok("postgres", f"answers at {setup.place}, pgvector {version}") if version else None
    return [*([answers] if answers is not None else []), *judge(found, len(pipeline.stores))]


def judge(found: "DatabasePlan", stores: int) -> list[Finding]:
    """Return what a plan says about the stores."""
    if found.problems:
        return [failed("stores", problem) for problem in found.problems]
    if found.needed:
        missing = "; ".join(change.line() for change in found.needed)
        return [fail("stores", f"the database is not ready: {missing}", "Run `eventmill apply`")]
    notes = [warn("stores", f"{change.line()} is to do", "Run `eventmill apply`") for change in found.changes]
    notes += [warn("stores", warning) for warning in found.warnings]
    return notes or [ok("stores", "1 store is ready" if stores == 1 else f"{stores} stores are ready")]
