"""What one attempt of a model call, or one computation of a local model, cost: the value behind the cost event."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from eventmill_schemas.chat import Usage
from eventmill_schemas.events import Source


class Certainty(StrEnum):
    """How far the amount can be trusted."""

    EXACT = "EXACT"           # from the usage that the provider reported, or 0 because nothing was served
    UNCERTAIN = "UNCERTAIN"   # sent, no reply: it may have been billed, so no amount is claimed
    UNPRICED = "UNPRICED"     # tokens are known, the price is not


@dataclass(frozen=True, slots=True)
class Price:
    """The price of one reply. `amount` is in USD, exact; None where no price is known. `row` names the price row."""

    amount: Decimal | None
    row: str | None


@dataclass(frozen=True, slots=True)
class CostEvent:
    """One attempt, or one step's use of a local model.

    `device` and `compute_seconds` are those of local models. `cost_id` is deterministic: the same attempt of the same
    record has the same id after a replay.
    """

    cost_id: str
    call_id: str
    event_id: str
    tenant: str | None
    pipeline: str
    stage: str
    step: str
    source: Source
    attempt: int              # 1, 2, ...
    provider: str
    model: str
    prompt: str | None        # name@version
    outcome: str              # "ok", else the `kind` of the error
    usage: Usage | None
    certainty: Certainty
    cost: Decimal | None      # USD, at most 12 decimal places
    price_row: str | None
    started_at: datetime      # UTC
    duration_ms: int
    device: str | None = None
    compute_seconds: Decimal | None = None   # at most 12 decimal places
