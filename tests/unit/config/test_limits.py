"""The values that each key takes, at the edges."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from eventmill.config import scalars

VALUES: list[tuple[Any, list[Any], list[Any]]] = [
    # type, what it takes, what it refuses
    (scalars.Count, [1, 10**9], [0, -1, 10**9 + 1, True, "1", Decimal(1), Decimal("1.5"), None, []]),
    (scalars.Flag, [True, False], ["true", 0, 1, None]),
    (scalars.Text, ["x", " "], ["", 1, None, True, ["x"]]),
    (scalars.Name, ["a", "0", "a.b_c-d"], ["", "A", ".a", "-a", "a b", "a\n", "ä", 1]),
    (scalars.StageName, ["a", "0", "b_c-d"], ["", "A", "a.b", "_a", "a/b", "a\n"]),
    (scalars.StepName, ["a", "A.b_C-d", "0"], ["", "_a", "a b", "a@1"]),
    (scalars.Topics, ["a", ["a"], ["a", "B.c_d-1"], "x" * 249],
     ["", [], [""], "x" * 250, "a b", "a/b", ["a", 1], {}, 3]),
    (scalars.Target, ["m:f", "a.b_c:_d1"], ["m", "m.f", ":f", "m:", "m:f.g", "1m:f", "m:f()", "m f:g"]),
    (scalars.HttpUrls, ["http://h", "https://h:1/p/q", "http://u:p@h:8081/x", "http://a:1,https://b:2/p"],
     ["", "h", "h:80", "ftp://h", "http://", "http://h:0", "http://h:99999", "http://h:x", "http://a b", "http://[::1",
      "http://a,", "http://a,b"]),
    (scalars.OptionalBareUrl, ["", None, "http://h/v1"],
     ["http://u@h", "http://h?q=1", "http://h#f", "x", "http://u:p@h"]),
    (scalars.Addresses, ["h:1", "a.b-c_d:65535", "h:1,i:2", "[::1]:9092"],
     ["", "h", "h:", ":1", "h:0", "h:65536", "h:1,", "http://h:1", "h:1 i:2", "h:1;i:2"]),
    (scalars.SettingName, ["security.protocol", "x"], ["", "acks", "bootstrap.servers", "transactional.id"]),
]  # fmt: skip


def takes(kind: Any, value: Any) -> bool:
    """Whether a value is taken as the file's models take it."""
    try:
        TypeAdapter(kind).validate_python(value, strict=True)
    except ValidationError:
        return False
    return True


@pytest.mark.parametrize(("kind", "right", "wrong"), VALUES)
def test_edges(kind: Any, right: list[Any], wrong: list[Any]) -> None:
    """Each type takes the last value that is right and refuses the first that is not."""
    assert [value for value in right if not takes(kind, value)] == []
    assert [value for value in wrong if takes(kind, value)] == []


@pytest.mark.parametrize(
    ("written", "duration"),
    [
        ("1ms", timedelta(milliseconds=1)),
        ("1.5s", timedelta(seconds=1.5)),
        ("90m", timedelta(minutes=90)),
        ("24h", timedelta(days=1)),
        ("1h30m5s250ms", timedelta(hours=1, minutes=30, seconds=5, milliseconds=250)),
        ("0s", None),
        ("0.0001ms", None),
        ("24h1ms", None),
        ("999999999h", None),
        ("9" * 400 + "h", None),
        ("1", None),
        ("1 s", None),
        ("-1s", None),
        ("1d", None),
        ("s", None),
        ("1s ", None),
        ("", None),
        (30, None),
        (None, None),
    ],
)
def test_durations(written: Any, duration: timedelta | None) -> None:
    """A duration has units, is longer than nothing and at most a day."""
    assert takes(scalars.Duration, written) is (duration is not None)
    if duration is not None:
        assert TypeAdapter(scalars.Duration).validate_python(written) == duration


@pytest.mark.parametrize(
    ("written", "size"),
    [
        (1, 1),
        ("1B", 1),
        ("64MB", 64 << 20),
        ("64 MB", 64 << 20),
        ("1GB", 1 << 30),
        ("1024GB", 1 << 40),
        ("3KB", 3 << 10),
        (1 << 40, 1 << 40),
        ((1 << 40) + 1, None),
        ("1025GB", None),
        ("9" * 15 + "GB", None),
        (0, None),
        ("0MB", None),
        ("-1MB", None),
        ("1.5MB", None),
        ("64mb", None),
        ("64MiB", None),
        ("64", None),
        ("", None),
        (True, None),
    ],
)
def test_sizes(written: Any, size: int | None) -> None:
    """A size is a number of bytes with or without a unit, in powers of 1024, from 1 byte to a terabyte."""
    assert takes(scalars.Size, written) is (size is not None)
    if size is not None:
        assert TypeAdapter(scalars.Size).validate_python(written) == size


@given(st.decimals(0, 1_000_000, places=6))
def test_prices_are_exact(price: Decimal) -> None:
    """Every price with six decimal places comes through to the last digit, as number and as text."""
    adapter = TypeAdapter(scalars.PriceText)
    assert adapter.validate_python(price, strict=True) == price
    assert adapter.validate_python(str(price), strict=True) == price


@pytest.mark.parametrize(
    "written",
    [-1, Decimal("-0.000001"), 1_000_001, "0.0000001", "x", "", "NaN", "Infinity", "1e999999", True, None, [], {}],
)
def test_what_is_no_price(written: Any) -> None:
    """A price is a number that exists, is not negative, and gives exact costs."""
    assert not takes(scalars.PriceText, written)


@pytest.mark.parametrize(
    ("value", "text"), [(True, "true"), (False, "false"), (5, "5"), (Decimal("0.10"), "0.10"), ("x", "x")]
)
def test_settings_of_librdkafka_become_text(value: Any, text: str) -> None:
    """What YAML takes for a number or truth value is written for librdkafka as it stood."""
    assert TypeAdapter(scalars.Setting).validate_python(value, strict=True) == text
    assert not takes(scalars.Setting, [value])
    assert not takes(scalars.Setting, None)
