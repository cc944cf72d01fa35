"""The examples that are run from beginning to end, and what each needs to be fed."""

import csv
from pathlib import Path

from eventmill.demo.models import LocalModel
from eventmill.demo.placement import Example
from eventmill.rig.judgement import CHECKER
from eventmill_schemas.errors import SetupError, UsageError

QUERIES = "test.csv"
LABELS = "train.csv"
_COLUMNS = ("text", "category")


def support_mail(root: Path) -> Example:
    """Return the demo: mails to four companies. Raises SetupError where `root` is not eventmill's repository."""
    folder = _example(root, "support-mail")
    return Example(
        folder=folder,
        topic="mails",
        schema="schemas/mail.avsc",
        events=folder / "mails.jsonl",
        produce=("--key", "customer", "--id", "id"),
        quotes="body,subject",
        model=LocalModel("mail", "MAIL_MODEL", folder / "labels.csv"),
        searches=(("mails", "the payroll export shows no hours and pay day is near"),),
    )


def intents(root: Path, data: Path) -> Example:
    """Return the acceptance run: the questions in `data`/test.csv, typed by customers of a bank.

    The model in the worker learns from `data`/train.csv. Questions of one category share a key, so that there is an
    order to keep. Raises UsageError where a file can't be it, SetupError where `root` is not eventmill's repository.
    """
    folder, events, labels = _example(root, "intents"), data / QUERIES, data / LABELS
    _check(events)
    _check(labels)
    return Example(
        folder=folder,
        topic="queries",
        schema="schemas/query.avsc",
        events=events,
        produce=("--map", "id=#line", "--map", "label=category", "--drop-unknown", "--key", "label", "--id", "id"),
        quotes="text",
        model=LocalModel("intents", "INTENTS_MODEL", labels, ("--label-column", "category")),
    )


def _example(root: Path, name: str) -> Path:
    folder = root / "examples" / name
    if not (root / CHECKER).is_file() or not folder.is_dir():
        raise SetupError(
            f"here is neither examples/{name} nor {CHECKER}", remedy="Run this in a clone of eventmill's repository"
        )
    return folder


def _check(file: Path) -> None:
    need = f"it needs a CSV file with the columns {' and '.join(_COLUMNS)}"
    if not file.is_file():
        raise UsageError(f"{file} is not there; {need}", remedy="Name the folder that holds it")
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            header = next(csv.reader(lines), [])
    except (OSError, UnicodeDecodeError, csv.Error) as problem:
        raise UsageError(f"{file} can't be read ({problem}); {need}") from None
    missing = [column for column in _COLUMNS if column not in header]
    if missing:
        raise UsageError(
            f"{file}:1: there is no column {' and no column '.join(missing)}; {need}",
            remedy=f"Its columns are: {', '.join(header) or 'none'}",
        )
