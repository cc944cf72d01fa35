"""Whether the cluster fits the pipeline: the plan of `eventmill apply`, as findings."""

from eventmill.cluster.changes import ConfigureTopic, CreateTopic, GrowTopic, RegisterSchema
from eventmill.cluster.plan import Plan
from eventmill.doctor.finding import Finding, fail, ok, warn

_APPLY = "Run: eventmill apply"
_INCOMPATIBLE = "`eventmill apply` shows the registry's reason; or write to another topic"


def topics(plan: Plan, count: int) -> list[Finding]:
    """Say which topics are missing or don't fit. `count`: how many the pipeline has."""
    found: list[Finding] = [fail("topics", problem.message, problem.remedy) for problem in plan.problems]
    for change in plan.changes:
        match change:
            case CreateTopic():
                found.append(fail("topics", f"{change.spec.name} is missing ({change.role})", _APPLY))
            case ConfigureTopic():
                found.append(fail("topics", f"{change.topic} is too small for its records: {change.line()}", _APPLY))
            case GrowTopic():
                detail = f"{change.topic} has {change.now} partitions, its input has {change.partitions}"
                found.append(warn("topics", detail, f"{_APPLY} (partitions can't be taken away again)"))
    grown = any(isinstance(change, GrowTopic) for change in plan.changes)
    found += [warn("topics", text) for text in plan.warnings if not (grown and text.startswith("more partitions"))]
    return found or [ok("topics", f"all {count} are there, partitions match")]


def schemas(plan: Plan, count: int) -> list[Finding]:
    """Say which schemas are not registered. `count`: how many the pipeline has."""
    found = [
        fail("schemas", f"the schema of {change.subject} is not registered", _APPLY)
        for change in plan.changes
        if isinstance(change, RegisterSchema)
    ]
    found += [
        fail("schemas", f"the schema of {c.subject} is not compatible with version {c.after}", _INCOMPATIBLE)
        for c in plan.refused
    ]
    return found or [ok("schemas", f"all {count} are registered")]
