"""The schema registry: whether it answers, takes schemas, keeps readers from breaking; and what time it is there."""

import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx

from eventmill.doctor.finding import Finding, failed, ok, warn
from eventmill_connectors.registry import SchemaRegistry
from eventmill_schemas.errors import EventmillError

_CLOCK_TIMEOUT = 5.0
_CLOCK_ERROR = 1.0
"""Seconds: the resolution of an HTTP date."""

_CLOCK_SKEW = 5.0
"""Seconds from which ages, deadlines and costs per day are visibly wrong."""


async def registry_settings(client: SchemaRegistry, url: str, subjects: list[str]) -> list[Finding]:
    """Ask the registry for its mode and compatibility levels."""
    try:
        mode, level = await client.mode(), await client.compatibility()
        levels = {subject: await client.compatibility(subject) for subject in subjects}
    except EventmillError as error:
        return [failed("registry", error)]
    host = httpx.URL(url.split(",", maxsplit=1)[0]).host
    found = [ok("registry", f"answers at {host}, mode {mode}, compatibility {level}")]
    if mode != "READWRITE":
        found.append(
            warn("registry mode", f"it is {mode}: `eventmill apply` can't register schemas", "Set it to READWRITE")
        )
    lax = ["the registry"] if level == "NONE" else []
    lax += [subject for subject, own in levels.items() if own == "NONE"]
    if lax:
        found.append(
            warn(
                "compatibility",
                f"the level of {', '.join(lax)} is NONE: a schema that breaks readers would be taken",
                "Set it to BACKWARD or stricter (PUT /config of the registry)",
            )
        )
    return found


async def clock(url: str) -> list[Finding]:
    """Compare this machine's clock with the registry's, by the date of an HTTP answer; nothing where it has none."""
    async with httpx.AsyncClient(timeout=_CLOCK_TIMEOUT, trust_env=False) as client:
        began = time.time()
        try:
            answer = await client.get(f"{url.split(',', maxsplit=1)[0].rstrip('/')}/subjects")
            theirs = parsedate_to_datetime(answer.headers["date"]).replace(tzinfo=UTC)  # always GMT (RFC 9110, 5.6.7)
        except (httpx.HTTPError, httpx.InvalidURL, KeyError, ValueError):
            return []
        ours = datetime.fromtimestamp((began + time.time()) / 2, UTC)
    # An HTTP date has no fractions: on the average it is half a second old.
    skew = (ours - theirs).total_seconds() - _CLOCK_ERROR / 2
    if abs(skew) <= _CLOCK_SKEW:
        return [ok("clock", f"within {max(abs(skew), _CLOCK_ERROR):.0f} s of the registry's")]
    return [
        warn(
            "clock",
            f"{abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} the registry's",
            "Let NTP set the clocks of all machines: ages and the times of costs are wrong otherwise",
        )
    ]
