"""The warehouses that there are configurations for: what each sink needs besides what all have in common.

A sink that can, replaces a row whose key comes again (upsert); the others append, and a view takes the newest row.
"""

from collections.abc import Callable, Mapping
from enum import StrEnum

from eventmill_connectors.connect.connector import Source
from eventmill_connectors.connect.references import References

Settings = Mapping[str, str]
CONTROL_TOPIC = "iceberg.control.topic"
"""The setting with the name of a topic that an Iceberg sink commits through, and does not create."""


class Sink(StrEnum):
    """A kind of warehouse."""

    POSTGRES = "postgres"
    ICEBERG = "iceberg"
    S3 = "s3"
    SNOWFLAKE = "snowflake"
    BIGQUERY = "bigquery"
    CLICKHOUSE = "clickhouse"


def sink_settings(sink: Sink, source: Source, references: References, name: str) -> Settings:
    """Return the settings of a connector called `name` that are the sink's own."""
    return _SINKS[sink](source, references, name)


def _postgres(source: Source, references: References, name: str) -> Settings:
    del name
    return {
        "connector.class": "io.debezium.connector.jdbc.JdbcSinkConnector",
        "connection.url": references.to("WAREHOUSE_URL"),
        "connection.username": references.to("WAREHOUSE_USER"),
        "connection.password": references.to("WAREHOUSE_PASSWORD"),
        "connection.restart.on.errors": "true",
        "collection.name.format": source.table,
        "insert.mode": "upsert",
        "delete.enabled": "false",
        # The record's key is the input's, and says nothing about which event it was.
        "primary.key.mode": "record_value",
        "primary.key.fields": source.key,
        "schema.evolution": "basic",
        # A field may be called "order".
        "quote.identifiers": "true",
        "use.time.zone": "UTC",
        "transforms": "flatten",
        "transforms.flatten.type": "org.apache.kafka.connect.transforms.Flatten$Value",
        "transforms.flatten.delimiter": "_",
    }


def _iceberg(source: Source, references: References, name: str) -> Settings:
    return {
        "connector.class": "org.apache.iceberg.connect.IcebergSinkConnector",
        "iceberg.catalog": "iceberg",
        "iceberg.catalog.catalog-impl": "org.apache.iceberg.jdbc.JdbcCatalog",
        "iceberg.catalog.uri": references.to("ICEBERG_CATALOG_URL"),
        "iceberg.catalog.jdbc.user": references.to("ICEBERG_CATALOG_USER"),
        "iceberg.catalog.jdbc.password": references.to("ICEBERG_CATALOG_PASSWORD"),
        "iceberg.catalog.jdbc.schema-version": "V1",
        "iceberg.catalog.warehouse": references.to("ICEBERG_WAREHOUSE"),
        "iceberg.tables": f"eventmill.{source.table}",
        "iceberg.tables.auto-create-enabled": "true",
        "iceberg.tables.evolve-schema-enabled": "true",
        "iceberg.tables.default-id-columns": source.key,
        CONTROL_TOPIC: f"{name}.control",
        "iceberg.control.commit.interval-ms": "60000",
    }


def _s3(source: Source, references: References, name: str) -> Settings:
    del source, name
    return {
        "connector.class": "io.aiven.kafka.connect.s3.AivenKafkaConnectS3SinkConnector",
        "aws.access.key.id": references.to("AWS_ACCESS_KEY_ID"),
        "aws.secret.access.key": references.to("AWS_SECRET_ACCESS_KEY"),
        "aws.s3.region": references.to("AWS_REGION"),
        "aws.s3.bucket.name": references.to("S3_BUCKET"),
        "file.name.template": "{{topic}}/{{partition}}-{{start_offset:padding=true}}.parquet",
        "file.compression.type": "snappy",
        "format.output.type": "parquet",
        "format.output.fields": "value",
        "format.output.envelope": "false",
    }


def _snowflake(source: Source, references: References, name: str) -> Settings:
    del name
    return {
        "connector.class": "com.snowflake.kafka.connector.SnowflakeStreamingSinkConnector",
        "snowflake.url.name": references.to("SNOWFLAKE_URL"),
        "snowflake.user.name": references.to("SNOWFLAKE_USER"),
        "snowflake.private.key": references.to("SNOWFLAKE_PRIVATE_KEY"),
        "snowflake.role.name": references.to("SNOWFLAKE_ROLE"),
        "snowflake.database.name": references.to("SNOWFLAKE_DATABASE"),
        "snowflake.schema.name": references.to("SNOWFLAKE_SCHEMA"),
        "snowflake.topic2table.map": f"{source.topic}:{source.table.upper()}",
        "snowflake.enable.schematization": "true",
        # Version 4 refuses a new set-up that does not say so: it would look for what version 3 left behind.
        "snowflake.streaming.validate.compatibility.with.classic": "false",
    }


def _bigquery(source: Source, references: References, name: str) -> Settings:
    del name
    return {
        "connector.class": "com.wepay.kafka.connect.bigquery.BigQuerySinkConnector",
        "project": references.to("BIGQUERY_PROJECT"),
        "defaultDataset": references.to("BIGQUERY_DATASET"),
        "keySource": "JSON",
        "keyfile": references.to("BIGQUERY_KEY"),
        "topic2TableMap": f"{source.topic}:{source.table}",
        "autoCreateTables": "true",
        "allowNewBigQueryFields": "true",
        "allowBigQueryRequiredFieldRelaxation": "true",
        # Rows are merged by the record's key, which has to be a record with the identifying field.
        "upsertEnabled": "true",
        "kafkaKeyFieldName": "kafka_key",
        "transforms": "key",
        "transforms.key.type": "org.apache.kafka.connect.transforms.ValueToKey",
        "transforms.key.fields": source.key,
    }


def _clickhouse(source: Source, references: References, name: str) -> Settings:
    del name
    return {
        "connector.class": "com.clickhouse.kafka.connect.ClickHouseSinkConnector",
        "hostname": references.to("CLICKHOUSE_HOST"),
        "port": references.to("CLICKHOUSE_PORT"),
        "ssl": "true",
        "database": references.to("CLICKHOUSE_DATABASE"),
        "username": references.to("CLICKHOUSE_USER"),
        "password": references.to("CLICKHOUSE_PASSWORD"),
        "topic2TableMap": f"{source.topic}={source.table}",
        "exactlyOnce": "false",
    }


_SINKS: Mapping[Sink, Callable[[Source, References, str], Settings]] = {
    Sink.POSTGRES: _postgres,
    Sink.ICEBERG: _iceberg,
    Sink.S3: _s3,
    Sink.SNOWFLAKE: _snowflake,
    Sink.BIGQUERY: _bigquery,
    Sink.CLICKHOUSE: _clickhouse,
}
