"""Settings of a stage as one frozen model: every field has a default, a unit, limits and one sentence.

Command-line options, manifest sections, ``config.json`` and the reference page are made from the
fields, so that nothing is said twice. A leaf module, which training imports too.

>>> class Cut(Settings):
...     size: int = setting(1024, "Side of a patch.", unit="px", ge=64, le=8192)
>>> Cut.of({"size": "512"}).size
512
>>> Cut.of({"size": 3})
Traceback (most recent call last):
...
registration.errors.SettingsError: size: expected 64 to 8192 px, found 3
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic.config import JsonDict
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from registration.errors import SettingsError
from registration.files.words import did_you_mean, excerpt

LARGEST = 2**53
Place = tuple[str | int, ...]
"""Where a value stands: names of fields and numbers of list items, from the outside in."""


class Settings(BaseModel):
    """Base of all settings models: frozen, with unknown names and infinite numbers refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _is_no_flag(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse true and false where a number belongs; pydantic would take them for 1 and 0."""
        field = cls.model_fields[str(info.field_name)]
        if isinstance(value, bool) and bool not in (field.annotation, *get_args(field.annotation)):
            raise ValueError(f"expected a number or a text, found {value}")
        return value

    @field_validator("*", mode="after")
    @classmethod
    def _is_countable(cls, value: Any) -> Any:
        """Refuse whole numbers that no float holds: nothing here is counted as far."""
        numbers = value if isinstance(value, tuple) else (value,)
        if any(isinstance(number, int) and abs(number) > LARGEST for number in numbers):
            raise ValueError(f"expected a number up to {LARGEST:,}, found {excerpt(value)}")
        return value

    @classmethod
    def of(
        cls,
        values: Mapping[str, Any],
        *,
        names: Mapping[str, str] | None = None,
        options: bool = False,
    ) -> Self:
        """Return the settings with ``values``, which may still be text.

        Raises :class:`SettingsError` with one sentence per mistake. ``names`` says how a message
        calls a setting; with ``options`` it is called as on the command line.
        """
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            called = {info.name: f"--{info.option}" for info in setting_infos(cls) if options}
            called |= names or {}
            found = (problem(detail, cls) for detail in error.errors())
            raise SettingsError(
                "\n".join(
                    ": ".join([*(called.get(str(part), str(part)) for part in where), message])
                    for where, message in found
                )
            ) from error

    def as_dict(self) -> dict[str, Any]:
        """Return the settings as plain values that JSON knows."""
        return self.model_dump(mode="json")


def setting(
    default: Any,
    text: str,
    *,
    unit: str = "",
    option: str = "",
    unset: str = "",
    **limits: Any,
) -> Any:
    """Return a field of a :class:`Settings` model.

    ``text`` is one sentence that says what the setting does; ``option`` is its name on the command
    line where that is not the field's; ``unset`` says what happens for a default of ``None``;
    ``limits`` are pydantic's: ``ge``, ``gt``, ``le``, ``lt``, ``min_length``.
    """
    about: JsonDict = {"unit": unit, "option": option, "unset": unset}
    return Field(default, description=text, json_schema_extra=about, **limits)


@dataclass(frozen=True, slots=True)
class SettingInfo:
    """What is known of one setting."""

    name: str
    option: str
    """Its name on the command line, without the dashes."""
    text: str
    default: Any
    unit: str
    unset: str
    limits: str
    """Limits in words and with the unit, such as ``64 to 8192 px``."""
    field: FieldInfo


def setting_infos(model: type[BaseModel]) -> list[SettingInfo]:
    """Return all settings of a model in the order of its fields."""
    return [_info(name, field) for name, field in model.model_fields.items()]


def problem(detail: ErrorDetails, model: type[BaseModel]) -> tuple[Place, str]:
    """Return the place and the message of one error of pydantic, in words of the user."""
    where = _without_types(detail["loc"])
    kind, found = detail["type"], excerpt(detail["input"])
    if kind == "missing":
        return where[:-1], f"{where[-1]} is missing"
    if kind == "extra_forbidden":
        key, holder = detail["loc"][-1], _without_types(detail["loc"][:-1])
        return (*holder, key), f"unknown key{_nearest(str(key), _names(model, holder))}"
    if kind == "value_error":
        message = detail["msg"].removeprefix("Value error, ")
        name, _, rest = message.partition(": ")
        # What several settings say together is said of the first that it names.
        return ((*where, name), rest) if name in _names(model, where) else (where, message)
    limits = _limits_at(model, where)
    if kind in _BOUNDS and limits:
        return where, f"expected {limits}, found {found}"
    if wanted := expected(detail):
        return where, f"expected {wanted}, found {found}"
    return where, f"{detail['msg'][0].lower()}{detail['msg'][1:]}, found {found}"


def in_words(detail: ErrorDetails) -> str:
    """Return one error of pydantic about a value that belongs to no model, in words of the user."""
    kind, found = detail["type"], excerpt(detail["input"])
    if kind in _BOUND_WORDS:
        words, limit = _BOUND_WORDS[kind]
        return f"expected {words} {detail['ctx'][limit]:g}, found {found}"
    if wanted := expected(detail):
        return f"expected {wanted}, found {found}"
    return detail["msg"].removeprefix("Value error, ")


def expected(detail: ErrorDetails) -> str:
    """Return what should stand where pydantic found something else; empty where it has no word."""
    context = detail.get("ctx", {})
    if detail["type"] == "literal_error":
        return str(context["expected"]).replace("'", "")
    if detail["type"] == "is_instance_of":
        return f"a {context['class']}"
    return _EXPECTED.get(detail["type"], "")


_EXPECTED = {
    **dict.fromkeys(("float_parsing", "float_type", "finite_number"), "a number"),
    **dict.fromkeys(
        ("int_parsing", "int_type", "int_from_float", "int_parsing_size"), "a whole number"
    ),
    **dict.fromkeys(("bool_parsing", "bool_type"), "true or false"),
    **dict.fromkeys(("list_type", "tuple_type"), "a list"),
    **dict.fromkeys(("dict_type", "model_type"), "names with values"),
    "string_type": "a text",
    "path_type": "a path",
    "callable_type": "a function",
    "string_too_short": "something here",
    "too_short": "at least one entry",
}

_BOUND_WORDS = {
    "greater_than_equal": ("at least", "ge"),
    "greater_than": ("more than", "gt"),
    "less_than_equal": ("at most", "le"),
    "less_than": ("less than", "lt"),
}
_BOUNDS = frozenset(_BOUND_WORDS)


def _info(name: str, field: FieldInfo) -> SettingInfo:
    extra = field.json_schema_extra
    about = {key: str(value) for key, value in extra.items()} if isinstance(extra, dict) else {}
    unit = about.get("unit", "")
    limits = _limits(field)
    return SettingInfo(
        name=name,
        option=about.get("option") or (field.alias or name).replace("_", "-"),
        text=field.description or "",
        default=field.default,
        unit=unit,
        unset=about.get("unset", ""),
        limits=f"{limits} {unit}".strip() if limits else "",
        field=field,
    )


def _limits(field: FieldInfo) -> str:
    """Return the limits in words, such as ``64 to 8192``."""
    found: dict[str, Any] = {}
    for entry in (*field.metadata, *_inner_metadata(field.annotation)):
        found |= {
            k: v for k in ("ge", "gt", "le", "lt") if (v := getattr(entry, k, None)) is not None
        }
    if "ge" in found and "le" in found:
        return f"{found['ge']:g} to {found['le']:g}"
    words = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}
    return " and ".join(f"{words[key]} {found[key]:g}" for key in words if key in found)


def _inner_metadata(annotation: Any) -> list[Any]:
    """Return what stands in an ``Annotated`` within a type such as ``Share | None``."""
    metadata = list(getattr(annotation, "__metadata__", ()))
    for part in get_args(annotation):
        metadata += _inner_metadata(part)
    for entry in list(metadata):
        metadata += getattr(entry, "metadata", ())
    return metadata


def _without_types(loc: tuple[int | str, ...]) -> Place:
    """Return pydantic's place without its names of types, such as ``dict[str,str]``."""
    return tuple(part for part in loc if isinstance(part, int) or "[" not in part)


def _limits_at(model: type[BaseModel], where: Place) -> str:
    holder = _model_at(model, where[:-1])
    if holder is None:
        return ""
    fields = {field.alias or name: field for name, field in holder.model_fields.items()}
    field = fields.get(str(where[-1]))
    return "" if field is None else _info(str(where[-1]), field).limits


def _names(model: type[BaseModel], where: Place) -> list[str]:
    """Return the names that may stand at a place."""
    holder = _model_at(model, where)
    if holder is None:
        return []
    return [field.alias or name for name, field in holder.model_fields.items()]


def _model_at(model: type[BaseModel], where: Place) -> type[BaseModel] | None:
    """Return the model whose fields stand at a place."""
    current: type[BaseModel] | None = model
    for part in where:
        if isinstance(part, int):
            continue
        if current is None:
            return None
        fields = {field.alias or name: field for name, field in current.model_fields.items()}
        current = _model_in(fields[part].annotation) if part in fields else None
    return current


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """Return the model within a type such as ``list[Case]`` or ``Train | None``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = (_model_in(part) for part in get_args(annotation))
    return next((model for model in found if model is not None), None)


def _nearest(name: str, names: list[str]) -> str:
    known = f"; known here: {', '.join(names)}" if names else ""
    return did_you_mean(name, names) or known
