"""The python step of the `escalate` stage: the one line that wakes somebody up."""

from eventmill_agents.ports import Ports
from eventmill_schemas.events import Event, Fields

PAGER_CHARACTERS = 160


async def page_text(event: Event, so_far: Fields, call: Ports) -> Fields:
    """Address the tenant's on-call channel and say in one line who writes and about what."""
    triage = event.fields
    line = " ".join(f"{triage['customer']}: {triage['subject']} - {triage['summary_translated']}".split())
    if len(line) > PAGER_CHARACTERS:
        line = line[: PAGER_CHARACTERS - 1] + "…"
    return {"channel": f"#{event.tenant}-on-call", "pager_text": line}
