"""YAML text to plain values that remember their lines.

Scalars follow the core schema of YAML 1.2 (https://yaml.org/spec/1.2.2/#103-core-schema), not 1.1: `no`, `on`, `12:30`
and `2026-01-01` are text. A number with a fraction is a Decimal of exactly the digits that are written.
"""

import re
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, NamedTuple

import yaml

from eventmill.config.interpolate import interpolate
from eventmill.config.problems import Problems, shortened
from eventmill_schemas.errors import PipelineFileError

KeyPath = tuple[str | int, ...]

_MAX_DEPTH = 32        # levels; a pipeline has at most seven
_MAX_STEPS = 100_000   # values after aliases are followed: nine lines of YAML can stand for a billion

_TAG = "tag:yaml.org,2002:"
INTEGER = re.compile(r"[-+]?[0-9]+")


class _Loader(yaml.SafeLoader):
    """SafeLoader with the core schema's plain scalars. Not libyaml's: that one ends the process on deep nesting."""

    yaml_implicit_resolvers: dict[str, Any] = {}   # noqa: RUF012 - the attribute's type is PyYAML's


_Loader.add_implicit_resolver(f"{_TAG}bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF"))
_Loader.add_implicit_resolver(f"{_TAG}null", re.compile(r"^(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""])
_Loader.add_implicit_resolver(f"{_TAG}int", re.compile(rf"^{INTEGER.pattern}$"), list("-+0123456789"))
_Loader.add_implicit_resolver(
    f"{_TAG}float", re.compile(r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$"), list("-+.0123456789")
)
_Loader.add_implicit_resolver(f"{_TAG}merge", re.compile(r"^<<$"), ["<"])


@dataclass(frozen=True, slots=True)
class Document:
    """One YAML document as plain values. Lines count from 1."""

    file: str
    data: Any
    key_lines: Mapping[KeyPath, int] = field(default_factory=dict)     # of the entry with this path
    value_lines: Mapping[KeyPath, int] = field(default_factory=dict)   # of its value
    broken: frozenset[KeyPath] = frozenset()                           # values that stand for a noted mistake

    def line(self, path: KeyPath) -> int:
        """Return the line of the value at `path`, of its key where it is a map or list, else of what is around it."""
        while path and path not in self.key_lines:
            path = path[:-1]
        lines = self.key_lines if isinstance(self.at(path), dict | list) else self.value_lines
        return lines.get(path, 1)

    def key_line(self, path: KeyPath) -> int:
        """Return the line of the key at `path`, else of what is around it."""
        while path and path not in self.key_lines:
            path = path[:-1]
        return self.key_lines.get(path, 1)

    def at(self, path: KeyPath) -> Any:
        """Return the value at `path`, None where there is none."""
        value = self.data
        for step in path:
            try:
                value = value[step]
            except (KeyError, IndexError, TypeError):
                return None
        return value


def read(
    text: str, file: str, problems: Problems, environ: Mapping[str, str] | None = None, first_line: int = 1
) -> Document:
    """Read one YAML document; `environ` None: `${...}` is plain text.

    Notes in `problems`: duplicate keys, variables that are not set, tags and keys that are not plain.
    Raises PipelineFileError where the text is no YAML document at all.
    """
    lines = Lines(text, first_line)
    node = _compose(text, file, lines)
    if node is None:
        return Document(file, None, {(): first_line}, {(): first_line})
    converter = _Converter(file, problems, environ, lines)
    data = converter.value(node, ())
    return Document(file, data, converter.key_lines, converter.value_lines, frozenset(converter.broken))


class Lines:
    """The lines of a text as an editor counts them. PyYAML counts U+0085, U+2028 and U+2029 as line ends too."""

    def __init__(self, text: str, first: int = 1) -> None:
        self._ends = [at for at, character in enumerate(text) if character == "\n" and at < len(text) - 1]
        self._first = first

    def at(self, index: int) -> int:
        """Return the line of the character at `index`; behind the text it is the last line."""
        return self._first + bisect_left(self._ends, index)


def _compose(text: str, file: str, lines: Lines) -> yaml.Node | None:
    loader: _Loader | None = None
    try:
        loader = _Loader(text)
        return loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = ", ".join(part for part in (error.context, error.problem) if part)
        line = lines.at(mark.index if mark else 0)
        raise PipelineFileError(f"this is not valid YAML: {what}", file=file, line=line) from None
    except yaml.reader.ReaderError as error:
        code = error.character   # of text it is the code point; of bytes, which are not read here, one byte
        raise PipelineFileError(
            f"the character U+{code:04X} is not allowed in YAML", file=file, line=lines.at(error.position)
        ) from None
    except RecursionError:
        line = lines.at(loader.index if loader else 0)
        raise PipelineFileError("this is nested too deep", file=file, line=line) from None
    finally:
        if loader is not None:
            loader.dispose()


class _Entry(NamedTuple):
    name: str
    key: yaml.Node
    value: yaml.Node


class _Converter:
    """Turns composed nodes into values and notes where each one stands."""

    def __init__(self, file: str, problems: Problems, environ: Mapping[str, str] | None, lines: Lines) -> None:
        self._file = file
        self._problems = problems
        self._environ = environ
        self._lines = lines
        self._steps = 0
        self.key_lines: dict[KeyPath, int] = {}
        self.value_lines: dict[KeyPath, int] = {}
        self.broken: set[KeyPath] = set()

    def _line(self, node: yaml.Node) -> int:
        return self._lines.at(node.start_mark.index)

    def _wrong(self, path: KeyPath, node: yaml.Node, message: str) -> None:
        self._problems.add(message, file=self._file, line=self._line(node))
        self.broken.add(path)

    def value(self, node: yaml.Node, path: KeyPath, key: yaml.Node | None = None) -> Any:
        """Return the plain value of `node`, which stands at `path` under `key`."""
        self._bounded(node, len(path))
        self.value_lines[path] = self._line(node)
        self.key_lines[path] = self._line(key or node)
        if isinstance(node, yaml.MappingNode) and node.tag == f"{_TAG}map":
            return {name: self.value(value, (*path, name), key) for name, key, value in self._entries(node)}
        if isinstance(node, yaml.SequenceNode) and node.tag == f"{_TAG}seq":
            return [self.value(item, (*path, index)) for index, item in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path)
        self._wrong(path, node, f"the YAML tag `{node.tag}` is not supported")
        return None

    def _bounded(self, node: yaml.Node, depth: int) -> None:
        """Count one more step; end a reading that aliases make endless or exponential."""
        self._steps += 1
        if self._steps > _MAX_STEPS or depth > _MAX_DEPTH:
            what = "stands for too many values" if self._steps > _MAX_STEPS else "is nested too deep"
            raise PipelineFileError(
                f"this {what}", file=self._file, line=self._line(node), remedy="Look at the aliases (`*name`) around it"
            )

    def _entries(self, node: yaml.MappingNode, depth: int = 0) -> Iterator[_Entry]:
        """Yield the entries of a map: its own ones first, then what it takes in by `<<` and has not itself."""
        own: dict[str, int] = {}
        taken: list[yaml.Node] = []
        for key, value in node.value:
            line = self._line(key)
            if not isinstance(key, yaml.ScalarNode):
                self._problems.add("a key must be plain text", file=self._file, line=line)
            elif key.tag == f"{_TAG}merge":
                taken.extend(value.value if isinstance(value, yaml.SequenceNode) else [value])
            elif key.value in own:
                first = own[key.value]
                self._problems.add(f"`{key.value}` is given twice, first in line {first}", file=self._file, line=line)
            else:
                own[key.value] = line
                yield _Entry(key.value, key, value)
        for other in taken:
            self._bounded(other, depth)
            if not isinstance(other, yaml.MappingNode):
                self._problems.add("`<<` takes a map, or a list of maps", file=self._file, line=self._line(other))
                continue
            for entry in self._entries(other, depth + 1):
                if entry.name not in own:
                    own[entry.name] = self._line(entry.key)
                    yield entry

    def _scalar(self, node: yaml.ScalarNode, path: KeyPath) -> Any:
        text: str = node.value
        if self._environ is not None and "${" in text:
            try:
                return interpolate(text, self._environ)
            except ValueError as error:
                self._wrong(path, node, str(error))
                return ""
        try:
            return _plain(node.tag, text)
        except (ValueError, ArithmeticError):
            self._wrong(path, node, f"`{shortened(text)}` is not a number")
            return None
        except KeyError:
            self._wrong(path, node, f"the YAML tag `{node.tag}` is not supported")
            return None


def _plain(tag: str, text: str) -> Any:
    """Return a scalar's value; KeyError for an unknown tag, ValueError or ArithmeticError for a bad number."""
    match tag.removeprefix(_TAG):
        case "str" | "merge":
            return text
        case "null":
            return None
        case "bool":
            return text.lower() == "true"
        case "int":
            return int(text)
        case "float":
            return Decimal(text)
    raise KeyError(tag)
