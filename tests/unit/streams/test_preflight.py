"""What a worker finds out about its topics before it starts."""

from collections.abc import Collection
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventmill_connectors.kafka.admin import TopicState
from eventmill_schemas.errors import SetupError
from eventmill_schemas.pipeline import Format, Kafka, Pipeline, ResultSchema, Stage
from eventmill_schemas.topics import stage_topics
from eventmill_streams.preflight import BATCH_OVERHEAD, DEAD_LETTER_LEAST, outputs

NAMES = stage_topics("p", "s", {})
SIZE = 1_048_588


class Cluster:
    """Topics as a cluster would describe them."""

    def __init__(self, **topics: tuple[int, int]) -> None:
        """Take (partitions, max.message.bytes) of each topic, `_` in names for `.`."""
        self.topics = {
            name.replace("_", "."): TopicState(name.replace("_", "."), count, {"max.message.bytes": str(size)})
            for name, (count, size) in topics.items()
        }

    def describe(self, names: Collection[str]) -> dict[str, TopicState]:
        """Return those that exist."""
        return {name: self.topics[name] for name in names if name in self.topics}


def look(cluster: Cluster, inputs: tuple[str, ...] = ("in",)) -> Any:
    """Let a stage with `inputs` look at the cluster."""
    stage = Stage("s", inputs, Format.AVRO, None, None, None, (), ResultSchema({}, "r.avsc"))
    pipeline = Pipeline("p", ".", Kafka("broker:9092", "http://registry"), (stage,), {})
    return outputs(pipeline, stage, NAMES, cluster)


def test_complete_topics_are_described() -> None:
    """Names, alignment, room for records and the largest input are as the cluster says."""
    found = look(Cluster(**{"in": (4, SIZE)}, p_s_results=(4, SIZE), p_s_costs=(4, SIZE), p_s_dlq=(4, 2 * SIZE)))
    assert [found.results.name, found.costs.name, found.dlq.name] == ["p.s.results", "p.s.costs", "p.s.dlq"]
    assert found.results.aligned
    assert found.costs.aligned
    assert found.dlq.aligned
    assert found.results.max_bytes == SIZE - BATCH_OVERHEAD
    assert found.dlq.max_bytes == 2 * SIZE - BATCH_OVERHEAD
    assert found.largest_input == SIZE


def test_one_missing_topic_is_named_with_the_remedy() -> None:
    """The message names stage, topic and cluster, and the command that creates it."""
    with pytest.raises(SetupError, match=r"the topic p\.s\.costs is missing in Kafka at broker:9092") as missing:
        look(Cluster(**{"in": (4, SIZE)}, p_s_results=(4, SIZE), p_s_dlq=(4, SIZE)))
    assert "'s'" in str(missing.value)
    assert "eventmill apply" in str(missing.value)


def test_all_missing_topics_are_named_at_once() -> None:
    """Inputs too: nobody has to start four times to hear of four topics."""
    with pytest.raises(SetupError, match=r"the topics in, p\.s\.results, p\.s\.costs, p\.s\.dlq are missing"):
        look(Cluster())


@given(st.integers(1, 1 << 24), st.integers(1, 1 << 24))
def test_a_dead_letter_topic_below_the_largest_input_is_refused(largest: int, room: int) -> None:
    """A dead letter holds the input record and its own headers: where it can't, the worker must not start."""
    cluster = Cluster(
        **{"in": (1, 10), "more": (1, largest)}, p_s_results=(1, SIZE), p_s_costs=(1, SIZE), p_s_dlq=(1, room)
    )
    if room >= max(largest, 10) + DEAD_LETTER_LEAST:
        assert look(cluster, ("in", "more")).largest_input == max(largest, 10)
        return
    with pytest.raises(SetupError, match=rf"p\.s\.dlq takes {room} bytes, an input record may have {max(largest, 10)}"):
        look(cluster, ("in", "more"))


@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 12))
def test_an_output_is_aligned_only_with_all_inputs(first: int, second: int, out: int) -> None:
    """Records keep their partition number only where each input has as many partitions as the output."""
    cluster = Cluster(
        **{"in": (first, SIZE), "more": (second, SIZE)},
        p_s_results=(out, SIZE),
        p_s_costs=(first, SIZE),
        p_s_dlq=(second, SIZE + DEAD_LETTER_LEAST),
    )
    found = look(cluster, ("in", "more"))
    assert found.results.aligned == (first == second == out)
    assert found.costs.aligned == found.dlq.aligned == (first == second)
