"""What enriching one event may end in."""

from dataclasses import dataclass, field

from eventmill_schemas.cost import CostEvent
from eventmill_schemas.errors import EventError
from eventmill_schemas.events import Fields


@dataclass(frozen=True, slots=True)
class Skip:
    """The event needs no result: `when` was false, or a step said so. It is settled and counted, not published."""

    reason: str = "when"


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """The event failed for good. `step` is the step that failed, None before the first one."""

    error: EventError
    step: str | None = None


@dataclass(frozen=True, slots=True)
class Provenance:
    """What made the result: written into its envelope. None where no model was asked."""

    model: str | None = None
    prompt: str | None = None     # name@version


@dataclass(frozen=True, slots=True)
class Result:
    """The fields of the result, without the envelope that identifies it."""

    fields: Fields
    provenance: Provenance = field(default_factory=Provenance)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one event ended, with what every attempt on the way cost, in order."""

    end: Result | DeadLetter | Skip
    costs: tuple[CostEvent, ...] = ()
