"""Which step fills which field is told from what the steps declare."""

from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from eventmill_agents.filling import Filling, filled_before, filling, left_over, working_values
from eventmill_schemas.pipeline import ClassifyStep, CompleteStep, EmbedStep, InferStep, PythonStep, RetrieveStep

ANSWERS = ("a", "b", "c", "d")

names = st.lists(st.sampled_from([*ANSWERS, "x", "y"]), max_size=3, unique=True).map(tuple)
asking = st.builds(Filling, asks=st.just(True), fields=st.lists(st.sampled_from(ANSWERS), min_size=1).map(tuple))
local = st.builds(Filling, surely=names, perhaps=names)
histories = st.lists(asking | local | st.just(Filling(anything=True)), max_size=6)


def test_each_kind_of_step(complete_step: Callable[..., CompleteStep]) -> None:
    """A label may be left out, what is computed is there; a function may fill anything."""
    assert filling(complete_step()) == Filling(asks=True)
    assert filling(complete_step(fields=("a",))) == Filling(asks=True, fields=("a",))
    assert filling(ClassifyStep("c", "m", "x", "a", "b")) == Filling(perhaps=("a",), surely=("b",))
    assert filling(ClassifyStep("c", "m", "x", "a")) == Filling(perhaps=("a",))
    assert filling(EmbedStep("e", "m", "x", "s")) == Filling()
    assert filling(EmbedStep("e", "m", "x", into="a")) == Filling(surely=("a",))
    assert filling(InferStep("i", "m", {"x": "1"}, {"y": "a", "z": "b"})) == Filling(surely=("a", "b"))
    assert filling(RetrieveStep("r", "s", "x", "a")) == Filling(surely=("a",))
    assert filling(PythonStep("p", "m:f")) == Filling(anything=True)


@given(before=histories, after=histories)
def test_what_is_left_over(before: list[Filling], after: list[Filling]) -> None:
    """It is named by nobody, is filled surely by nobody, and perhaps only by those before: whatever is around."""
    rest = left_over([*before, Filling(asks=True), *after], ANSWERS)
    everyone = [*before, *after]
    for name in ANSWERS:
        taken = any(name in (*(one.fields or ()), *one.surely) for one in everyone)
        later = any(name in one.perhaps for one in after)
        assert (name in rest) == (not taken and not later)


@given(steps=histories, data=st.data())
def test_what_may_be_filled_before_a_step(steps: list[Filling], data: Any) -> None:
    """Nothing before the first; never less for a later step; everything after a function."""
    index = data.draw(st.integers(0, len(steps)))
    found = filled_before(steps, index, ANSWERS)
    assert filled_before(steps, 0, ANSWERS) == frozenset()
    assert found <= filled_before(steps, len(steps), ANSWERS)
    if any(one.anything for one in steps[:index]):
        assert found == set(ANSWERS)
    assert {name for one in steps[:index] for name in one.targets if name in ANSWERS} <= found


@given(steps=histories)
def test_working_values_are_what_is_no_field(steps: list[Filling]) -> None:
    """Each once, in the order in which they are filled."""
    found = working_values(steps, ANSWERS)
    assert set(found) == {name for one in steps for name in one.targets} - set(ANSWERS)
    assert len(found) == len(set(found))
