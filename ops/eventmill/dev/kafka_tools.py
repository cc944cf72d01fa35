"""Kafka's own command-line tools, run from the stack's archives: what a bug report or a second opinion asks for."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from eventmill.dev import jars
from eventmill.dev.java import Java, find_java
from eventmill.dev.part import Command, Report, bare_environment
from eventmill_schemas.errors import UsageError

# Named as in Kafka's bin folder, without "kafka-" in front and ".sh" at the end.
TOOLS = {
    "broker-api-versions": "org.apache.kafka.tools.BrokerApiVersionsCommand",
    "configs": "kafka.admin.ConfigCommand",
    "console-consumer": "org.apache.kafka.tools.consumer.ConsoleConsumer",
    "console-producer": "org.apache.kafka.tools.ConsoleProducer",
    "consumer-groups": "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
    "delete-records": "org.apache.kafka.tools.DeleteRecordsCommand",
    "dump-log": "org.apache.kafka.tools.DumpLogSegments",
    "features": "org.apache.kafka.tools.FeatureCommand",
    "get-offsets": "org.apache.kafka.tools.GetOffsetShell",
    "groups": "org.apache.kafka.tools.GroupsCommand",
    "log-dirs": "org.apache.kafka.tools.LogDirsCommand",
    "metadata-quorum": "org.apache.kafka.tools.MetadataQuorumCommand",
    "topics": "org.apache.kafka.tools.TopicCommand",
    "transactions": "org.apache.kafka.tools.TransactionsCommand",
}
_WITHOUT_BROKER = {"dump-log"}
_BOOTSTRAP = "--bootstrap-server"


def tools_java(report: Report) -> Java:
    """Return how the tools are run, fetching them if need be. Raises SetupError if Java or Maven is missing."""
    return Java(find_java(), jars.ensure(jars.cache_folder(), report), Path(tempfile.gettempdir()))


def kafka_tool(name: str, arguments: Sequence[str], *, java: Java, bootstrap: str) -> Command:
    """Return the command that runs a tool against the broker at `bootstrap`, unless its arguments name another one.

    Raises UsageError if there is no such tool.
    """
    main = TOOLS.get(name)
    if main is None:
        raise UsageError(f"Kafka has no tool '{name}'", remedy=f"There are {', '.join(TOOLS)}")
    named = any(argument.split("=")[0] == _BOOTSTRAP for argument in arguments)
    where = [] if named or name in _WITHOUT_BROKER else [_BOOTSTRAP, bootstrap]
    return Command(java.kafka(main, *where, *arguments), bare_environment())
