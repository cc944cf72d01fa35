"""What `apply` decides: which changes make a cluster fit a pipeline, and what it leaves alone."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventmill.cluster.changes import ConfigureTopic, CreateTopic, GrowTopic, RegisterSchema
from eventmill.cluster.plan import ClusterState, Options, Plan, SubjectState, plan, wanted_schemas, wanted_topics
from eventmill_connectors.kafka.admin import TopicState
from eventmill_schemas.pipeline import Format, Kafka, Pipeline, ResultSchema, Stage

BROKER_LIMIT = 2_000_000
ROOM = 65_536  # what a dead letter may add to its input record
RESULT = ResultSchema(
    {"type": "record", "name": "R", "fields": [{"name": "answer", "type": "string"}]}, "schemas/result.avsc"
)


def stage(name: str, *inputs: str, partitions: int | None = None, topics: Mapping[str, str] | None = None) -> Stage:
    """Return a stage that reads `inputs`, full topic names."""
    return Stage(
        name=name,
        inputs=inputs,
        format=Format.AVRO,
        id_field=None,
        tenant_field=None,
        when=None,
        steps=(),
        result=RESULT,
        partitions=partitions,
        topics=topics or {},
    )


def pipeline(*stages: Stage) -> Pipeline:
    """Return a pipeline called `p`."""
    return Pipeline("p", "/nowhere", Kafka("broker:9092", "http://registry"), stages, {})


def topic(name: str, partitions: int, size: int = BROKER_LIMIT) -> TopicState:
    """Return a topic as the cluster has it."""
    return TopicState(name, partitions, {"max.message.bytes": str(size), "cleanup.policy": "delete"})


def cluster(made: Pipeline, *topics: TopicState, **subjects: SubjectState) -> ClusterState:
    """Return a cluster with these topics; every subject is new unless given."""
    return ClusterState(
        {one.name: one for one in topics},
        {name: SubjectState() for name in wanted_schemas(made)} | subjects,
        BROKER_LIMIT,
    )


def carried_out(state: ClusterState, found: Plan) -> ClusterState:
    """Return the cluster after the changes, as Kafka and a registry would have made them."""
    topics, subjects = dict(state.topics), dict(state.subjects)
    for change in found.changes:
        match change:
            case CreateTopic(spec):
                assert spec.name not in topics
                defaults = {"max.message.bytes": str(state.max_message_bytes)}
                topics[spec.name] = TopicState(spec.name, spec.partitions, {**defaults, **spec.config})
            case GrowTopic(name, partitions):
                assert partitions > topics[name].partitions
                topics[name] = replace(topics[name], partitions=partitions)
            case ConfigureTopic(name, settings):
                topics[name] = replace(topics[name], config={**topics[name].config, **settings})
            case RegisterSchema(name):
                subjects[name] = SubjectState((subjects[name].latest or 0) + 1, registered=True)
    return replace(state, topics=topics, subjects=subjects)


def created(found: Plan) -> dict[str, int]:
    """Return the partitions of the topics that are made."""
    return {change.spec.name: change.spec.partitions for change in found.changes if isinstance(change, CreateTopic)}


def test_outputs_get_the_partitions_of_the_input() -> None:
    """All three topics of a stage are made with its input's count, the dead letters' with room for more headers."""
    made = pipeline(stage("triage", "mails"))
    found = plan(made, cluster(made, topic("mails", 5)))
    assert created(found) == {"p.triage.results": 5, "p.triage.costs": 5, "p.triage.dlq": 5}
    [dlq] = [c.spec for c in found.changes if isinstance(c, CreateTopic) and c.spec.name.endswith("dlq")]
    assert dlq.config["max.message.bytes"] == str(BROKER_LIMIT + ROOM)
    assert found.possible
    assert not found.warnings


def test_a_missing_input_is_named_with_the_flag_that_makes_it() -> None:
    """Nothing is planned for the stage, nor told twice for the stages behind it and beside it."""
    made = pipeline(stage("triage", "mails"), stage("page", "p.triage.results"), stage("other", "mails"))
    found = plan(made, cluster(made))
    assert not found.possible
    [problem] = found.problems
    assert "mails" in problem.message
    assert "stages triage, other" in problem.message
    assert "--inputs" in problem.remedy
    assert created(found) == {}


@pytest.mark.parametrize(
    ("declared", "option", "expected"), [(None, None, 8), (12, None, 12), (12, 3, 3), (None, 3, 3)]
)
def test_inputs_are_made_when_asked(declared: int | None, option: int | None, expected: int) -> None:
    """Partitions: the option's, else the stage's, else 8; the outputs follow."""
    made = pipeline(stage("triage", "mails", partitions=declared))
    found = plan(made, cluster(made), Options(inputs=True, partitions=option))
    assert set(created(found).values()) == {expected}
    assert "mails" in created(found)


def test_an_input_of_two_stages_is_made_once_large_enough_for_both() -> None:
    """The larger of two declarations holds for the topic that both read."""
    made = pipeline(stage("a", "mails", partitions=2), stage("b", "mails", partitions=6))
    found = plan(made, cluster(made), Options(inputs=True))
    assert created(found)["mails"] == 6
    assert created(found)["p.a.results"] == created(found)["p.b.results"] == 6


def test_a_chain_passes_the_count_on_whatever_the_order_of_stages() -> None:
    """The results of one stage are the input of the next: its topics have the count of the first input."""
    made = pipeline(stage("last", "p.middle.results"), stage("middle", "p.first.results"), stage("first", "mails"))
    found = plan(made, cluster(made, topic("mails", 7)))
    assert set(created(found).values()) == {7}
    assert len(created(found)) == 9


def test_a_chain_is_grown_as_a_whole() -> None:
    """When the first input has grown, the results in between grow, and with them the topics of the last stage."""
    made = pipeline(stage("first", "mails"), stage("last", "p.first.results"))
    state = carried_out(empty := cluster(made, topic("mails", 2)), plan(made, empty))
    state = replace(state, topics={**state.topics, "mails": topic("mails", 4)})
    found = plan(made, state)
    assert {c.topic: (c.now, c.partitions) for c in found.changes if isinstance(c, GrowTopic)} == {
        f"p.{name}.{kind}": (2, 4) for name in ("first", "last") for kind in ("results", "costs", "dlq")
    }
    [warning] = found.warnings
    assert "can't be undone" in warning
    assert "p.last.dlq" in warning


def test_a_larger_output_is_told_and_left() -> None:
    """A topic is never shrunk; the stages behind it take its real count."""
    made = pipeline(stage("first", "mails"), stage("last", "p.first.results"))
    found = plan(made, cluster(made, topic("mails", 2), topic("p.first.results", 5)))
    assert not [c for c in found.changes if isinstance(c, GrowTopic)]
    [warning] = found.warnings
    assert "p.first.results has 5 partitions" in warning
    assert created(found)["p.last.results"] == 5


def test_inputs_with_different_counts_get_the_largest_and_a_warning() -> None:
    """The outputs are as wide as the widest input, and it is said that results go by key."""
    made = pipeline(stage("triage", "mails", "chats"))
    found = plan(made, cluster(made, topic("mails", 2), topic("chats", 6)))
    assert set(created(found).values()) == {6}
    [warning] = found.warnings
    assert "mails 2, chats 6" in warning


def test_declared_partitions_do_not_go_against_the_input() -> None:
    """`partitions` of a stage whose input exists with another count is told to be without effect."""
    made = pipeline(stage("triage", "mails", partitions=12))
    found = plan(made, cluster(made, topic("mails", 2)))
    assert set(created(found).values()) == {2}
    assert "partitions: 12" in found.warnings[0]


@pytest.mark.parametrize(("size", "changed"), [(1000, True), (BROKER_LIMIT + ROOM, False), (BROKER_LIMIT * 9, False)])
def test_dead_letters_must_fit_and_other_settings_are_the_users(size: int, changed: bool) -> None:
    """Only a dead letter topic that is too small is configured; other settings and larger sizes stay."""
    made = pipeline(stage("triage", "mails"))
    results = replace(topic("p.triage.results", 1), config={"max.message.bytes": "1", "cleanup.policy": "compact"})
    found = plan(made, cluster(made, topic("mails", 1), results, topic("p.triage.dlq", 1, size)))
    configured = [c for c in found.changes if isinstance(c, ConfigureTopic)]
    wanted = ConfigureTopic(
        "p.triage.dlq", {"max.message.bytes": str(BROKER_LIMIT + ROOM)}, {"max.message.bytes": str(size)}
    )
    assert configured == ([wanted] if changed else [])


def test_shared_topics_are_made_once_large_enough_for_all() -> None:
    """Two stages with one dead letter topic: the larger count, the larger records, and it is said."""
    shared = {"dlq": "p.dead"}
    made = pipeline(stage("a", "small", topics=shared), stage("b", "large", topics=shared), stage("c", "p.dead"))
    found = plan(made, cluster(made, topic("small", 2, 9_000_000), topic("large", 4)))
    [dead] = [c.spec for c in found.changes if isinstance(c, CreateTopic) and c.spec.name == "p.dead"]
    assert (dead.partitions, dead.config["max.message.bytes"]) == (4, str(9_000_000 + ROOM))
    assert created(found)["p.c.results"] == 4
    assert "p.dead is shared by stages a, b" in found.warnings[0]


def test_a_new_subject_gets_a_level_and_a_known_one_keeps_its_own() -> None:
    """The level is set only for subjects that are made; a schema that is registered is left alone."""
    made = pipeline(stage("triage", "mails"))
    state = cluster(
        made,
        topic("mails", 1),
        **{"p.triage.results-value": SubjectState(latest=3), "p.triage.costs-value": SubjectState()},
    )
    found = [c for c in plan(made, state).changes if isinstance(c, RegisterSchema)]
    assert [(c.subject, c.level, c.after) for c in found] == [
        ("p.triage.results-value", None, 3),
        ("p.triage.costs-value", "BACKWARD_TRANSITIVE", None),
    ]


def test_an_incompatible_schema_makes_the_plan_impossible() -> None:
    """It is not among the changes, and the plan says so."""
    made = pipeline(stage("triage", "mails"))
    refused = SubjectState(latest=3, compatible=False)
    found = plan(made, cluster(made, topic("mails", 1), **{"p.triage.results-value": refused}))
    assert not found.possible
    assert [c.subject for c in found.refused] == ["p.triage.results-value"]
    assert "p.triage.results-value" not in [c.subject for c in found.changes if isinstance(c, RegisterSchema)]


def test_what_is_registered_is_the_published_schema() -> None:
    """Results are registered with their envelope, without the user's expressions; costs with their own schema."""
    computed: dict[str, Any] = {"name": "copied", "type": "string", "from": "event.subject"}
    declared = {**RESULT.avro, "fields": [*RESULT.avro["fields"], computed]}
    made = pipeline(replace(stage("triage", "mails"), result=ResultSchema(declared, "r.avsc")))
    found = wanted_schemas(made)
    assert set(found) == {"p.triage.results-value", "p.triage.costs-value"}
    assert '"event_id"' in found["p.triage.results-value"]
    assert '"from"' not in found["p.triage.results-value"]
    assert '"cost_id"' in found["p.triage.costs-value"]


