"""Topic names, and how topics should be."""

import pytest

from eventmill_schemas.errors import UsageError
from eventmill_schemas.topics import KINDS, resolve_inputs, stage_topics, subject, topic_problem, topic_specs


def test_names_come_from_pipeline_stage_and_kind() -> None:
    """Every kind has its topic, and an override replaces exactly one."""
    topics = stage_topics("mail", "triage", {"results": "answers"})
    assert topics.results == "answers"
    assert [getattr(topics, kind) for kind in KINDS if kind != "results"] == [
        f"mail.triage.{kind}" for kind in KINDS if kind != "results"
    ]
    assert subject(topics.results) == "answers-value"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"result": "x"}, "no topic kind 'result'"),
        ({"results": "a b"}, "'a b' has characters other than"),
        ({"results": "x" * 250}, "has 250 characters"),
        ({"results": ".."}, "is not a topic name"),
        ({"results": "same", "dlq": "same"}, "results and dlq have the same topic 'same'"),
        ({"costs": "mail.triage.results"}, "results and costs have the same topic"),
    ],
)
def test_overrides_that_can_not_work_are_refused(overrides: dict[str, str], message: str) -> None:
    """The message names the stage and the topic."""
    with pytest.raises(UsageError, match=message) as raised:
        stage_topics("mail", "triage", overrides)
    assert "triage" in raised.value.message


def test_a_legal_name_is_no_problem() -> None:
    """What Kafka takes passes, up to its longest name."""
    assert topic_problem("A.b_c-1") is None
    assert topic_problem("x" * 249) is None
    assert topic_problem("") == "is not a topic name"


def test_a_stages_name_as_input_means_its_results() -> None:
    """Inputs are resolved in order, once each, and a results topic is recognised by either name."""
    results = {"triage": "mail.triage.results", "other": "mail.other.results"}
    assert resolve_inputs(["mails"], results) == (("mails",), False)
    assert resolve_inputs(["triage", "mails", "triage"], results) == (("mail.triage.results", "mails"), True)
    assert resolve_inputs(["mail.other.results"], results) == (("mail.other.results",), True)


def test_topics_that_hold_copies_take_more_than_the_input() -> None:
    """A dead letter of the largest input record has room for its headers; every output has the input's partitions."""
    topics = stage_topics("mail", "triage", {})
    specs = {spec.name: spec for spec in topic_specs(topics, 12, input_max_message_bytes=5_000_000, kinds=KINDS)}
    assert {spec.partitions for spec in specs.values()} == {12}
    for kind in ("dlq", "hold", "control"):
        assert int(specs[f"mail.triage.{kind}"].config["max.message.bytes"]) == 5_000_000 + 64 * 1024
    assert specs["mail.triage.hold"].config["cleanup.policy"] == "compact"
    assert specs["mail.triage.dlq"].config["retention.ms"] == str(30 * 24 * 3600 * 1000)
    assert "retention.ms" not in specs["mail.triage.results"].config


def test_a_stage_that_holds_nothing_gets_three_topics() -> None:
    """By default only results, costs and dead letters are created."""
    names = [spec.name for spec in topic_specs(stage_topics("p", "s", {}), 1)]
    assert names == ["p.s.results", "p.s.costs", "p.s.dlq"]
