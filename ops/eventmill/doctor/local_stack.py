"""The local stack, where the pipeline uses it."""

from collections.abc import Iterable, Sequence

from eventmill.dev.ports import LOOPBACK
from eventmill.dev.stack import PartStatus, Stack
from eventmill.doctor.finding import Finding, fail, failed, ok
from eventmill_schemas.errors import EventmillError
from eventmill_schemas.pipeline import Kafka


def local_stack(stack: Stack, kafka: Kafka) -> list[Finding]:
    """Judge the parts of the local stack; nothing where the pipeline has other servers."""
    try:
        parts = stack.status()
    except EventmillError as error:
        return [failed("local stack", error)]
    return judge(parts) if uses(parts, kafka) else []


def uses(parts: Iterable[PartStatus], kafka: Kafka) -> bool:
    """Whether an address of the pipeline is that of a part of the stack."""
    places = [f"{host}:{part.port}" for part in parts if part.port for host in (LOOPBACK, "localhost")]
    registries = [url.partition("://")[2].partition("/")[0] for url in kafka.registry.split(",")]
    addresses = [*kafka.bootstrap.split(","), *registries]
    return any(address.strip() in places for address in addresses)


def judge(parts: Sequence[PartStatus]) -> list[Finding]:
    """Say which parts don't work."""
    lame = [part for part in parts if part.state != "ready"]
    if not lame:
        memory = sum(part.memory_mib or 0 for part in parts)
        return [ok("local stack", f"{', '.join(part.name for part in parts)} ready, {memory:.0f} MiB")]
    hint = "Run: eventmill dev up; `eventmill dev logs PART` shows what a part wrote"
    return [fail("local stack", f"{part.name}: {part.complaint or part.state}", hint) for part in lame]
