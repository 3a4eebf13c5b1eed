"""Options that come from a model of settings."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import typer

from pipeline.cli.options import decimal
from registration.settings import SettingInfo, Settings, setting_infos

SETTINGS_PANEL = "Settings"
PLAIN_TYPES = (bool, int, float, str, Path)


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
