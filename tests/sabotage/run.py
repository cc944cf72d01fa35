#!/usr/bin/env python3
"""Break the product in one named way at a time, and see that a test notices.

Each defect is a module of `defects/`; the tests that must notice it run with it loaded, in their own process and in the
workers they start. Exit 0 only if every defect turned its tests red, and the same tests are green without one.
"""

import argparse
import os
import re
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PIPELINE = "tests/integration/test_pipeline.py"
TRANSACTION = "tests/integration/kafka/test_transaction.py"

DEFECTS: dict[str, list[str]] = {
    "commit_before_produce": [TRANSACTION],
    "frontier_past_hole": ["tests/unit/streams/test_settled.py"],
    "settled_set_dropped": ["tests/unit/streams/test_settled.py"],
    "price_doubled": [PIPELINE],
    "key_order_off": [PIPELINE],
    "reply_to_neighbour": [PIPELINE],
}


def run(defect: str, tests: list[str]) -> tuple[bool, str, float]:
    """Run `tests` with `defect` loaded; say whether they passed, the first that failed, and the seconds."""
    environ = {**os.environ, "SABOTAGE": defect, "PYTHONPATH": str(HERE)}
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    began = time.monotonic()
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)
    failed = re.search(r"^(?:FAILED|ERROR) (\S+)(?: - (.*))?$", done.stdout, re.MULTILINE)
    noticed = f"{failed[1].split('::')[-1]}: {(failed[2] or '')[:70]}" if failed else done.stdout.strip()[-70:]
    if done.returncode not in (0, 1):
        noticed = f"the tests could not run: {(done.stdout + done.stderr).strip()[-300:]}"
    return done.returncode == 0, noticed, time.monotonic() - began


def main() -> int:
    """Run all defects, or the named ones, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("defect", nargs="*", choices=[*DEFECTS, []], help="only these")
    names = parser.parse_args().defect or list(DEFECTS)
    everything = sorted({test for name in names for test in DEFECTS[name]})
    green, noticed, seconds = run("", everything)
    print(f"{'none':24} {'green' if green else 'RED'}   {seconds:5.0f} s  {'' if green else noticed}", flush=True)
    red = 0
    for name in names:
        passed, noticed, seconds = run(name, DEFECTS[name])
        red += not passed and not noticed.startswith("the tests could not run")
        print(f"{name:24} {'GREEN' if passed else 'red'}   {seconds:5.0f} s  {noticed}", flush=True)
    print(f"{red} of {len(names)} defects were noticed")
    return 0 if green and red == len(names) else 1


if __name__ == "__main__":
    sys.exit(main())
