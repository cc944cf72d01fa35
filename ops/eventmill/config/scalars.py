"""The scalar types of the pipeline file: how each is written, which values it may take, what to say when it is wrong.

Validators raise ValueError for whatever is wrong, as pydantic wants it.
"""

import re
from datetime import timedelta
from decimal import Decimal
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints

from eventmill.config.interpolate import Interpolated
from eventmill.config.yaml_nodes import INTEGER

_UNITS = {"ms": 1_000, "s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000}   # microseconds
_MAX_DURATION = 24 * _UNITS["h"]   # of what is waited for within one event's work
_DURATION_PART = r"[0-9]{1,9}(?:\.[0-9]{1,6})?(?:ms|s|m|h)"
_DURATION = re.compile(rf"(?:{_DURATION_PART})+")

_POWERS = {"B": 0, "KB": 10, "MB": 20, "GB": 30}   # powers of two, as in the settings of Kafka and Postgres
_SIZE = re.compile(r"([0-9]{1,15}) ?(B|KB|MB|GB)")

_OWN_SETTINGS = frozenset({   # of librdkafka, with aliases
    "acks",
    "auto.offset.reset",
    "bootstrap.servers",
    "delivery.timeout.ms",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.idempotence",
    "group.id",
    "group.instance.id",
    "isolation.level",
    "max.in.flight",
    "max.in.flight.requests.per.connection",
    "message.send.max.retries",
    "message.timeout.ms",
    "metadata.broker.list",
    "partitioner",
    "request.required.acks",
    "retries",
    "transaction.timeout.ms",
    "transactional.id",
})

_PRICE_PLACES = 6        # a price per million tokens with 6 decimals gives a cost with 12: what a cost event holds
_MAX_PRICE = 1_000_000   # USD per million tokens: one dollar a token


def _typed(value: Any) -> Any:
    """Give text from the environment the type that it looks like; a value written in the file has its type already."""
    if isinstance(value, Interpolated):
        if INTEGER.fullmatch(value) and len(value) <= 20:
            return int(value)
        if value.lower() in {"true", "false"}:
            return value.lower() == "true"
    return value


def _duration(value: Any) -> Any:
    if not isinstance(value, str) or not _DURATION.fullmatch(value):
        raise ValueError("must be a duration with its unit, such as `500ms`, `30s`, `5m` or `1h30m`")
    parts = re.findall(r"([0-9.]+)(ms|s|m|h)", value)
    total = int(sum(Decimal(number) * _UNITS[unit] for number, unit in parts))
    if not 0 < total <= _MAX_DURATION:
        raise ValueError("must be longer than 0 and at most 24h")
    return timedelta(microseconds=total)


def _size(value: Any) -> Any:
    value = _typed(value)
    if isinstance(value, str):
        match = _SIZE.fullmatch(value)
        if match is None:
            raise ValueError("must be a number of bytes, such as `64MB` or `67108864`")
        return int(match[1]) << _POWERS[match[2]]
    return value


def _price(value: Any) -> Any:
    """Read a decimal exactly as it is written: never through a float."""
    try:
        price = Decimal(str(value))   # text of anything but a number gives no Decimal
    except ArithmeticError:
        raise ValueError("must be a number of USD per million tokens, such as `0.25`") from None
    if not price.is_finite() or not 0 <= price <= _MAX_PRICE:
        raise ValueError(f"must be from 0 to {_MAX_PRICE} USD per million tokens")
    if price != round(price, _PRICE_PLACES):
        raise ValueError(f"must have at most {_PRICE_PLACES} decimal places, so that every cost is exact")
    return price


def _hour_price(value: Any) -> Any:
    try:
        return _price(value)
    except ValueError as error:
        raise ValueError(str(error).replace("USD per million tokens", "USD per hour").replace("0.25", "0.04")) from None


def _number(value: Any) -> Any:
    if isinstance(value, Interpolated):
        try:
            return float(value)
        except ValueError:
            return value
    return float(str(value)) if isinstance(value, int | Decimal) and not isinstance(value, bool) else value


def _postgres_url(value: str) -> str:
    try:
        parts = urlsplit(value)
        right = parts.scheme in {"postgres", "postgresql"} and (parts.port is None or parts.port > 0)
    except ValueError:
        right = False
    if not right or re.search(r"\s", value):
        raise ValueError("must be a postgresql:// address")
    return value


def _setting_name(name: str) -> str:
    if name in _OWN_SETTINGS:
        raise ValueError("can't be set here: what eventmill promises depends on it")
    return name


def _setting(value: Any) -> Any:
    """Write a librdkafka setting as the text that librdkafka reads."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | Decimal) else value


def _http_url(value: str) -> str:
    try:
        parts = urlsplit(value)
        right = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        right = False
    if not right or re.search(r"\s", value):
        raise ValueError("must be an http:// or https:// address")
    return value


def _http_urls(value: str) -> str:
    return ",".join(_http_url(one.strip()) for one in value.split(","))


def _bare_url(value: str) -> str:
    parts = urlsplit(_http_url(value))
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("must be an address without user, password, query or fragment")
    return value


def _addresses(value: str) -> str:
    for address in value.split(","):
        match = re.fullmatch(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):([0-9]{1,5})", address.strip())
        if match is None or not 0 < int(match[1]) <= 65535:
            raise ValueError("must be `host:port`, or several of them with commas between")
    return ",".join(address.strip() for address in value.split(","))


def _empty_as_none(value: Any) -> Any:
    return None if value == "" else value


def _one_as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


_COUNT = Field(ge=1, le=1_000_000_000)

Count = Annotated[int, _COUNT, BeforeValidator(_typed, json_schema_input_type=Annotated[int, _COUNT])]
Flag = Annotated[bool, BeforeValidator(_typed, json_schema_input_type=bool)]
Text = Annotated[str, StringConstraints(min_length=1)]
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]*$")]
StageName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]*$")]
StepName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
Topic = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,249}$")]
Topics = Annotated[
    list[Topic],
    Field(min_length=1),
    BeforeValidator(_one_as_list, json_schema_input_type=Topic | Annotated[list[Topic], Field(min_length=1)]),
]
Target = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*:[A-Za-z_][A-Za-z0-9_]*$")
]
Duration = Annotated[
    timedelta,
    BeforeValidator(_duration, json_schema_input_type=Annotated[str, Field(pattern=rf"^({_DURATION_PART})+$")]),
]
_SIZE_LIMITS = Field(ge=1, le=1 << 40)
Size = Annotated[
    int,
    _SIZE_LIMITS,
    BeforeValidator(
        _size,
        json_schema_input_type=Annotated[int, _SIZE_LIMITS] | Annotated[str, Field(pattern=rf"^{_SIZE.pattern}$")],
    ),
]
PriceText = Annotated[
    Decimal,
    BeforeValidator(
        _price,
        json_schema_input_type=Annotated[float, Field(ge=0, le=_MAX_PRICE)]
        | Annotated[str, Field(pattern=r"^[0-9.]+$")],
    ),
]
SettingName = Annotated[str, StringConstraints(min_length=1), AfterValidator(_setting_name)]
Setting = Annotated[str, BeforeValidator(_setting, json_schema_input_type=str | int | float | bool)]
HttpUrls = Annotated[str, AfterValidator(_http_urls)]
OptionalBareUrl = Annotated[Annotated[str, AfterValidator(_bare_url)] | None, BeforeValidator(_empty_as_none)]
Addresses = Annotated[str, AfterValidator(_addresses)]
OptionalPostgresUrl = Annotated[Annotated[str, AfterValidator(_postgres_url)] | None, BeforeValidator(_empty_as_none)]
FieldName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
Table = Annotated[str, StringConstraints(pattern=r"^[a-z_][a-z0-9_]{0,47}$")]
HourPrice = Annotated[
    Decimal,
    BeforeValidator(
        _hour_price,
        json_schema_input_type=Annotated[float, Field(ge=0, le=_MAX_PRICE)]
        | Annotated[str, Field(pattern=r"^[0-9.]+$")],
    ),
]

_SHARE, _SIMILARITY = Field(ge=0, le=1), Field(ge=-1, le=1)
Share = Annotated[float, _SHARE, BeforeValidator(_number, json_schema_input_type=Annotated[float, _SHARE])]
Similarity = Annotated[
    float, _SIMILARITY, BeforeValidator(_number, json_schema_input_type=Annotated[float, _SIMILARITY])
]
_WHOLE, _LIMIT, _THREADS = Field(ge=0, le=1_000_000), Field(ge=1, le=1_000), Field(ge=1, le=64)
_CHUNK = Field(ge=8, le=1_000_000)   # a chunk has room for a word beside the model's special tokens
ChunkTokens = Annotated[int, _CHUNK, BeforeValidator(_typed, json_schema_input_type=Annotated[int, _CHUNK])]
Whole = Annotated[int, _WHOLE, BeforeValidator(_typed, json_schema_input_type=Annotated[int, _WHOLE])]
Limit = Annotated[int, _LIMIT, BeforeValidator(_typed, json_schema_input_type=Annotated[int, _LIMIT])]
Threads = Annotated[int, _THREADS, BeforeValidator(_typed, json_schema_input_type=Annotated[int, _THREADS])]
