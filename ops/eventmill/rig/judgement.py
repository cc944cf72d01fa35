"""The independent checker's word on what was lost or doubled: a program of its own that imports nothing of ours."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eventmill.dev.addresses import Addresses
from eventmill_schemas.errors import SetupError
from eventmill_schemas.pipeline import Pipeline
from eventmill_schemas.topics import stage_topics

CHECKER = Path("tests/checker.py")


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the checker found of one stage. `problems` empty: nothing is wrong."""

    results: int
    dead_letters: int
    lost: int
    duplicates: int
    cost_records: int
    cost_total: str
    problems: dict[str, int]


def judge(root: Path, addresses: Addresses, pipeline: Pipeline, stage: str, options: list[str]) -> Judgement:
    """Run the checker over one stage's topics. Raises SetupError where it could not look."""
    described = pipeline.stage(stage)
    names = stage_topics(pipeline.name, stage, described.topics)
    command = [sys.executable, str(root / CHECKER), "--kafka", addresses.bootstrap, "--registry", addresses.registry]
    for topic in described.inputs:
        command += ["--input", topic]
    command += ["--results", names.results, "--costs", names.costs, "--dlq", names.dlq, "--json", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own command
    if done.returncode not in (0, 1):
        raise SetupError(f"the checker could not look at stage {stage!r}: {done.stderr.strip()[-500:]}")
    report: dict[str, Any] = json.loads(done.stdout)
    counts = report["counts"]
    return Judgement(
        results=counts["results"],
        dead_letters=counts["dead_letters"],
        lost=counts["lost"],
        duplicates=counts["duplicates"],
        cost_records=counts["cost_records"],
        cost_total=report["cost_total"] or "0",
        problems=report["faults"],
    )
