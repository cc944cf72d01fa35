#!/usr/bin/env python3
"""Prove from the outside that a stage settled every event once, in order, unchanged, and at the right cost.

Reads the topics as any committed reader would, and the ledger of the model's server; nothing of eventmill is imported.
Use it while the stage is at rest: what is written during the check may look lost or of no source.

Exit status: 0 nothing is wrong, 1 something is, 2 the check could not be made.
"""

import argparse
import json
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from checking.evidence import FAULTS, Evidence, Expect, Fields, Rate, Record, Report, plain
from checking.judge import EVERYTHING, judge
from checking.reading import CannotCheckError, Registry, TopicContent, read_ledger, read_topic

__all__ = ["CannotCheckError", "Expect", "Rate", "Report", "StageTopics", "check", "has_value", "quotes"]


@dataclass(frozen=True, slots=True)
class StageTopics:
    """The topics of one stage. None: not looked at. `other_costs`: those of other stages that use the same ledger."""

    inputs: Sequence[str]
    results: str
    costs: str | None = None
    dlq: str | None = None
    other_costs: Sequence[str] = ()


def check(
    bootstrap: str,
    registry: str,
    stage: StageTopics,
    *,
    ledger_url: str | None = None,
    ledger_since: int = 0,
    prices: Mapping[str, Rate] | None = None,
    expect: Expect = EVERYTHING,
    client: Mapping[str, str] | None = None,
    timeout: float = 60.0,
) -> Report:
    """Read everything about `stage` and judge it.

    `registry`: address of the Confluent REST API, up to before `/schemas`. `ledger_since`: leaves out the ledger's
    entries up to that sequence number. `client`: further librdkafka settings. `timeout`: seconds without news.
    Raises CannotCheckError where something can't be read.
    """
    schemas = Registry(registry)
    content: dict[str, TopicContent] = {}

    def read(topics: Sequence[str]) -> list[Record]:
        for topic in topics:
            if topic not in content:
                content[topic] = read_topic(bootstrap, topic, schemas, timeout, client)
        return [record for topic in topics for record in content[topic].records]

    evidence = Evidence(
        inputs=read(stage.inputs),
        results=read([stage.results]),
        dead_letters=read([stage.dlq]) if stage.dlq else (),
        costs=read([stage.costs]) if stage.costs else None,
        other_costs=read(stage.other_costs),
        calls=read_ledger(ledger_url, ledger_since) if ledger_url else None,
        partitions={topic: read.partitions for topic, read in content.items()},
        open_transactions=[place for read in content.values() for place in read.open_transactions],
    )
    return judge(evidence, expect, prices)


# -- Conditions and reply checks ---------------------------------------------------------------------------------------


def has_value(name: str, value: str) -> Callable[[Fields], bool]:
    """Make a condition for `Expect.takes`: the event's field `name` is `value`."""
    return lambda fields: str(fields.get(name)) == value


def quotes(*fields: str, into: str = "summary") -> Callable[[Fields, Fields], bool]:
    """Make a check for servers that answer with the beginning of the text they were sent, as the stand-in does.

    True where the words of the result's field `into` stand, one after the other, in one of the event's `fields`; the
    last one may be cut. Lines quoted from an earlier mail (`> ...`) don't count: they belong to that mail's answer.
    """

    def answers(event: Fields, result: Fields) -> bool:
        said = _words(result.get(into))
        texts = [_words(_QUOTED.sub("", str(event.get(name) or ""))) for name in fields]
        return any(said in text for text in texts) and bool(said.strip() or not "".join(texts).strip())

    return answers


_QUOTED = re.compile(r"^[ \t]*>.*$", re.MULTILINE)


def _words(text: object) -> str:
    written = str(text or "").replace("\0", "")   # U+0000 is never sent to a model nor stored
    return " " + " ".join(re.findall(r"\w+", written.casefold()))


# -- The command line --------------------------------------------------------------------------------------------------


PRICE = "MODEL=INPUT,OUTPUT[,CACHE-READ[,CACHE-WRITE]] or MODEL=PRICE/h"


