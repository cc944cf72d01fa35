"""Command groups that import a command's module when the command is used, and not before."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, ClassVar

import typer
from typer.core import TyperCommand, TyperGroup


@dataclass(frozen=True)
class Lazy:
    """A command that is not loaded yet: the module that has it as `app`, and its line in the help."""

    module: str
    help: str


class LazyGroup(TyperGroup):
    """A group of commands of which those in `lazy` cost nothing until one of them is called.

    The help of the group, and shell completion of a command's name, use the help lines given there.
    """

    lazy: ClassVar[Mapping[str, Lazy]] = {}

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        for name, command in self.lazy.items():
            self.add_command(TyperCommand(name, help=command.help, rich_markup_mode=None))

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """Find the command named by the arguments, and load it."""
        name, command, rest = super().resolve_command(ctx, args)
        if name is not None and name in self.lazy:
            command = typer.main.get_command(import_module(self.lazy[name].module).app)
            command.name = name
        return name, command, rest


def command_app(*, help: str | None = None, group: type[LazyGroup] = LazyGroup) -> typer.Typer:  # noqa: A002  # typer's word
    """Return what a command module has as `app`: add one command to it, or several to make it a group.

    Plain text everywhere, so that what is piped, logged and shown is the same.
    """
    return typer.Typer(cls=group, help=help, no_args_is_help=True, add_completion=False, rich_markup_mode=None)