def test_every_change_says_what_it_is() -> None:
    """Each change has a line with the name of what changes, and a document with its kind."""
    made = pipeline(stage("a", "mails"), stage("b", "mails"))
    state = cluster(made, topic("mails", 4), topic("p.a.results", 2), topic("p.a.dlq", 4, 1000))
    changes = plan(made, state).changes
    kinds = {change.document()["change"] for change in changes}
    assert kinds == {"create_topic", "grow_topic", "configure_topic", "register_schema"}
    for change in changes:
        document = change.document()
        assert document.get("topic", document.get("subject")) in change.line()


stage_counts = st.integers(1, 4)
sizes = st.sampled_from([1000, BROKER_LIMIT, BROKER_LIMIT + ROOM, 3 * BROKER_LIMIT])


@st.composite
def worlds(draw: st.DrawFn) -> tuple[Pipeline, ClusterState]:
    """Draw a pipeline of stages that read topics and each other, and a cluster that has some of its topics."""
    stages: list[Stage] = []
    for number in range(draw(stage_counts)):
        outputs = [f"p.s{n}.{kind}" for n in range(number) for kind in ("results", "dlq")]
        inputs = draw(st.lists(st.sampled_from(["in0", "in1", *outputs]), min_size=1, max_size=3, unique=True))
        shared = draw(st.sampled_from([{}, {"costs": "p.costs"}]))
        stages.append(stage(f"s{number}", *inputs, partitions=draw(st.sampled_from([None, 2, 9])), topics=shared))
    made = pipeline(*draw(st.permutations(stages)))
    topics = [topic(name, draw(st.integers(1, 12)), draw(sizes)) for name in wanted_topics(made) if draw(st.booleans())]
    subjects = {
        name: draw(st.sampled_from([SubjectState(), SubjectState(2), SubjectState(2, registered=True)]))
        for name in wanted_schemas(made)
    }
    return made, cluster(made, *topics, **subjects)


@given(worlds())
def test_a_second_run_has_nothing_to_do(world: tuple[Pipeline, ClusterState]) -> None:
    """Whatever was there: after the changes all topics exist, are wide and large enough, and the next plan is empty."""
    made, before = world
    found = plan(made, before, Options(inputs=True))
    assert found.possible
    after = carried_out(before, found)
    assert plan(made, after, Options(inputs=True)).changes == ()
    assert after.topics.keys() == set(wanted_topics(made))
    for name, state in before.topics.items():
        assert after.topics[name].partitions >= state.partitions
    for one in made.stages:
        inputs = [after.topics[name] for name in one.inputs]
        for kind in ("results", "costs", "dlq"):
            name = one.topics.get(kind, f"p.{one.name}.{kind}")
            assert after.topics[name].partitions >= max(state.partitions for state in inputs)
        dlq = after.topics[f"p.{one.name}.dlq"]
        assert dlq.max_message_bytes >= max(state.max_message_bytes for state in inputs) + ROOM
