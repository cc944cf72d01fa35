"""The messages for the mistakes that people make: each with file, line and remedy."""

import json
from typing import Any, NamedTuple

import pytest

KEYS_OF_A_STAGE = (
    "`input`, `format`, `event`, `when`, `steps`, `result`, `in_flight`, `window`, `window_bytes`, `order`, "
    "`attempts`, `call_deadline`, `topics`, `partitions`, `on_failure`"
)


class Case(NamedTuple):
    """`old` in the right file is replaced by `new`; the message is at the line of `where`, else where `old` stood."""

    old: str
    new: str
    message: str
    where: str = ""


CASES = [
    # unknown keys, in every section
    Case("allow_unpriced:", "allow_unprized:",
         "`allow_unprized` is not a key that this version of eventmill knows. Did you mean `allow_unpriced`?"),
    Case("pipeline: support-mail", "pipeline: support-mail\nbudgets: {}",
         "`budgets` is not a key that this version of eventmill knows. Known here: `pipeline`, `kafka`, `postgres`, "
         "`models`, `stores`, `routes`, `prices`, `allow_unpriced`, `stages`", "budgets"),
    Case("  registry:", "  regitsry:",
         "`regitsry` is not a key that this version of eventmill knows in `kafka`. Did you mean `registry`?"),
    Case("model: gpt-5-mini, timeout", "model: gpt-5-mini, time_out",
         "`time_out` is not a key that this version of eventmill knows in `writer` item 1. Did you mean `timeout`?"),
    Case('output: "2.00"', 'output: "2.00", cached: 1',
         "`cached` is not a key that this version of eventmill knows in `prices` item 1. Did you mean `cache_read`?"),
    Case("in_flight: 100", "in_flght: 100",
         "`in_flght` is not a key that this version of eventmill knows in `triage`. Did you mean `in_flight`?"),
    Case("in_flight: 100", "dedupe: 24h",
         "`dedupe` is not a key that this version of eventmill knows in `triage`. Known here: " + KEYS_OF_A_STAGE),
    Case("event: {id: id, tenant: tenant}", "event: {id: id, tenat: tenant}",
         "`tenat` is not a key that this version of eventmill knows in `event`. Did you mean `tenant`?"),
    Case("topics: {results: pages, dlq:", "topics: {result: pages, dlq:",
         "`result` is not a key that this version of eventmill knows in `topics`. Did you mean `results`?"),
    Case("fields: [summary]}", "field: [summary]}",
         "`field` is not a key that this version of eventmill knows in `complete`. Did you mean `fields`?"),
    Case("name: pager}", "nam: pager}",
         "`nam` is not a key that this version of eventmill knows in `python`. Did you mean `name`?"),
    Case('- python: "mail:count_words"', '- pyhton: "mail:count_words"',
         "`pyhton` is not a kind of step that this version of eventmill knows in `steps` item 2. "
         "Did you mean `python`?"),
    Case('- python: "mail:count_words"', "- guess: {model: x}",
         "`guess` is not a kind of step that this version of eventmill knows in `steps` item 2. "
         "Known here: `classify`, `complete`, `embed`, `infer`, `python`, `retrieve`"),
    # unknown names
    Case("complete: {route: writer,", "complete: {route: writr,", "there is no route `writr`. Did you mean `writer`?"),
    Case("complete: {route: writer,", "complete: {route: x,", "there is no route `x`. There are: `writer`"),
    Case("fields: [summary]}", "fields: [sumary]}",
         "FOLDER/schemas/triage.avsc has no field `sumary` for steps to fill. Did you mean `summary`?"),
    Case("fields: [summary]}", "fields: [subject]}",
         "FOLDER/schemas/triage.avsc has no field `subject` for steps to fill. There are: `summary`, `words`"),
    # files
    Case("prompt: prompts/triage.md", "prompt: prompts/triag.md",
         "`prompts/triag.md` does not exist in the folder of the pipeline"),
    Case("prompt: prompts/triage.md", f"prompt: {'x' * 300}",
         f"`{'x' * 57}...` can't be read (File name too long) in the folder of the pipeline"),
    Case("result: schemas/triage.avsc", "result: schemas", "`schemas` is not a file in the folder of the pipeline"),
    # what is missing or not finished
    Case("    result: schemas/triage.avsc\n", "", "the key `result` is missing in `triage`", "  triage:"),
    Case("pipeline: support-mail\n", "", "the key `pipeline` is missing", "kafka:"),
    Case("      - python: {function: \"mail:page\", name: pager}", "      - python: {name: pager}",
         "the key `function` is missing in `python`"),
    Case("      - python: {function: \"mail:page\", name: pager}", "      - {}",
         "a step has exactly one kind: `classify`, `complete`, `embed`, `infer`, `python` or `retrieve`"),
    Case('${KAFKA:-127.0.0.1:9092}', "${KAFKA}",
         "the environment variable `KAFKA` is not set, and there is no default as in ${VAR:-default}"),
    # types
    Case("order: key", "order: keys", "`order` must be `key` or `none`, not `keys`"),
    Case("on_failure: dead_letter", "on_failure: hold", "`on_failure` must be `dead_letter`, not `hold`"),
    Case("in_flight: 100", "in_flight: many", "`in_flight` must be a whole number, not `many`"),
    Case("in_flight: 100", 'in_flight: "100"', "`in_flight` must be a whole number, not the text `100`"),
    Case("in_flight: 100", "in_flight: 1.5", "`in_flight` must be a whole number, not `1.5`"),
    Case("in_flight: 100", "in_flight:", "`in_flight` must be a whole number"),
    Case("in_flight: 100", "in_flight: true", "`in_flight` must be a whole number, not `true`"),
    Case("allow_unpriced: false", "allow_unpriced: no", "`allow_unpriced` must be `true` or `false`, not `no`"),
    Case("call_deadline: 2m", "call_deadline: 120",
         "`call_deadline` must be a duration with its unit, such as `500ms`, `30s`, `5m` or `1h30m`, not `120`"),
    Case("window_bytes: 32MB", "window_bytes: 32 megabytes",
         "`window_bytes` must be a number of bytes, such as `64MB` or `67108864`, not `32 megabytes`"),
    Case("pipeline: support-mail", "pipeline: Support Mail",
         "`pipeline` must begin with a lower-case letter or digit and hold only those, `.`, `_` and `-`, "
         "not `Support Mail`"),
    Case("pipeline: support-mail", "pipeline: 7", "`pipeline` must be text, not `7`. Put it in quotes"),
    Case("  escalate:", "  Escalate:",
         "`Escalate` must begin with a lower-case letter or digit and hold only those, `_` and `-`"),
    Case("input: mails", "input: my mails",
         "`input` must be a Kafka topic: at most 249 letters, digits, `.`, `_` and `-`, not `my mails`"),
    Case("input: mails", 'input: [mails, "."]', "the topic `.` is not a topic name"),
    Case("input: mails", "input: [mails, {}]", "`input` item 2 must be text, not a map"),
    Case("input: mails", "input: []", "`input` must not be empty"),
    Case('python: "mail:count_words"', 'python: "mail.count_words"',
         "`python` must be `module:function`, not `mail.count_words`"),
    Case("provider: openai, model: gpt-5-mini,", "provider: anthropic, model: gpt-5-mini,",
         "`provider` must be `openai`, not `anthropic`"),
    Case("    event: {id: id, tenant: tenant}", "    event: id", "`event` must be a map, not `id`"),
    Case("    topics: {results: pages, dlq: page.failures}", "    topics:", "`topics` must be a map"),
    # sense
    Case("window: 1000", "window: 99",
         "`window` (99) is smaller than `in_flight` (100). "
         "A window holds the events in flight and those that wait: leave it out for 8 times `in_flight`"),
    Case("pipeline: support-mail", 'pipeline: support-mail\npostgres: "mysql://user:hush@x"',
         "`postgres` must be a postgresql:// address", "postgres"),
    Case("security.protocol: SSL", "acks: all",
         "`acks` can't be set here: what eventmill promises depends on it"),
    Case("security.protocol: SSL", "security.protocol: [SSL]", "`security.protocol` must be text"),
    Case("input: triage", "input: [triage, others]",
         "the input mixes a stage's results with a topic from outside: say which field holds the event's id. "
         "Add `event: {id: ...}` (`id: null`: topic, partition and offset are the id)"),
    Case("    input: triage", "    format: json\n    input: triage",
         "the results of a stage are Avro, they can't be read as `json`"),
    Case("input: mails", "input: escalate", "events would go round for ever: triage -> escalate -> triage"),
    Case("input: mails", "input: support-mail.triage.dlq", "events would go round for ever: triage -> triage"),
    Case('when: "event.body is defined"', 'when: "event.body =="', "`when` 'event.body =='"),
    Case('when: "event.body is defined"', 'when: "evnt.body"', "`when` 'evnt.body'"),
    Case('when: "event.body is defined"', 'when: "result.summary"', "`when` 'result.summary'"),
    Case('      - python: "mail:count_words"\n', "",
         "FOLDER/schemas/triage.avsc: no step fills `words`. "
         "Add a step that does, or give the field a `from` or a default", "  triage:"),
]


