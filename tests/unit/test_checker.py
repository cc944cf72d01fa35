"""The checker notices every fault it is there for, and is silent where nothing is wrong."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from checker import has_value, quotes
from checking.evidence import Call, Evidence, Expect, Rate, Record, plain
from checking.judge import judge
from checking.money import amount

PRICES = {"m": Rate(Decimal("0.25"), Decimal(2), Decimal("0.025"))}
CALL = Decimal("0.00045")   # what 1000 prompt and 100 completion tokens cost
BODIES = ["The boiler is cold", "Where is my parcel", "Lunch on Friday", "Invoice twice", "Please refuse", "Ça va"]


def event(partition: int, offset: int, key: bytes | None, body: str) -> Record:
    """Make an input record of topic `in`."""
    return Record("in", partition, offset, key, body.encode(), (("trace", b"1"),), {"body": body})


def result(of: Record, offset: int, **changes: object) -> Record:
    """Make the result that belongs to an input record, with changes of its fields."""
    fields = {
        "source_topic": of.topic,
        "source_partition": of.partition,
        "source_offset": of.offset,
        "summary": (of.fields or {})["body"],
        "cost": CALL,
        **changes,
    }
    return Record("out", of.partition, offset, of.key, b"avro", (), fields)


def dead_letter(of: Record, offset: int, cost: Decimal = CALL) -> Record:
    """Make the dead letter that belongs to an input record."""
    error = {"topic": of.topic, "partition": of.partition, "offset": of.offset, "kind": "refused_reply"}
    error |= {"attempts": 1, "cost": cost}
    headers = (*of.headers, *((f"eventmill.error.{name}", str(value).encode()) for name, value in error.items()))
    return Record("dlq", of.partition, offset, of.key, of.value, headers, of.fields)


def cost(of: Record, offset: int, **changes: object) -> Record:
    """Make the cost record of an input record's only call, with changes of its fields."""
    fields = {
        "cost_id": f"c-{of.partition}-{of.offset}",
        "source_topic": of.topic,
        "source_partition": of.partition,
        "source_offset": of.offset,
        "model": "m",
        "input_tokens": 1000,
        "output_tokens": 100,
        "cache_read_tokens": 0,
        "certainty": "EXACT",
        "cost": CALL,
        **changes,
    }
    return Record("costs", of.partition, offset, of.key, b"avro", (), fields)


def call(sequence: int, text: str, **changes: object) -> Call:
    """Make the ledger's entry of one call."""
    return Call(sequence, "m", text, served=True, outcome="ok", prompt_tokens=1000, completion_tokens=100)._replace(
        **changes
    )


