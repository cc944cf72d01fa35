"""What the stages have put out so far, read as any consumer would: committed records only."""

from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal

from confluent_kafka import Consumer, Message, TopicPartition

from eventmill.demo.verdicts import Verdicts
from eventmill_schemas.codec import AvroReader, frame
from eventmill_schemas.dead_letter import DeadLetterReport, from_headers
from eventmill_schemas.pipeline import Pipeline
from eventmill_schemas.records import cost_event_schema
from eventmill_schemas.topics import stage_topics

SHOWN = 10
"""Dead letters that are kept to be shown."""


@dataclass(slots=True)
class Spent:
    """What calls of one stage, model and tenant have cost. `unknown` counts those without an exact amount."""

    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost: Decimal = Decimal(0)
    unknown: int = 0


@dataclass(slots=True)
class StageOutput:
    """The counts of one stage."""

    results: int = 0
    dead_letters: int = 0
    kinds: Counter[str] = field(default_factory=Counter)


class Outputs:
    """Follows the result, cost and dead letter topics of a pipeline from their beginning. Call `read` often."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.stages = {stage.name: StageOutput() for stage in pipeline.stages}
        self.verdicts = {stage.name: Verdicts(stage) for stage in pipeline.stages}
        self.spent: dict[tuple[str, str, str], Spent] = {}
        self.dead: list[DeadLetterReport] = []
        self.cost_records = 0
        self._costs = AvroReader(cost_event_schema())
        self._topics: dict[str, tuple[str, str]] = {}
        for stage in pipeline.stages:
            names = stage_topics(pipeline.name, stage.name, stage.topics)
            self._topics |= {
                names.results: ("results", stage.name),
                names.costs: ("costs", stage.name),
                names.dlq: ("dlq", stage.name),
            }
        self._consumer = Consumer(
            {
                **pipeline.kafka.client,
                "bootstrap.servers": pipeline.kafka.bootstrap,
                "group.id": f"{pipeline.name}.demo",
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "log_level": 0,
            }
        )
        known = self._consumer.list_topics(timeout=15).topics
        self._consumer.assign([TopicPartition(name, p, 0) for name in self._topics for p in known[name].partitions])

    def read(self, seconds: float) -> None:
        """Take in what has been committed; wait at most `seconds` for something."""
        for message in self._consumer.consume(2000, seconds):
            if message.error() is None:
                self._take(message)

    def close(self) -> None:
        """Let go of the consumer."""
        self._consumer.close()

    @property
    def cost(self) -> Decimal:
        """USD over all calls whose amount is known."""
        return sum((spent.cost for spent in self.spent.values()), Decimal(0))

    def _take(self, message: Message) -> None:
        what, stage = self._topics[message.topic() or ""]
        output = self.stages[stage]
        if what == "results":
            output.results += 1
            self.verdicts[stage].take(message.value() or b"")
        elif what == "costs":
            self.cost_records += 1
            self._add_cost(stage, self._costs.decode(frame(message.value() or b"")[1]))
        else:
            output.dead_letters += 1
            report = from_headers([(name, value) for name, value in message.headers() or []])
            output.kinds[report.kind if report else "unknown"] += 1
            if report is not None and len(self.dead) < SHOWN:
                self.dead.append(report)

    def _add_cost(self, stage: str, event: dict[str, object]) -> None:
        place = (stage, str(event["model"]), str(event["tenant"] or "-"))
        spent = self.spent.setdefault(place, Spent())
        spent.calls += 1
        spent.input_tokens += _number(event["input_tokens"])
        spent.output_tokens += _number(event["output_tokens"])
        if isinstance(event["cost"], Decimal):
            spent.cost += event["cost"]
        else:
            spent.unknown += 1


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0
