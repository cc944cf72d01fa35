"""What an expression or template may refer to: told when the pipeline is loaded, before the first event."""

from collections.abc import Collection, Mapping
from typing import Final

from jinja2 import Environment, TemplateSyntaxError, nodes
from jinja2.meta import find_undeclared_variables

from eventmill_agents.scope import EVENT, META, META_FIELDS, RESULT

Known = Mapping[str, Collection[str] | None]
"""Names with the fields they have; None where the fields are not known before an event comes."""

ALL_NAMES: Final[Known] = {EVENT: None, META: META_FIELDS, RESULT: None}

_ITSELF: Final = "self"   # Jinja gives every template a hold on its blocks; Jinja does not count it as a name
_OTHER_FILES: Final = (nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends)

Path = tuple[tuple[bool, str], ...]


def check_names(environment: Environment, tree: nodes.Template, names: Known) -> None:
    """Raise TemplateSyntaxError, with the line, where `tree` can't work for any event.

    That is: a name that is neither in `names` nor a global, a field that a name does not have, an unknown filter or
    test, or another file.
    """
    tree.set_environment(environment)
    undeclared = find_undeclared_variables(tree) | {_ITSELF}
    for name in tree.find_all(nodes.Name):
        if name.name in undeclared and name.name not in names and name.name not in environment.globals:
            raise TemplateSyntaxError(f"unknown name {name.name!r} (there are: {', '.join(names)})", name.lineno)
    for other in tree.find_all(_OTHER_FILES):
        raise TemplateSyntaxError("another template is referred to, and each stands alone", other.lineno)
    for node in tree.find_all((nodes.Getattr, nodes.Getitem)):
        match path_of(node):
            case ((_, root), (_, field), *_) if (fields := names.get(root)) is not None and field not in fields:
                listed = ", ".join(fields) or "no fields"
                raise TemplateSyntaxError(f"{root}.{field} does not exist ({root} has: {listed})", node.lineno)


def path_of(tree: nodes.Node) -> Path | None:
    """Return `tree` as (is it written as an item, name) per part, if it is a bare path such as `event.a['b']`."""
    parts: list[tuple[bool, str]] = []
    while isinstance(tree, nodes.Getattr | nodes.Getitem):
        if isinstance(tree, nodes.Getattr):
            parts.append((False, tree.attr))
        elif isinstance(tree.arg, nodes.Const) and isinstance(tree.arg.value, str):
            parts.append((True, tree.arg.value))
        else:
            return None
        tree = tree.node
    if not isinstance(tree, nodes.Name):
        return None
    parts.append((False, tree.name))
    return tuple(reversed(parts))