@pytest.mark.parametrize("case", CASES, ids=[f"{case.old.strip()[:20]} -> {case.new.strip()[:30]}" for case in CASES])
def test_one_mistake_gives_one_message_at_its_line(project: Any, case: Case) -> None:
    """The message names the thing, its line and, where there is one, what to do."""
    line = project.spoil(case.old, case.new)
    if case.where:
        line = project.text[: project.text.index(case.where)].count("\n") + 1
    found = [(file, at, text.replace(str(project.folder), "FOLDER")) for file, at, text in project.mistakes()]
    if case.message.startswith("`when`"):   # how it goes on is the expression's own matter
        assert [(file, at) for file, at, _ in found] == [("pipeline.yaml", line)]
        assert found[0][2].startswith(case.message)
    else:
        assert found == [("pipeline.yaml", line, case.message)]


def test_all_mistakes_are_reported_at_once(project: Any) -> None:
    """A mistake hides no other: not in its section, not in another one, not in another file."""
    project.spoil("in_flight: 100", "in_flght: 100")
    project.spoil("attempts: 2", "attempts: 0")
    project.spoil("${KAFKA:-127.0.0.1:9092}", "${KAFKA}")
    project.spoil("timeout: 90s", "timeout: 90")
    project.spoil("input: 0.25", "input: -1")
    project.spoil('python: {function: "mail:page", name: pager}', "complete: {route: writr, prompt: prompts/page.md}")
    project.spoil("result: schemas/page.avsc", "result: schemas/broken.avsc")
    project.write("prompts/page.md", "---\nname: page\nvrsion: 1\n---\nRead this:\n{{ event.body\n")
    project.write("schemas/broken.avsc", '{\n"type": "record",\n}')
    found = project.mistakes()
    assert [(file, line, text.partition(" ")[0]) for file, line, text in found] == [
        ("pipeline.yaml", 3, "the"),
        ("pipeline.yaml", 10, "`timeout`"),
        ("pipeline.yaml", 13, "`input`"),
        ("pipeline.yaml", 24, "`in_flght`"),
        ("pipeline.yaml", 28, "`attempts`"),
        ("pipeline.yaml", 36, "there"),
        ("prompts/page.md", 3, "`vrsion`"),
        ("prompts/page.md", 6, "this"),
        ("schemas/broken.avsc", 3, "this"),
    ]


