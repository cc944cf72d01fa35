"""Which step fills which field of the result, told from what the steps declare."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from eventmill_schemas.pipeline import (
    ClassifyStep,
    CompleteStep,
    EmbedStep,
    InferStep,
    RetrieveStep,
    StepSpec,
)


@dataclass(frozen=True, slots=True)
class Filling:
    """What one step fills: `surely`, unless its `when` is false; `perhaps`, where it is sure enough.

    `asks`: it is a `complete` step, of which `fields` are named (None: those that are left over). `anything`: it may
    fill whatever it likes (a `python` step).
    """

    surely: tuple[str, ...] = ()
    perhaps: tuple[str, ...] = ()
    asks: bool = False
    fields: tuple[str, ...] | None = None
    anything: bool = False

    @property
    def targets(self) -> tuple[str, ...]:
        """Every name that a local model or a store fills."""
        return (*self.perhaps, *self.surely)


def filling(step: StepSpec) -> Filling:
    """Return what `step` fills."""
    match step:
        case CompleteStep():
            return Filling(asks=True, fields=step.fields)
        case ClassifyStep():
            return Filling(perhaps=(step.into,), surely=() if step.confidence is None else (step.confidence,))
        case EmbedStep():
            return Filling(surely=() if step.into is None else (step.into,))
        case InferStep():
            return Filling(surely=tuple(step.outputs.values()))
        case RetrieveStep():
            return Filling(surely=(step.into,))
        case _:
            return Filling(anything=True)


def left_over(fillings: Sequence[Filling], answers: Sequence[str]) -> tuple[str, ...]:
    """Return the fields of the `complete` step that names none: those that no other step fills for certain.

    What a `classify` step before it may leave open is among them; it is asked for where it was left open.
    """
    named = {name for one in fillings for name in one.fields or ()}
    named |= {name for one in fillings for name in one.surely}
    opened = next((index for index, one in enumerate(fillings) if one.asks and one.fields is None), len(fillings))
    named |= {name for one in fillings[opened:] for name in one.perhaps}
    return tuple(name for name in answers if name not in named)


def filled_before(fillings: Sequence[Filling], index: int, answers: Collection[str]) -> frozenset[str]:
    """Return the fields of `answers` that may be filled when the step at `index` begins."""
    before = fillings[:index]
    if any(one.anything or (one.asks and one.fields is None) for one in before):
        return frozenset(answers)
    return frozenset(answers).intersection(*[{name for one in before for name in (*one.targets, *(one.fields or ()))}])


def working_values(fillings: Sequence[Filling], answers: Collection[str]) -> tuple[str, ...]:
    """Return the names that steps fill and that are no fields of the result: seen by later steps, not published."""
    names = dict.fromkeys(name for one in fillings for name in one.targets)
    return tuple(name for name in names if name not in answers)
