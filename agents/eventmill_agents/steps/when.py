"""A step with a condition of its own."""

from eventmill_agents.condition import Expression
from eventmill_agents.outcome import DeadLetter, Skip
from eventmill_agents.ports import Ports, Step
from eventmill_agents.scope import scope_of
from eventmill_schemas.events import Event, Fields


class When:
    """Runs `step` where `condition` is true; elsewhere it adds nothing."""

    def __init__(self, step: Step, condition: Expression) -> None:
        self._step = step
        self._condition = condition

    @property
    def name(self) -> str:
        """The step's name."""
        return self._step.name

    async def run(self, event: Event, so_far: Fields, call: Ports) -> Fields | DeadLetter | Skip:
        """Run the step, or return no fields. Raises what the step raises, MissingEventField and TemplateFailed."""
        return await self._step.run(event, so_far, call) if self._condition.test(scope_of(event, so_far)) else {}