def test_a_wrong_name_of_the_pipeline_hides_nothing(project: Any) -> None:
    """Neither a missing nor a wrong value at the top keeps the stages from being looked at."""
    project.spoil("result: schemas/page.avsc", "result: schemas/nope.avsc")
    project.spoil("pipeline: support-mail", "pipeline: NO")
    assert [line for _, line, _ in project.mistakes()] == [1, 37]
    project.spoil("pipeline: NO\n", "")
    assert [line for _, line, _ in project.mistakes()] == [1, 36]


def test_the_name_of_a_wrong_stage_is_known_to_others(project: Any) -> None:
    """A stage that reads a stage with a mistake has none itself."""
    project.spoil("in_flight: 100", "in_flght: 100")
    assert len(project.mistakes()) == 1


def test_the_name_of_a_wrong_route_is_known_to_steps(project: Any) -> None:
    """A step that asks a route with a mistake has none itself."""
    project.spoil("timeout: 90s", "timeout: 0s")
    assert [text for _, _, text in project.mistakes()] == ["`timeout` must be longer than 0 and at most 24h, not `0s`"]


def test_a_secret_is_in_no_message(project: Any) -> None:
    """Values of variables, and whatever stands in the kafka section, stay out of what is printed and logged."""
    project.spoil("http://127.0.0.1:8081", "ftp://user:hush@host")
    project.spoil("order: key", "order: ${SECRET}")
    project.spoil("timeout: 90s", "timeout: 'x${SECRET}'")
    project.spoil("in_flight: 100", "in_flight: ${SECRET}")
    found = project.mistakes({"SECRET": "hush", "KAFKA_PASSWORD": "hush"})
    assert [text for _, _, text in found] == [
        "`registry` must be an http:// or https:// address",
        ("`timeout` must be a duration with its unit, such as `500ms`, `30s`, `5m` or `1h30m`, "
        "which the value of `x${SECRET}` is not"),
        "`in_flight` must be a whole number, which the value of `${SECRET}` is not",
        "`order` must be `key` or `none`, which the value of `${SECRET}` is not",
    ]


