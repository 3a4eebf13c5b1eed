"""How ``--help`` looks: one layout for all commands, in which nothing is broken that is to be copied."""

from __future__ import annotations

import re
import shutil
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from itertools import takewhile
from typing import Any, ClassVar

import typer
from rich.console import Console
from rich.text import Text
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from pipeline.errors import UsageError

WIDEST = 100
NAMES = 28
"""Columns for the names of options; a longer one stands on a line of its own."""

Record = tuple[str, str]
"""A name, and what is said of it."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A command as the overview shows it, before its module is imported."""

    module: str
    panel: str
    summary: str


class _OfProgram:
    """What commands, and commands of commands, have in common."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse what was typed; an option of the whole program is told where it belongs."""
        misplaced = _names(ctx.find_root().command) - _names(self)
        options = takewhile("--".__ne__, args)
        if not ctx.allow_interspersed_args:  # what follows a command of commands is another's
            options = takewhile(lambda word: word.startswith("-"), options)
        if name := next(filter(misplaced.__contains__, options), None):
            program, _, command = ctx.command_path.partition(" ")
            raise UsageError(f"{name} stands before the command: {program} {name} {command} ...")
        try:
            return super().parse_args(ctx, args)  # type: ignore[misc, no-any-return]
        except typer.BadParameter as error:
            if (details := getattr(error.__cause__, "errors", None)) is not None:
                from registration.settings import in_words  # slow to import for a --help

                error.message = in_words(details()[0])
            raise


class HelpfulCommand(_OfProgram, TyperCommand):
    """A command whose help is laid out here."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Return ``[OPTIONS] HE IHC``."""
        arguments = [_argument(param) for param in self.params if not _is_option(param)]
        return ["[OPTIONS]", *arguments]

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print usage, what the command does, its arguments and options, and examples."""
        params: list[Any] = [
            param for param in self.get_params(ctx) if not getattr(param, "hidden", False)
        ]
        arguments = [(_argument(p), p.help or "") for p in params if not _is_option(p)]
        sections: dict[str, list[Record]] = {"Arguments": arguments, "Options": []}
        for param in params:
            if _is_option(param) and (record := param.get_help_record(ctx)):
                sections.setdefault(param.rich_help_panel or "Options", []).append(_plain(record))
        _print(ctx.get_usage(), self.help, sections, self.epilog)


class HelpfulGroup(_OfProgram, TyperGroup):
    """A command of commands whose help is laid out here."""

    def panels(self) -> dict[str, list[Record]]:
        """Return the commands as the overview shows them, by group."""
        return {
            "Commands": [(name, cmd.get_short_help_str(200)) for name, cmd in self.commands.items()]
        }

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the overview."""
        options = [
            record for param in self.get_params(ctx) if (record := param.get_help_record(ctx))
        ]
        _print(ctx.get_usage(), self.help, {**self.panels(), "Options": options}, self.epilog)


class LazyGroup(HelpfulGroup):
    """Commands whose modules are imported when they are called, so that the overview is quick."""

    entries: ClassVar[Mapping[str, Entry]] = {}
    """By name, in the order of the overview."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = dict.fromkeys(self.entries)  # type: ignore[assignment]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Import a command; ``None`` where there is none of that name."""
        entry = self.entries.get(cmd_name)
        return entry and getattr(import_module(entry.module), cmd_name.replace("-", "_"))

    def panels(self) -> dict[str, list[Record]]:
        """Return the commands as the overview shows them, by group."""
        panels: dict[str, list[Record]] = {}
        for name, entry in self.entries.items():
            panels.setdefault(entry.panel, []).append((name, entry.summary))
        return panels


def command(examples: Sequence[str], notes: str = "") -> Callable[[Callable[..., None]], Any]:
    """Make a function a command, with examples that can be copied from its help."""

    def made(function: Callable[..., None]) -> Any:
        app = typer.Typer(add_completion=False)
        app.command(cls=HelpfulCommand, epilog=epilog(examples, notes))(function)
        return get_command(app)

    return made


def epilog(examples: Sequence[str], notes: str = "") -> str:
    """Return what stands below the options: ``examples`` as they are, ``notes`` filled to the width."""
    lines = ["Examples:", *(f"  {line}" for example in examples for line in example.splitlines())]
    return "\n".join(lines) + (f"\n\n{notes.strip()}" if notes else "")


def _print(
    usage: str, about: str | None, sections: Mapping[str, Sequence[Record]], end: str | None
) -> None:
    """Print a page of help."""
    console = Console(highlight=False, soft_wrap=True)
    width = min(shutil.get_terminal_size().columns, WIDEST)
    console.print(Text(usage, "bold"))
    for paragraph in (about or "").strip().split("\n\n"):
        console.print()
        console.print(Text(_filled(paragraph, width, "  ")))
    for title, records in sections.items():
        if records:
            console.print()
            console.print(Text(f"{title}:", "bold"))
            for name, text in records:
                console.print(_row(name, text, width))
    if end:
        console.print()
        for paragraph in end.split("\n\n"):
            given = paragraph.startswith("Examples:")
            console.print(Text(paragraph if given else _filled(paragraph, width)))
            console.print()


def _plain(record: Record) -> Record:
    """Say kinds and ranges in words: ``<number>`` and ``at least 1`` for ``<int range>`` and ``x>=1``."""
    name, text = record
    name = re.sub(r"<list\[(.*)\]>", r"<\1>", name)
    name = re.sub(r"<(?:int|float)(?: range)?>", "<number>", name).replace("<str>", "<text>")
    text = re.sub(r"\b([-\d.]+)<=x<=([-\d.]+)", r"\1 to \2", text)
    return name, re.sub(r"\bx>=", "at least ", text)


def _row(name: str, text: str, width: int) -> Text:
    """Return an option with its explanation beside it, or below where the name is long."""
    filled = _filled(text, width, " " * (NAMES + 2)).lstrip()
    gap = "\n" + " " * (NAMES + 2) if len(name) > NAMES - 2 else " " * (NAMES - len(name))
    return Text.assemble("  ", (name, "cyan"), gap if filled else "", filled)


def _filled(text: str, width: int, indent: str = "") -> str:
    """Break a text between words, never inside ``--an-option``."""
    return textwrap.fill(
        " ".join(text.split()),
        width,
        initial_indent=indent,
        subsequent_indent=indent,
        break_on_hyphens=False,
        break_long_words=False,
    )


def _names(command: Any) -> set[str]:
    """Return what the options of a command are called."""
    return {name for param in command.params for name in param.opts if _is_option(param)}


def _is_option(param: Any) -> bool:
    return bool(param.param_type_name == "option")


def _argument(param: Any) -> str:
    """Return an argument as the usage shows it."""
    return str(param.metavar or param.name.upper())
