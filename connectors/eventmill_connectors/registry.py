"""The schema registry (Confluent's REST API): readers by schema id for events, schema ids by subject for outputs.

Built on confluent-kafka's asynchronous client. What it leaves open is decided here: which answers are about the schema
and which about the registry, how long an answer may take, and that one question is asked once.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from confluent_kafka.schema_registry import AsyncSchemaRegistryClient, Schema
from confluent_kafka.schema_registry.error import SchemaRegistryError

from eventmill_schemas.codec import AvroReader
from eventmill_schemas.errors import EventmillError, RegistryUnreachable, SetupError, Undecodable

DEADLINE = 5.0
"""Seconds for one question to the registry."""

_SUBJECT_NOT_FOUND = 40401
_VERSION_NOT_FOUND = 40402
_SCHEMA_NOT_FOUND = 40403
_NOT_FOUND = frozenset({_SUBJECT_NOT_FOUND, _VERSION_NOT_FOUND, _SCHEMA_NOT_FOUND})
_NO_LEVEL = frozenset({_SUBJECT_NOT_FOUND, 40408})   # 40408: the subject is there, without a level of its own
_LARGEST_ID = (1 << 31) - 1   # ids are Java ints

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Registered:
    """A schema as the registry has it under a subject."""

    schema_id: int
    version: int
    schema: str


class SchemaRegistry:
    """One registry, used from one event loop. No method blocks the loop; each ends within a few times the deadline.

    `url` may hold several addresses, parted by commas, tried in turn. `settings` are confluent-kafka's, such as
    `basic.auth.user.info` or `ssl.ca.location`.
    """

    def __init__(self, url: str, settings: Mapping[str, Any] | None = None, *, deadline: float = DEADLINE) -> None:
        self._url = url
        # One try: who waits for the registry waits at a door, and tries again from there.
        self._settings = {"timeout": deadline, "max.retries": 0, **(settings or {}), "url": url}
        self._deadline = deadline
        self._client: Any = None
        self._opening = asyncio.Lock()
        self._readers: dict[int, AvroReader] = {}
        self._lookups: dict[int, asyncio.Task[AvroReader | EventmillError]] = {}

    def known(self, schema_id: int) -> AvroReader | None:
        """Return the reader of a schema that was looked up before, None where it was not."""
        return self._readers.get(schema_id)

    async def schema(self, schema_id: int) -> AvroReader:
        """Return the reader for values written with a schema. An id means the same for ever, so it is asked for once.

        One lookup is in flight per id, whoever waits for it and whoever stops waiting. Raises Undecodable where the
        registry says that there is no such schema, or that it is not Avro; RegistryUnreachable for every other failure.
        """
        reader = self._readers.get(schema_id)
        if reader is not None:
            return reader
        lookup = self._lookups.get(schema_id)
        if lookup is None:
            lookup = self._lookups[schema_id] = asyncio.create_task(self._look_up(schema_id))
            lookup.add_done_callback(lambda _: self._lookups.pop(schema_id, None))
        found = await asyncio.shield(lookup)
        if isinstance(found, AvroReader):
            return found
        raise type(found)(found.message, remedy=found.remedy) from found.__cause__   # a traceback for each who waited

    async def registered_id(self, subject: str, schema: str) -> int:
        """Return the id under which exactly this schema is registered for `subject`; registers nothing.

        Raises SetupError where it is not registered, saying so if it could not be; RegistryUnreachable.
        """

        async def look_up(client: Any) -> int:
            return int((await client.lookup_schema(subject, Schema(schema, "AVRO"))).schema_id)

        try:
            return await self._ask(look_up)
        except SchemaRegistryError as error:
            if error.error_code not in _NOT_FOUND:
                raise self._refused(subject, error) from error
        if await self.is_compatible(subject, schema):
            raise SetupError(f"the schema of {subject} is not registered", remedy="Run `eventmill apply`")
        raise SetupError(
            f"the schema of {subject} is not registered, and it is not compatible with what is registered there",
            remedy=f"{_COMPATIBLE}; `eventmill apply` shows the registry's reason",
        )

    async def register(self, subject: str, schema: str) -> int:
        """Register a schema and return its id; one that is there already keeps its id.

        The registry checks compatibility in the same step, so that nothing incompatible can slip in between. Raises
        SetupError with the registry's reason where it refuses; RegistryUnreachable.
        """

        async def register(client: Any) -> int:
            return int(await client.register_schema(subject, Schema(schema, "AVRO")))

        try:
            return await self._ask(register)
        except SchemaRegistryError as error:
            raise self._refused(subject, error) from error

    async def is_compatible(self, subject: str, schema: str) -> bool:
        """Whether the registry would take a schema for `subject` (as the subject's level says); changes nothing.

        Raises SetupError where it is not a schema; RegistryUnreachable.
        """
        try:
            return bool(
                await self._ask(lambda client: client.test_compatibility_all_versions(subject, Schema(schema, "AVRO")))
            )
        except SchemaRegistryError as error:
            if error.error_code in _NOT_FOUND:
                return True   # nothing is registered that it could be incompatible with
            raise self._refused(subject, error) from error

    async def set_compatibility(self, subject: str, level: str) -> None:
        """Set the compatibility level of `subject`, such as BACKWARD_TRANSITIVE.

        Raises SetupError where the registry refuses; RegistryUnreachable.
        """
        try:
            await self._ask(lambda client: client.set_compatibility(subject, level))
        except SchemaRegistryError as error:
            raise SetupError(f"the registry refuses the level {level} for {subject}: {_reason(error)}") from error

    async def compatibility(self, subject: str | None = None) -> str | None:
        """Return the compatibility level of `subject`, None where it has none of its own; without one the registry's.

        Raises SetupError where the registry refuses; RegistryUnreachable.
        """
        try:
            return await self._ask(lambda client: _text(client.get_compatibility(subject)))
        except SchemaRegistryError as error:
            if error.error_code in _NO_LEVEL:
                return None
            raise SetupError(f"the registry does not tell its compatibility level: {_reason(error)}") from error

    async def mode(self) -> str:
        """Return whether the registry takes schemas: READWRITE, READONLY or IMPORT.

        Raises SetupError where the registry refuses; RegistryUnreachable.
        """
        try:
            return await self._ask(lambda client: _text(client.get_global_mode()))
        except SchemaRegistryError as error:
            raise SetupError(f"the registry does not tell its mode: {_reason(error)}") from error

    async def latest(self, subject: str) -> Registered | None:
        """Return what is registered last for `subject`, None where nothing is.

        Raises SetupError where the registry refuses; RegistryUnreachable.
        """

        async def find(client: Any) -> Registered:
            found = await client.get_latest_version(subject)
            return Registered(int(found.schema_id), int(found.version), _checked(found.schema).schema_str)

        try:
            return await self._ask(find)
        except SchemaRegistryError as error:
            if error.error_code in _NOT_FOUND:
                return None
            raise self._refused(subject, error) from error

    async def versions(self, subject: str) -> list[Registered]:
        """Return all that is registered for `subject`, the newest last; nothing where the subject is not known.

        Raises SetupError where the registry refuses; RegistryUnreachable.
        """

        async def find(client: Any) -> list[Registered]:
            numbers = sorted(int(number) for number in await client.get_versions(subject))
            found = [await client.get_version(subject, number) for number in numbers]
            return [Registered(int(one.schema_id), int(one.version), _checked(one.schema).schema_str) for one in found]

        try:
            return await self._ask(find)
        except SchemaRegistryError as error:
            if error.error_code in _NOT_FOUND:
                return []
            raise self._refused(subject, error) from error

    async def close(self) -> None:
        """Close the connections. Lookups in flight are cancelled, and with them who waits for one."""
        lookups = list(self._lookups.values())
        for lookup in lookups:
            lookup.cancel()
        await asyncio.gather(*lookups, return_exceptions=True)
        if self._client is not None:
            await self._client.aclose()

    async def _look_up(self, schema_id: int) -> AvroReader | EventmillError:
        """Return the reader, or why there is none: an exception would go to all who wait, with one traceback."""
        try:
            reader = await self._load(schema_id)
        except EventmillError as error:
            return error
        self._readers[schema_id] = reader
        return reader

    async def _load(self, schema_id: int) -> AvroReader:
        if schema_id > _LARGEST_ID:   # not asked: registries answer a number that is no id in many ways
            raise Undecodable(f"there can be no schema {schema_id}: schema ids end at {_LARGEST_ID}")
        try:
            schema = await self._ask(partial(_by_id, schema_id))
            references = await self._references(schema, set())
        except SchemaRegistryError as error:
            if error.error_code == _SCHEMA_NOT_FOUND:
                raise Undecodable(f"the registry has no schema {schema_id}") from error
            raise self._unreachable(f"refused schema {schema_id}: {_reason(error)}") from error
        if schema.schema_type not in (None, "AVRO"):
            raise Undecodable(f"schema {schema_id} is {schema.schema_type}, not AVRO")
        return AvroReader(schema.schema_str, schema_id=schema_id, references=references)

    async def _references(self, schema: Any, seen: set[tuple[str, int]]) -> list[str]:
        """Return the texts of the schemas that `schema` refers to, those they refer to first, each once."""
        texts: list[str] = []
        for reference in schema.references or ():
            place = (reference.subject, reference.version)
            if place in seen:
                continue
            seen.add(place)
            found = await self._ask(partial(_by_version, *place))
            texts += await self._references(found, seen)
            texts.append(found.schema_str)
        return texts

    async def _ask(self, question: Callable[[Any], Awaitable[T]]) -> T:
        """Ask the client. SchemaRegistryError is an answer about the schema; what is none is RegistryUnreachable."""
        try:
            async with asyncio.timeout(self._deadline):
                client = await self._open()
                await client.clear_caches()   # its caches never notice what others changed; ids are cached here
                return await question(client)
        except SchemaRegistryError as error:
            if _is_answer(error):
                raise
            raise self._unreachable(f"answers with HTTP status {error.http_status_code}") from error
        except TimeoutError as error:
            raise self._unreachable(f"gave no answer within {self._deadline:g} s") from error
        except SetupError:
            raise
        except Exception as error:   # the client lets pass what its HTTP and JSON libraries raise
            raise self._unreachable(f"gave no usable answer ({type(error).__name__})") from error

    async def _open(self) -> Any:
        async with self._opening:
            if self._client is None:   # reads certificates from disk: tens of milliseconds
                try:
                    self._client = await asyncio.to_thread(AsyncSchemaRegistryClient.new_client, self._settings)
                except (ValueError, TypeError, OSError) as error:
                    raise SetupError(
                        f"the settings of the schema registry at {_without_password(self._url)} are wrong: {error}",
                        remedy="Check `kafka.registry` and what belongs to it",
                    ) from error
            return self._client

    def _unreachable(self, problem: str) -> RegistryUnreachable:
        return RegistryUnreachable(
            f"the schema registry at {_without_password(self._url)} {problem}",
            remedy="Check `kafka.registry` (for Apicurio it ends in /apis/ccompat/v7) and its credentials",
        )

    def _refused(self, subject: str, error: SchemaRegistryError) -> SetupError:
        return SetupError(f"the registry refuses the schema of {subject}: {_reason(error)}", remedy=_COMPATIBLE)


_COMPATIBLE = "Keep the fields that readers know and give new ones a default, or write to another topic"


async def _text(answer: Awaitable[Any]) -> str:
    found = await answer
    if not isinstance(found, str):
        raise TypeError("the answer is no text")
    return found


async def _by_id(schema_id: int, client: Any) -> Any:
    return _checked(await client.get_schema(schema_id))


async def _by_version(subject: str, version: int, client: Any) -> Any:
    return _checked((await client.get_version(subject, version)).schema)


def _checked(schema: Any) -> Any:
    """Return a schema as the client gives it; it passes on answers that have none."""
    if not isinstance(schema.schema_str, str):
        raise TypeError("the answer holds no schema")
    return schema


def _is_answer(error: SchemaRegistryError) -> bool:
    """Whether the registry itself says something about a schema, not a proxy, a wrong address or a refused key."""
    code = error.error_code
    if not isinstance(code, int) or code < 0 or error.http_status_code in {401, 403, 408, 429}:
        return False
    return 400 <= error.http_status_code < 500 and (error.http_status_code != 404 or code in _NOT_FOUND | _NO_LEVEL)


def _reason(error: SchemaRegistryError) -> str:
    """Return the registry's message without the name of its Java exception."""
    return str(error.error_message).rpartition("Exception: ")[2][:1000]


def _without_password(url: str) -> str:
    return re.sub(r"(?<=://)[^/,]*@", "", url)