def test_a_pipeline_hides_its_secrets(project: Any) -> None:
    """The repr of the loaded pipeline, as a log or a debugger shows it, has no password."""
    project.spoil("http://127.0.0.1:8081", "http://user:hush@127.0.0.1:8081")
    pipeline = project.load({"KAFKA_PASSWORD": "hush"})
    assert pipeline.kafka.client["sasl.password"] == "hush"
    assert "hush" not in repr(pipeline)


@pytest.mark.parametrize(
    ("topics", "message"),
    [
        ("{results: support-mail.triage.results}",
         ("the results of stage `escalate` and the results of stage `triage` have one topic, "
         "`support-mail.triage.results`. Give one of them another name under `topics`")),
        ("{dlq: support-mail.triage.costs}",
         ("the dlq of stage `escalate` and the costs of stage `triage` have one topic, `support-mail.triage.costs`. "
         "Give one of them another name under `topics`")),
        ("{dlq: support-mail_triage_dlq}",
         ("Kafka refuses `support-mail_triage_dlq` beside `support-mail.triage.dlq`: its metrics write `.` as `_`. "
         "Give one of them another name under `topics`")),
    ],
)  # fmt: skip
def test_topics_that_would_mix_are_refused(project: Any, topics: str, message: str) -> None:
    """No two stages write different records to one topic; names that Kafka takes for the same are seen before."""
    project.spoil("input: triage", "input: pages")
    line = project.spoil("{results: pages, dlq: page.failures}", topics)
    assert project.mistakes() == [("pipeline.yaml", line, message)]


def test_costs_and_dead_letters_may_be_shared(project: Any) -> None:
    """One topic for the costs of all stages is a usual wish."""
    project.spoil("    result: schemas/triage.avsc", "    result: schemas/triage.avsc\n    topics: {costs: c, dlq: d}")
    project.spoil("{results: pages, dlq: page.failures}", "{costs: c, dlq: d}")
    assert [stage.topics for stage in project.load().stages] == [{"costs": "c", "dlq": "d"}] * 2


def test_one_topic_for_two_purposes_of_a_stage_is_refused(project: Any) -> None:
    """Costs among results would break the schema of the topic."""
    line = project.spoil("{results: pages, dlq: page.failures}", "{results: pages, costs: pages}")
    (found,) = project.mistakes()
    assert found[:2] == ("pipeline.yaml", line)
    assert "`pages`" in found[2] or "'pages'" in found[2]


def test_names_are_together_no_longer_than_kafka_takes(project: Any) -> None:
    """A topic's name has at most 249 characters, pipeline and stage included."""
    longest = "p" * (249 - len(".escalate.control"))
    project.spoil("pipeline: support-mail", f"pipeline: {longest}")
    project.load()
    project.spoil(longest, f"{longest}p")
    found = project.mistakes()
    assert [(file, line) for file, line, _ in found] == [("pipeline.yaml", 38)]
    assert "249" in found[0][2]


