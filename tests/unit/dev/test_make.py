"""What `make` offers is what `make help` says."""

import re
import subprocess

import pytest


def test_help_names_every_target_with_a_line(pytestconfig: pytest.Config) -> None:
    """And is what `make` alone does."""
    made = subprocess.run(["make", "-C", pytestconfig.rootpath, "-s"], capture_output=True, text=True, check=True)
    listed = dict(re.findall(r"^  make ([a-z]+) +(\S.*)$", made.stdout, re.MULTILINE))
    declared = set(re.findall(r"^\.PHONY: (\S+)$", (pytestconfig.rootpath / "Makefile").read_text(), re.MULTILINE))
    assert set(listed) == declared
    assert {"setup", "test", "demo", "bench"} <= declared


def test_accept_asks_for_its_events(pytestconfig: pytest.Config) -> None:
    """Before anything is run on nothing."""
    argv = ["make", "-C", pytestconfig.rootpath, "-s", "-o", "setup", "accept"]
    planned = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert planned.returncode == 2
    assert "make accept DATA=" in planned.stderr
