"""Which slot a replica has, and what ids follow from it."""

import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventmill_schemas.errors import UsageError
from eventmill_streams.slot import group_id, identity, slot_name

LEGAL = st.text(string.ascii_letters + string.digits + "._-", min_size=1, max_size=64)
POD = {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}


@given(LEGAL, LEGAL)
def test_the_option_wins_over_the_environment(option: str, variable: str) -> None:
    """The option first, then EVENTMILL_SLOT, then the pod's ordinal."""
    environ = {"EVENTMILL_SLOT": variable, **POD}
    assert slot_name(option, environ, "triage-7") == option
    assert slot_name(None, environ, "triage-7") == variable
    assert slot_name(None, POD, "triage-7") == "7"


@given(st.text(max_size=20))
def test_a_host_name_counts_only_in_kubernetes_and_with_an_ordinal(hostname: str) -> None:
    """Elsewhere two workers of one machine would take each other's slot."""
    assert slot_name(None, {}, hostname) is None
    found = slot_name(None, POD, hostname)
    assert found is None or (found.isdigit() and hostname.rstrip("\n").endswith(f"-{found}"))


@given(st.text(max_size=80))
def test_a_slot_is_legal_or_refused_by_name(slot: str) -> None:
    """A slot becomes part of ids in Kafka: what does not fit there is refused, and named."""
    if not slot:
        assert slot_name(slot, {}, "host") is None
    elif re.fullmatch(r"[A-Za-z0-9._-]{1,64}", slot):
        assert slot_name(slot, {}, "host") == slot
    else:
        with pytest.raises(UsageError, match="slot") as caught:
            slot_name(slot, {}, "host")
        assert repr(slot) in str(caught.value)


@given(LEGAL, LEGAL, LEGAL)
def test_a_slot_gives_the_same_ids_after_a_restart(pipeline: str, stage: str, slot: str) -> None:
    """The same slot is the same group member and the same transactional producer."""
    first, again = identity(pipeline, stage, slot), identity(pipeline, stage, slot)
    assert first == again
    assert first.group == group_id(pipeline, stage)
    assert first.instance_id == first.transactional_id == f"{pipeline}.{stage}.{slot}"


def test_without_a_slot_ids_are_never_shared() -> None:
    """Two replicas without a slot fence neither each other nor a numbered one."""
    first, second = identity("p", "s", None), identity("p", "s", None)
    assert first.instance_id is second.instance_id is None
    assert first.transactional_id != second.transactional_id
    assert first.group == second.group == "p.s"
