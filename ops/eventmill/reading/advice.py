"""What a person can try about a dead letter, by the kind of its failure."""

from eventmill.reading.dead_letters import DeadLetter

_ADVICE = {
    "undecodable": "Look at what the producer writes: the stage expects framed Avro, or JSON with `format: json`.",
    "missing_field": "Let the pipeline do without the field (`| default(...)`), or have the producer send it.",
    "template_failed": "Correct the expression or prompt in the pipeline, or what the producer sends.",
    "request_refused": "Look at what the model's server says above: a prompt that is too long, or a parameter it does "
    "not take.",
    "invalid_reply": "Make the result schema's docs or the prompt clearer, or take a model that follows schemas.",
    "truncated_reply": "Raise max_output_tokens in the prompt's front matter, or ask for less.",
    "refused_reply": "Read the value below: the model does not answer this. Another model of the route may.",
    "reply_unusable": "Ask another model of the route, or make the prompt clearer.",
    "call_failed": "See whether the model's server works now; raise `attempts` where it often fails.",
    "step_failed": "Correct the python function: the cause says where it failed.",
    "inference_failed": "Compare what the event holds with the inputs of the model that `eventmill models show` lists.",
    "unstorable_vector": "Look at the text that was embedded: its vector has no usable number or the wrong length.",
    "unstorable_result": "Correct what fills the field: a python function, or `from` in the result schema.",
    "record_too_large": "Raise max.message.bytes of the topic, or make the result smaller.",
}


def advice(letter: DeadLetter) -> list[str]:
    """Return what to try, the most special first; sentences without a command that is not there."""
    report = letter.report
    if report is None:
        return ["The record has no headers of eventmill: another program wrote it."]
    found = [f"{report.remedy.rstrip('.')}."] if report.remedy else []
    if (general := _ADVICE.get(report.kind)) is not None and not report.remedy:
        found.append(general)
    if report.retryable:
        found.append("The same event may succeed unchanged.")
    found.append(f"When the cause is mended, produce the event to {report.topic} again.")
    return found
