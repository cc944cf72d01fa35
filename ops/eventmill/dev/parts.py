"""The servers of a stack, made from its folder and state."""

from pathlib import Path

from eventmill.dev import jars
from eventmill.dev.account import unprivileged_account
from eventmill.dev.connect import Connect
from eventmill.dev.folder import StackFolder
from eventmill.dev.java import Java, find_java
from eventmill.dev.kafka import Kafka
from eventmill.dev.part import Part
from eventmill.dev.ports import LOOPBACK
from eventmill.dev.postgres import Postgres, find_binaries, reachable_binaries, reachable_data
from eventmill.dev.registry import Registry
from eventmill.dev.state import State
from eventmill_schemas.errors import UsageError

# In the order of their start: the registry needs its database.
BASE: dict[str, type[Part]] = {"postgres": Postgres, "kafka": Kafka, "registry": Registry}
# With what is started only where it is asked for.
KINDS: dict[str, type[Part]] = {**BASE, "connect": Connect}


def known(name: str) -> str:
    """Return the name of a part. Raises UsageError if there is no such part."""
    if name not in KINDS:
        raise UsageError(f"there is no part '{name}' in the local stack", remedy=f"Its parts are {', '.join(KINDS)}")
    return name


def build(name: str, folder: StackFolder, state: State) -> Part:
    """Return the part as the state describes it, its ports chosen. Raises SetupError if its programs are missing."""
    if name == "postgres":
        account = unprivileged_account()
        data = state.postgres_data or str(reachable_data(folder.path, state.instance, account))
        state.postgres_data = data
        return Postgres(
            data=Path(data),
            binaries=reachable_binaries(find_binaries(), account),
            marker=state.marker(name),
            password=state.password,
            port=state.ports["postgres"],
            account=account,
        )
    if name == "connect":
        return _connect(folder, state)
    java = Java(find_java(), jars.archive_folder(jars.cache_folder()), folder.temporary(name))
    if name == "kafka":
        return Kafka(
            folder=folder.path,
            java=java,
            marker=state.marker(name),
            cluster_id=state.cluster_id,
            port=state.ports["kafka"],
            controller_port=state.ports["controller"],
        )
    return Registry(
        folder=folder.path,
        java=java,
        marker=state.marker(name),
        postgres_port=state.ports["postgres"],
        password=state.password,
        port=state.ports["registry"],
        management_port=state.ports["management"],
    )


def _connect(folder: StackFolder, state: State) -> Connect:
    cache = jars.cache_folder()
    archives, iceberg = jars.archive_folder(cache, jars.CONNECT), jars.archive_folder(cache, jars.ICEBERG)
    account = {"USER": "postgres", "PASSWORD": state.password}
    database = f"jdbc:postgresql://{LOOPBACK}:{state.ports['postgres']}/eventmill"
    return Connect(
        folder=folder.path,
        java=Java(find_java(), archives, folder.temporary("connect")),
        marker=state.marker("connect"),
        plugins=[place / "plugins" for place in (archives, iceberg) if place.is_dir()],
        cluster_id=state.cluster_id,
        kafka_port=state.ports["kafka"],
        port=state.ports["connect"],
        variables={
            "WAREHOUSE_URL": database,
            **{f"WAREHOUSE_{name}": value for name, value in account.items()},
            "ICEBERG_CATALOG_URL": database,
            **{f"ICEBERG_CATALOG_{name}": value for name, value in account.items()},
            "ICEBERG_WAREHOUSE": (folder.path / "connect" / "warehouse").as_uri(),
        },
    )