def _price(text: str) -> tuple[str, Rate]:
    model, _, rates = text.partition("=")
    try:
        if model and rates.endswith("/h"):
            return model, Rate(Decimal(0), Decimal(0), hour=Decimal(rates.removesuffix("/h")))
        amounts = [Decimal(rate) for rate in rates.split(",")]
    except InvalidOperation:
        amounts = []
    if not model or not 2 <= len(amounts) <= 4:
        raise argparse.ArgumentTypeError(f"{text!r}: write {PRICE} in USD per million tokens, or per hour of compute")
    return model, Rate(*amounts)


def _pair(text: str) -> tuple[str, str]:
    name, found, value = text.partition("=")
    if not (name and found):
        raise argparse.ArgumentTypeError(f"{text!r}: write NAME=VALUE")
    return name, value


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--kafka", metavar="HOST:PORT", default=os.environ.get("EVENTMILL_KAFKA", "127.0.0.1:9092"))
    add("--registry", metavar="URL", default=os.environ.get("EVENTMILL_REGISTRY", "http://127.0.0.1:8081"))
    add("--set", metavar="NAME=VALUE", dest="client", type=_pair, action="append", default=[], help="for librdkafka")
    add("--input", metavar="TOPIC", action="append", required=True, help="input topic; may be given again")
    add("--results", metavar="TOPIC", required=True, help="results topic")
    add("--costs", metavar="TOPIC", help="costs topic")
    add("--dlq", metavar="TOPIC", help="dead letter topic")
    add("--other-costs", metavar="TOPIC", action="append", default=[], help="of another stage with the same ledger")
    add("--ledger", metavar="URL", help="address of the model stand-in")
    add("--ledger-since", metavar="N", type=int, default=0, help="leave out its calls up to this sequence number")
    add("--price", metavar=PRICE, type=_price, action="append", help="USD per million tokens; per hour of compute")
    add("--when", metavar="FIELD=VALUE", type=_pair, help="the stage takes only events with that value")
    add("--skipped", metavar="N", type=int, default=0, help="events that end without an outcome")
    add("--expect-results", metavar="N", type=int)
    add("--expect-dead-letters", metavar="N", type=int)
    add("--quotes", metavar="FIELD,FIELD", help="event fields of which one must hold the words of the result's summary")
    add("--allow-repeated-calls", metavar="N", type=int, default=0)
    add("--allow-unreported-calls", metavar="N", type=int, default=0)
    add("--timeout", metavar="SECONDS", type=float, default=60.0, help="the longest without news from Kafka")
    add("--json", action="store_true", help="print JSON")
    return parser


def _expect(options: argparse.Namespace) -> Expect:
    return Expect(
        takes=None if options.when is None else has_value(*options.when),
        skipped=options.skipped,
        results=options.expect_results,
        dead_letters=options.expect_dead_letters,
        answers=quotes(*options.quotes.split(",")) if options.quotes else None,
        repeated_calls=options.allow_repeated_calls,
        unreported_calls=options.allow_unreported_calls,
    )


def as_table(report: Report) -> str:
    """Write the report for people: every number, then what is wrong and where."""
    lines = [f"{name:24} {number:>12}" for name, number in report.counts.items()]
    for name, amount in (("cost_total", report.cost_total), ("ledger_total", report.ledger_total)):
        if amount is not None:
            lines.append(f"{name:24} {plain(amount):>12} USD")
    lines += [f"  dead letters {kind}: {number}" for kind, number in sorted(report.dead_letter_kinds.items())]
    for name, number in report.faults.items():
        lines += [f"WRONG {number} {FAULTS[name]}", *(f"      {place}" for place in report.samples[name])]
    return "\n".join([*lines, "nothing is wrong" if report.clean else f"WRONG: {', '.join(report.faults)}"])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = _arguments()
    options = parser.parse_args(arguments)
    if (options.ledger or options.other_costs) and not options.costs:
        parser.error("--ledger and --other-costs go with --costs, the stage's own costs topic")
    try:
        report = check(
            options.kafka,
            options.registry,
            StageTopics(options.input, options.results, options.costs, options.dlq, options.other_costs),
            ledger_url=options.ledger,
            ledger_since=options.ledger_since,
            prices=dict(options.price) if options.price else None,
            expect=_expect(options),
            client=dict(options.client),
            timeout=options.timeout,
        )
    except CannotCheckError as problem:
        print(f"checker: {problem}", file=sys.stderr)
        return 2
    print(json.dumps(report.as_json(), indent=2) if options.json else as_table(report))
    return 0 if report.clean else 1


if __name__ == "__main__":
    sys.exit(main())
