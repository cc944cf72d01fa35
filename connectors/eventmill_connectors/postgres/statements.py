"""SQL texts of this package: files beside the code, with names of tables put in where they say so."""

import re
from functools import lru_cache
from importlib.resources import files

_PLACE = re.compile(r"\{(\w+)\}")


class Condition(str):
    """A condition of ours, to be put into a statement as it is; never made of what comes from outside."""

    __slots__ = ()


def identifier(name: str) -> str:
    """Return `name` as SQL writes the name of a thing, whatever characters it has."""
    return '"' + name.replace('"', '""') + '"'


@lru_cache(maxsize=256)
def statement(name: str, **parts: str | int) -> str:
    """Return the text of sql/`name`.sql with each {part} replaced: texts are names and are quoted, others are not."""
    text = (files(__package__) / "sql" / f"{name}.sql").read_text()

    def part(found: re.Match[str]) -> str:
        value = parts[found[1]]
        return str(value) if isinstance(value, int | Condition) else identifier(value)

    return _PLACE.sub(part, text)
