"""Options: those that several commands have, and those that come from a model of settings."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import typer

from pipeline.errors import UsageError
from registration.files.plain_json import json_text
from registration.settings import SettingInfo, Settings, setting_infos


def decimal(text: str) -> float:
    """Return a number, with a decimal comma too, as much of the world types it."""
    try:
        return float(text.replace(",", "."))
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a number such as 0.25") from None


HeSlide = Annotated[Path, typer.Argument(metavar="HE", help="H&E slide.")]
IhcSlide = Annotated[Path, typer.Argument(metavar="IHC", help="IHC slide.")]
HeMpp = Annotated[
    float | None,
    typer.Option(metavar="<µm>", parser=decimal, help="Per pixel of the H&E slide."),
]
IhcMpp = Annotated[
    float | None,
    typer.Option(metavar="<µm>", parser=decimal, help="Per pixel of the IHC slide."),
]
WorkerCount = Annotated[
    int | None,
    typer.Option(min=1, metavar="<number>", help="Worker processes. Default: one per core."),
]
Scheduler = Annotated[
    str | None,
    typer.Option(metavar="<text>", help="Address or scheduler file of an existing dask cluster."),
]
ManifestFile = Annotated[
    Path, typer.Argument(metavar="MANIFEST", help="Cohort in YAML, or a table of cases.")
]
ManifestConfig = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Settings (YAML) where MANIFEST is a table.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the plan and stop.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]

HeFolder = Annotated[Path | None, typer.Option(help="Folder of H&E (or any input) images.")]
IhcFolder = Annotated[Path | None, typer.Option(help="Folder of IHC (or any target) images.")]
Assigned = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Any other setting; see docs/settings.md."),
]

SETTINGS_PANEL = "Settings"
PLAIN_TYPES = (bool, int, float, str, Path)


def facts_text(facts: Mapping[str, Any]) -> str:
    """Return names and values as lines; what belongs to a name stands below it."""
    lines = []
    alone = [name for name, value in facts.items() if not isinstance(value, Mapping | list)]
    width = max(map(len, alone), default=0)
    for name, value in facts.items():
        if name in alone:
            shown = ("no", "yes")[value] if isinstance(value, bool) else value
            lines.append(f"{name:<{width}}  {shown}")
        elif value:
            below = value if isinstance(value, list) else facts_text(value).splitlines()
            lines += [name, *(f"  {line}" for line in below)]
    return "\n".join(lines)


def show_facts(facts: Mapping[str, Any], as_json: bool) -> None:
    """Print a plan, or what was found out."""
    typer.echo(json_text(facts) if as_json else facts_text(facts))


def assignments(texts: list[str]) -> dict[str, str]:
    """Return what ``NAME=VALUE`` options set; raises :class:`UsageError` for anything else."""
    parts = [text.partition("=") for text in texts]
    wrong = [text for text, (_, equals, _) in zip(texts, parts, strict=True) if not equals]
    if wrong:
        raise UsageError(f"--set takes NAME=VALUE, not {wrong[0]!r}")
    return {name.strip(): value.strip() for name, _, value in parts}


def with_settings(
    model: type[Settings], parameter: str = "settings", *, only: Collection[str] = ()
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options of a model's fields, all of them or ``only`` some.

    The command gets what the user gave, checked, as its argument ``parameter``: as the model, or,
    where that argument is a ``dict``, as the values given alone. Messages name the option.
    """
    infos = [info for info in setting_infos(model) if not only or info.name in only]

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        hints = get_type_hints(command, include_extras=True)
        own = inspect.signature(command).parameters
        as_values = get_origin(hints[parameter]) is dict

        def called(**given: Any) -> None:
            values = {
                info.name: value for info in infos if (value := given.pop(info.name)) is not None
            }
            chosen = values if as_values else model.of(values, options=True)
            command(**given, **{parameter: chosen})

        parameters = [
            _parameter(info) if name == parameter else own[name].replace(annotation=hints[name])
            for name in own
            for info in (infos if name == parameter else [infos[0]])
        ]
        functools.update_wrapper(called, command)
        del called.__wrapped__  # type: ignore[attr-defined]
        called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        called.__annotations__ = {entry.name: entry.annotation for entry in parameters}
        return called

    return decorate


def _parameter(info: SettingInfo) -> inspect.Parameter:
    """Return a setting as the parameter that typer makes an option of."""
    kind = _kind(info.field.annotation)
    option = typer.Option(
        f"--{info.option}",
        help=f"{info.text} {_default(info)}".strip(),
        metavar=_metavar(info, kind),
        parser=decimal if kind is float else None,
        show_default=False,
        rich_help_panel=SETTINGS_PANEL,
    )
    return inspect.Parameter(
        info.name,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
        default=None,
        annotation=Annotated[kind | None, option],
    )


def _kind(annotation: Any) -> Any:
    """Return the type that an option has on the command line; what typer cannot read stays text."""
    if annotation in PLAIN_TYPES or get_origin(annotation) is Literal:
        return annotation
    inner = [part for part in get_args(annotation) if part is not type(None)]
    if get_origin(annotation) in (tuple, list) or not inner:
        return str
    return _kind(inner[0])


def _metavar(info: SettingInfo, kind: Any) -> str | None:
    if kind is bool or get_origin(kind) is Literal:
        return None
    if info.unit:
        return f"<{info.unit}>"
    return {int: "<number>", float: "<number>", Path: "<path>"}.get(kind, "<text>")


def _default(info: SettingInfo) -> str:
    """Return limits and default in words, such as ``[64 to 8192 px; default: 1024]``."""
    default = info.unset or _shown(info.default)
    parts = [info.limits, f"default: {default}" if default else ""]
    found = "; ".join(part for part in parts if part)
    return f"[{found}]" if found else ""


def _shown(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return ""
    if isinstance(value, tuple):
        return "+".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
