"""Reads an Iceberg table as a stranger does, with pyiceberg: one JSON document with its columns and rows.

Run by an interpreter of its own: pyiceberg is no dependency of eventmill.
"""

import json
import sys

from pyiceberg.catalog.sql import SqlCatalog


def main(uri: str, warehouse: str, table: str) -> None:
    """Print the table. The catalog's name is a column of its database: it must be the connector's."""
    catalog = SqlCatalog("iceberg", uri=uri, warehouse=warehouse)
    found = catalog.load_table(table)
    rows = found.scan().to_arrow().to_pylist()
    columns = {field.name: str(field.field_type) for field in found.schema().fields}
    print(json.dumps({"columns": columns, "rows": rows}, default=_text))


def _text(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)


if __name__ == "__main__":
    main(*sys.argv[1:])
