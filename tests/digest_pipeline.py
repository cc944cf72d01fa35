"""A small pipeline that tests put to work: notes are summed up by a model, and copied by a second stage."""

import json

INPUT = json.dumps(
    {
        "type": "record",
        "name": "Note",
        "fields": [{"name": "id", "type": "string"}, {"name": "body", "type": "string"}],
    }
)
RESULT = json.dumps(
    {
        "type": "record",
        "name": "Digest",
        "fields": [
            {"name": "note", "type": "string", "from": "event.id"},
            {"name": "summary", "type": "string", "doc": "The note in one sentence."},
        ],
    }
)
COPY = json.dumps(
    {
        "type": "record",
        "name": "Copy",
        "fields": [
            {"name": "note", "type": "string", "from": "event.note"},
            {"name": "summary", "type": "string", "from": "event.summary"},
        ],
    }
)
PIPELINE = """
routes: {writer: [{provider: openai, model: gpt-5-mini}]}
stages:
  digest:
    input: "{name}.notes"
    event: {id: id}
    result: digest.avsc
    steps: [complete: {route: writer, prompt: digest.md}]
    in_flight: 50
  copy:
    input: digest
    result: copy.avsc
    steps: []
"""
PROMPT = "---\nname: digest\nversion: '1'\n---\n{{ event.body | data }}\n"