def test_two_cycles_are_both_told(project: Any) -> None:
    """Every way on which an event would go round is a message of its own."""
    stages = "".join(
        f"  {name}: {{input: {source}, result: schemas/page.avsc, steps: [{{python: 'm:f'}}]}}\n"
        for name, source in [("a", "b"), ("b", "a"), ("c", "d"), ("d", "e"), ("e", "c"), ("f", "f")]
    )
    project.write("pipeline.yaml", f"pipeline: p\nstages:\n{stages}")
    ways = [frozenset(text.partition(": ")[2].split(" -> ")) for _, _, text in project.mistakes()]
    assert sorted(ways, key=sorted) == [{"a", "b"}, {"c", "d", "e"}, {"f"}]


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("{", 1, "this is not valid JSON"),
        ("{\n\n'a': 1}", 3, "this is not valid JSON"),
        ("[]", 1, "a result schema must be an Avro record"),
        ('{"type": "record", "type": "record"}', 1, "an object has the key `type` twice"),
        ("[" * 100_000, 1, "this is not the JSON of a schema"),
        ("9" * 5000, 1, "this is not the JSON of a schema"),
        ('{"type": "record", "name": "R", "fields": [\n{"name": "a", "type": "txt"}]}', 1, "this is not a valid Avro"),
        ('{"type": "record", "name": "R", "fields": [\n{"name": "a", "type": "int", "from": "event."}]}', 2, "`from`"),
        ('{"type": "record", "name": "R", "fields": [\n{"name": "a", "type": "int", "from": "x"}]}', 2, "`from`"),
        ('{"type": "record", "name": "R", "fields": [\n{"name": "cost", "type": "string"}]}', 2, "the field 'cost'"),
    ],
)
def test_mistakes_in_a_result_schema_are_told_there(project: Any, text: str, line: int, message: str) -> None:
    """The file and line are those of the .avsc."""
    project.write("schemas/page.avsc", text)
    found = [one for one in project.mistakes() if one[0] != "pipeline.yaml"]
    assert [one[:2] for one in found] == [("schemas/page.avsc", line)]
    assert found[0][2].startswith(message)


def test_what_a_model_can_not_answer_is_told_at_the_step(project: Any) -> None:
    """Bytes can't be asked of a model; the message names field and file, the line is the step's."""
    schema = {"type": "record", "name": "T", "fields": [{"name": "summary", "type": "bytes"}]}
    project.write("schemas/triage.avsc", json.dumps(schema))
    ((file, line, text),) = project.mistakes()
    assert (file, line) == ("pipeline.yaml", 21)
    assert text.startswith(f"{project.folder}/schemas/triage.avsc: the field 'summary'")


def test_two_steps_can_not_both_fill_the_rest(project: Any) -> None:
    """Of two steps without `fields` the second would overwrite what the first was paid for."""
    step = "      - complete: {route: writer, prompt: prompts/triage.md}\n"
    line = project.spoil('      - python: "mail:count_words"\n', step + step)
    assert project.mistakes() == [
        (
            "pipeline.yaml",
            line + 1,
            "a second `complete` step without `fields` fills the same. Say with `fields` which step fills which",
        )
    ]


def test_a_step_name_stands_once(project: Any) -> None:
    """Costs and dead letters name the step: it must be clear which."""
    steps = '- python: {function: "mail:page", name: pager}\n      - python: {function: "mail:f", name: pager}'
    line = project.spoil('- python: {function: "mail:page", name: pager}', steps)
    assert project.mistakes() == [("pipeline.yaml", line + 1, "two steps have the name `pager`")]


def test_a_model_has_one_price(project: Any) -> None:
    """Which of two prices holds must not be a guess."""
    entry = '  - {provider: openai, model: small, input: 0.25, output: "2.00"}\n'
    line = project.spoil(entry, entry + entry)
    assert project.mistakes() == [("pipeline.yaml", line + 1, "`small` has two prices")]