def clean_run() -> Evidence:
    """Six events on two partitions, five results, one dead letter, one call each."""
    inputs = [event(n % 2, n // 2, b"k%d" % (n % 2), body) for n, body in enumerate(BODIES)]
    done = [record for record in inputs if record.fields != {"body": "Please refuse"}]
    refused = next(record for record in inputs if record not in done)
    return Evidence(
        inputs=inputs,
        results=[result(record, offset) for offset, record in enumerate(done)],
        dead_letters=[dead_letter(refused, 0)],
        costs=[cost(record, offset) for offset, record in enumerate(inputs)],
        calls=[call(n, body) for n, body in enumerate(BODIES, 1)],
        partitions={"in": 2, "out": 2, "dlq": 2, "costs": 2},
    )


EXPECT = Expect(answers=quotes("body"))


def test_a_right_run_is_clean_and_its_numbers_are_the_run_s() -> None:
    """Counts, amounts and the kinds of dead letters are those of the evidence, and nothing is called wrong."""
    report = judge(clean_run(), EXPECT, PRICES)
    assert report.clean, report.faults
    wanted = {"events": 6, "results": 5, "dead_letters": 1, "cost_records": 6, "calls": 6, "calls_served": 6}
    assert {name: report.counts[name] for name in wanted} == wanted
    assert report.cost_total == report.ledger_total == Decimal("0.0027")
    assert report.dead_letter_kinds == {"refused_reply": 1}


def with_results(change: Callable[[list[Record]], list[Record]]) -> Callable[[Evidence], Evidence]:
    """Change the results of a run."""
    return lambda run: replace(run, results=change(list(run.results)))


def with_dead_letter(**changes: object) -> Callable[[Evidence], Evidence]:
    """Change the dead letter of a run."""
    return lambda run: replace(run, dead_letters=[run.dead_letters[0]._replace(**changes)])


def with_first_cost(**changes: object) -> Callable[[Evidence], Evidence]:
    """Change values of the first cost record of a run."""

    def change(run: Evidence) -> Evidence:
        first, *others = run.costs or ()
        return replace(run, costs=[first._replace(fields={**(first.fields or {}), **changes}), *others])

    return change


def with_first_result(**changes: object) -> Callable[[Evidence], Evidence]:
    """Change fields of the first result of a run."""
    return with_results(
        lambda results: [results[0]._replace(fields={**(results[0].fields or {}), **changes}), *results[1:]]
    )


def swap_summaries(results: list[Record]) -> list[Record]:
    """Let the answers of two results change places."""
    first, second, *others = results
    one, two = dict(first.fields or {}), dict(second.fields or {})
    one["summary"], two["summary"] = two["summary"], one["summary"]
    return [first._replace(fields=one), second._replace(fields=two), *others]


def dead_letter_of_aborted(run: Evidence) -> Evidence:
    """Add the outcome of a record that no committed reader sees."""
    aborted = event(0, 77, b"k0", "never committed")
    return replace(run, dead_letters=[*run.dead_letters, dead_letter(aborted, 1)])


BROKEN = {
    "lost": with_results(lambda results: results[1:]),
    "duplicates": with_results(lambda results: [*results, results[-1]._replace(offset=99)]),
    "without_source": dead_letter_of_aborted,
    "order_violations": with_results(lambda results: [results[2], results[1], results[0], *results[3:]]),
    "wrong_partition": with_results(lambda results: [results[0]._replace(partition=1), *results[1:]]),
    "key_changed": with_results(lambda results: [results[0]._replace(key=b"other"), *results[1:]]),
    "value_changed": with_dead_letter(value=b"Please  refuse"),
    "headers_changed": lambda run: with_dead_letter(headers=run.dead_letters[0].headers[1:])(run),
    "wrong_replies": with_results(swap_summaries),
    "unreadable": with_results(lambda results: [*results, results[0]._replace(fields=None)]),
    "outcome_costs": with_first_result(cost=2 * CALL),
    "duplicate_costs": with_first_cost(cost_id="c-1-0"),
    "mispriced": with_first_cost(cost=Decimal("0.000450000001")),
    "cost_vs_ledger": with_first_cost(input_tokens=999),
    "calls_repeated": lambda run: replace(run, calls=[*(run.calls or ()), call(7, BODIES[0])]),
    "calls_unreported": lambda run: replace(run, calls=[*(run.calls or ()), call(7, "asked, then killed")]),
    "behind_open_transaction": lambda run: replace(run, open_transactions=["out/0: 3 records after offset 5"]),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_each_fault_is_noticed_under_its_name(fault: str) -> None:
    """Breaking one thing in a right run gives a report that names this fault and where it is."""
    report = judge(BROKEN[fault](clean_run()), EXPECT, PRICES)
    assert not report.clean
    assert report.faults[fault] == report.counts[fault] >= 1
    assert report.samples[fault]


# A wrong amount also makes the totals wrong; wrong tokens have the wrong amount; a call too many has no cost record.
ALSO = {
    "mispriced": {"cost_vs_ledger", "outcome_costs"},
    "cost_vs_ledger": {"mispriced"},
    "calls_repeated": {"calls_unreported"},
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_fault_is_not_mistaken_for_another(fault: str) -> None:
    """One broken thing is reported as what it is, and as nothing that it does not entail."""
    assert judge(BROKEN[fault](clean_run()), EXPECT, PRICES).faults.keys() == {fault} | ALSO.get(fault, set())


def test_a_duplicate_made_of_result_and_dead_letter_is_noticed() -> None:
    """One event may not have both a result and a dead letter."""
    run = clean_run()
    report = judge(replace(run, dead_letters=[*run.dead_letters, dead_letter(run.inputs[0], 1)]), EXPECT, PRICES)
    assert report.faults == {"duplicates": 1}


def test_an_amount_that_was_a_float_is_wrong_even_where_it_looks_right() -> None:
    """Exactness is part of the claim: a float amount is a fault."""
    report = judge(with_first_cost(cost=0.00045)(clean_run()), EXPECT, PRICES)
    assert report.faults["mispriced"] == 1


def test_a_wrong_price_row_is_noticed_on_every_record_and_in_the_total() -> None:
    """Amounts made with another price than the one given are all wrong, and so is their sum."""
    report = judge(clean_run(), EXPECT, {"m": Rate(Decimal("0.26"), Decimal(2))})
    assert report.faults == {"mispriced": 6, "cost_vs_ledger": 1}


def test_cached_tokens_have_their_own_price() -> None:
    """Tokens read from or stored in a cache are part of the prompt's, at their own rate where there is one."""
    assert amount(PRICES["m"], 1000, 0, 400) == Decimal("0.00016")
    assert amount(PRICES["m"]._replace(cache_write=Decimal(1)), 1000, 0, 400, 100) == Decimal("0.000235")
    assert amount(Rate(Decimal("0.25"), Decimal(2)), 1000, 0, 400, 100) == Decimal("0.00025")
    billed = {"cache_read_tokens": 400, "cache_write_tokens": 100, "cost": Decimal("0.00036")}
    run = with_first_result(cost=billed["cost"])(with_first_cost(**billed)(clean_run()))
    assert judge(replace(run, calls=None), EXPECT, PRICES).clean   # the ledger knows no cache


LOCAL = {
    "model": "mail@3f2a",
    "device": "cpu",
    "compute_seconds": Decimal("0.0123"),
    "output_tokens": None,
    "cost": Decimal("0.000000136667"),   # 0.0123 s x 0.04 USD / 3600
}
HOURLY = {**PRICES, "mail": Rate(Decimal(0), Decimal(0), hour=Decimal("0.04"))}


def with_local_work(**changes: object) -> Evidence:
    """Add the work of a local model to the first event, and to what its result says."""
    run = clean_run()
    local = cost(run.inputs[0], 6, cost_id="local", **{**LOCAL, **changes})
    assert run.costs is not None
    together = CALL + Decimal(str((local.fields or {})["cost"]))
    return with_first_result(cost=together)(replace(run, costs=[*run.costs, local]))


def test_the_work_of_a_local_model_is_priced_by_its_seconds_and_no_server_counts_it() -> None:
    """Seconds x price per hour, to the last digit; the ledger is held against the other records only."""
    report = judge(with_local_work(), EXPECT, HOURLY)
    assert report.clean, report.faults
    assert report.cost_total == Decimal("0.0027") + Decimal("0.000000136667")
    assert report.ledger_total == Decimal("0.0027")


@pytest.mark.parametrize("prices", [PRICES, {**PRICES, "mail": Rate(Decimal(0), Decimal(0), hour=Decimal("0.05"))}])
def test_local_work_at_another_price_is_noticed(prices: dict[str, Rate]) -> None:
    """A price that is not the one given, or none at all, is a fault of that record alone."""
    assert judge(with_local_work(), EXPECT, prices).faults == {"mispriced": 1}


def test_a_stage_with_a_condition_owes_nothing_for_what_it_drops() -> None:
    """Events that the condition drops are skipped, not lost; an outcome for one of them is a fault."""
    run = clean_run()
    wanted = BODIES[0]
    takes = has_value("body", wanted)
    only = Evidence(inputs=run.inputs, results=[result(run.inputs[0], 0)], partitions=run.partitions)
    report = judge(only, Expect(takes=takes))
    assert report.clean
    assert report.counts["skipped"] == 5
    assert judge(replace(only, results=run.results), Expect(takes=takes)).faults == {"not_filtered": 4}
    assert judge(replace(only, results=[]), Expect(takes=takes)).faults == {"lost": 1}


@pytest.mark.parametrize(("skipped", "faults"), [(5, {}), (4, {"lost": 1}), (6, {"unexpected_counts": 1})])
def test_an_expected_number_of_skipped_events_is_exact(skipped: int, faults: dict[str, int]) -> None:
    """Without a condition the number of events without an outcome must be the expected one, neither more nor less."""
    run = clean_run()
    only = Evidence(inputs=run.inputs, results=[result(run.inputs[0], 0)], partitions=run.partitions)
    assert judge(only, Expect(skipped=skipped)).faults == faults


def test_expected_counts_are_compared() -> None:
    """A run with other numbers of results and dead letters than expected is not clean."""
    report = judge(clean_run(), Expect(results=5, dead_letters=2))
    assert report.faults == {"unexpected_counts": 1}
    assert report.samples["unexpected_counts"] == ["dead_letters: 1 instead of 2"]


def test_tombstones_and_undecodable_events_are_events() -> None:
    """Both are counted and owe an outcome like any other event."""
    run = clean_run()
    tombstone = event(0, 50, b"k0", "")._replace(value=None, fields=None)   # nothing came of it
    poison = event(0, 51, b"k0", "")._replace(value=b"\x00\x01", fields=None)
    dead = [*run.dead_letters, dead_letter(poison, 1, cost=Decimal(0))]
    report = judge(replace(run, inputs=[*run.inputs, tombstone, poison], dead_letters=dead), EXPECT, PRICES)
    assert report.faults == {"lost": 1}
    assert report.samples["lost"] == ["in/0@50"]
    assert (report.counts["events"], report.counts["tombstones"], report.counts["undecodable"]) == (8, 1, 1)


def test_partitions_are_compared_only_where_the_counts_match() -> None:
    """With another number of partitions an output record may stand anywhere."""
    run = BROKEN["wrong_partition"](clean_run())
    assert judge(replace(run, partitions={**run.partitions, "out": 3}), EXPECT, PRICES).clean


def test_events_without_a_key_have_no_order() -> None:
    """Results of records without a key may come in any order."""
    inputs = [event(0, offset, None, f"text {offset}") for offset in range(3)]
    results = [result(record, offset) for offset, record in enumerate(reversed(inputs))]
    assert judge(Evidence(inputs=inputs, results=results)).clean


@pytest.mark.parametrize("last", ["ok", "truncated", "refusal", "invalid"])
def test_a_retry_of_a_call_that_failed_is_no_repetition(last: str) -> None:
    """A call after one that was not served or not answered is a retry; one after any answer was paid twice."""
    run = clean_run()
    calls = [
        call(1, "t", outcome="429", served=False, prompt_tokens=0, completion_tokens=0),
        call(2, "t", outcome="timeout"),
        call(3, "t", outcome=last),
    ]
    bare = Evidence(inputs=run.inputs, results=run.results, dead_letters=run.dead_letters)
    report = judge(replace(bare, calls=calls))
    assert report.clean
    assert (report.counts["calls"], report.counts["calls_served"]) == (3, 2)
    assert judge(replace(bare, calls=[*calls, call(4, "t")])).faults == {"calls_repeated": 1}
    assert judge(replace(bare, calls=[*calls, call(4, "t")]), Expect(repeated_calls=1)).clean


def test_unreported_calls_are_allowed_only_up_to_the_limit_and_never_excuse_a_surplus() -> None:
    """After a kill the ledger may hold more calls than cost records, as many as allowed; never fewer tokens."""
    run = BROKEN["calls_unreported"](clean_run())
    assert judge(run, replace(EXPECT, unreported_calls=1), PRICES).clean
    surplus = with_first_cost(input_tokens=5000, cost=Decimal("0.00145"))(run)
    assert "cost_vs_ledger" in judge(surplus, replace(EXPECT, unreported_calls=1), PRICES).faults


def test_an_uncertain_cost_record_accounts_for_a_served_call() -> None:
    """A call whose reply was lost is reported as uncertain, without an amount: that is no unreported call."""
    uncertain = {"certainty": "UNCERTAIN", "cost": None, "input_tokens": None, "output_tokens": None}
    run = with_first_result(cost=None)(clean_run())
    report = judge(with_first_cost(**uncertain)(run), EXPECT, PRICES)
    assert report.clean, report.faults
    assert report.counts["uncertain"] == 1
    claims = judge(with_first_cost(**{**uncertain, "cost": Decimal(0)})(run), EXPECT, PRICES)
    assert claims.faults == {"mispriced": 1, "outcome_costs": 1}


def test_more_billed_costs_than_served_calls_are_noticed() -> None:
    """A cost record with tokens for a call that never happened can't be right."""
    run = clean_run()
    invented = cost(run.inputs[0], 9, cost_id="invented")
    report = judge(replace(run, costs=[*(run.costs or ()), invented]), EXPECT, PRICES)
    assert "cost_vs_ledger" in report.faults


def test_quotes_ignores_case_spacing_and_punctuation_but_not_words() -> None:
    """A summary is the event's own when its words stand in it in the same order, outside of quotes."""
    answers = quotes("subject", "body")
    mail = {"subject": "Kalte  Heizung!", "body": "Guten Tag,\r\nseit gestern <b>kein</b> Strom.\x00 日本語"}
    assert answers(mail, {"summary": "guten tag seit gestern"})
    assert answers(mail, {"summary": "Kalte Heizung"})
    assert answers(mail, {"summary": "日本語"})
    assert answers({"subject": "EMP\0NAME", "body": ""}, {"summary": "EMPNAME"})   # NUL is dropped, not a blank
    assert not answers(mail, {"summary": "Tag gestern"})
    assert answers(mail, {"summary": "guten tag seit ges"})   # cut
    assert not answers(mail, {"summary": "uten tag"})
    assert not answers({"subject": "Re: Lunch", "body": "Yes!\n> Where is it"}, {"summary": "Where is it"})
    assert not answers(mail, {"summary": ""})
    assert answers({"subject": "", "body": None}, {"summary": ""})


@given(st.lists(st.tuples(st.integers(0, 200_000), st.integers(0, 50_000)), max_size=50))
def test_totals_are_exact_for_any_tokens(usages: list[tuple[int, int]]) -> None:
    """The sum of the records is the ledger's tokens x price to the last digit, whatever the numbers."""
    inputs = [event(0, offset, b"k", f"t{offset}") for offset in range(len(usages))]
    rate = PRICES["m"]
    costs = [
        cost(record, record.offset, input_tokens=used[0], output_tokens=used[1], cost=amount(rate, *used))
        for record, used in zip(inputs, usages, strict=True)
    ]
    calls = [
        call(n, f"t{n}", prompt_tokens=prompt, completion_tokens=completion)
        for n, (prompt, completion) in enumerate(usages)
        if prompt or completion
    ]
    results = [
        result(record, record.offset, cost=amount(rate, *used)) for record, used in zip(inputs, usages, strict=True)
    ]
    report = judge(Evidence(inputs, results, costs=costs, calls=calls), EXPECT, PRICES)
    assert report.clean, report.samples
    millionths = sum(25 * prompt + 200 * completion for prompt, completion in usages)   # of a hundredth of a USD
    assert report.cost_total == Decimal(millionths) / 100_000_000


@given(st.permutations(range(6)))
def test_only_growing_source_offsets_are_in_order(offsets: list[int]) -> None:
    """The number of violations is the number of results behind one with a higher source offset."""
    inputs = [event(0, offset, b"k", f"t{offset}") for offset in range(6)]
    results = [result(inputs[offset], position) for position, offset in enumerate(offsets)]
    highest = list(accumulate(offsets, max))
    behind = sum(offset < before for offset, before in zip(offsets, highest, strict=True))
    assert judge(Evidence(inputs=inputs, results=results)).counts["order_violations"] == behind


def test_amounts_are_written_in_plain_digits() -> None:
    """Neither exponents nor trailing zeros: two reports of the same amount read the same."""
    written = {"0E-12": "0", "1E+2": "100", "0.000000450000": "0.00000045", "12": "12"}
    assert {text: plain(Decimal(text)) for text in written} == written


def test_a_tombstone_is_passed_on_with_its_headers() -> None:
    """A tombstone comes out as one that names its source; one that became a value, or lost a header, is a fault."""
    tombstone = Record("in", 0, 0, b"k", None, (("trace", b"1"),))
    source = {"topic": b"in", "partition": b"0", "offset": b"0"}
    place = [(f"eventmill.source.{name}", value) for name, value in source.items()]
    passed = Record("out", 0, 0, b"k", None, (*tombstone.headers, *place))
    report = judge(Evidence(inputs=[tombstone], results=[passed], costs=[]))
    assert report.clean, report.faults
    assert (report.counts["tombstones"], report.counts["tombstones_passed"], report.counts["results"]) == (1, 1, 0)
    bare = passed._replace(headers=tuple(place))
    assert judge(Evidence(inputs=[tombstone], results=[bare])).faults == {"headers_changed": 1}
    valued = result(tombstone._replace(fields={"body": ""}), 0)
    assert judge(Evidence(inputs=[tombstone], results=[valued])).faults == {"tombstones_changed": 1}
    record = event(0, 0, b"k", "text")
    assert judge(Evidence(inputs=[record], results=[passed])).faults == {"tombstones_changed": 1}


def test_the_report_of_an_earlier_failure_is_replaced_not_kept() -> None:
    """A dead letter that comes in again and fails again has the headers of its last failure only."""
    record = event(0, 0, b"k", "text")
    again = record._replace(headers=(*record.headers, ("eventmill.error.offset", b"17")))
    assert judge(Evidence(inputs=[again], results=[], dead_letters=[dead_letter(record, 0)])).clean
    assert judge(Evidence(inputs=[again], results=[], dead_letters=[dead_letter(again, 0)])).clean


@pytest.mark.parametrize(("said", "faults"), [(None, 0), (Decimal(0), 0), (CALL, 1), ("much", 1)])
def test_an_outcome_without_a_call_costs_nothing(said: object, faults: int) -> None:
    """Where no model was asked an outcome says 0 or nothing; any other amount is wrong."""
    record = event(0, 0, b"k", "text")
    dead = dead_letter(record, 0)
    headers = [(name, str(said).encode() if name.endswith(".cost") else value) for name, value in dead.headers]
    letter = dead._replace(headers=tuple(pair for pair in headers if said is not None or not pair[0].endswith(".cost")))
    report = judge(Evidence(inputs=[record], results=[], dead_letters=[letter], costs=[]))
    assert report.counts["outcome_costs"] == faults
    assert report.clean is (faults == 0)
