"""What is given to a function of ``bci_pipeline`` is checked by its annotations, in one place."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from itertools import groupby
from typing import Annotated, Any, ParamSpec, TypeVar, get_type_hints

from pydantic import ConfigDict, Field, ValidationError, create_model
from pydantic_core import ErrorDetails

from registration.errors import SettingsError
from registration.files.words import excerpt
from registration.settings import Settings, expected, problem


class Arguments(Settings):
    """Base of the models of functions' arguments: what holds for settings holds for them."""

    model_config = ConfigDict(arbitrary_types_allowed=True)


P = ParamSpec("P")
R = TypeVar("R")

Count = Annotated[int, Field(ge=1)]


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """Return ``function`` with arguments that fit no annotation refused, and text made numbers.

    What it takes as ``**settings`` is left to the models of the settings. The call raises
    :class:`registration.errors.SettingsError` with one sentence per argument.
    """
    signature = inspect.signature(function)

    @functools.cache
    def model() -> type[Arguments]:
        """Make the model when it is first needed: making it takes some milliseconds."""
        hints = get_type_hints(function, include_extras=True)
        settings = {
            each.name for each in signature.parameters.values() if each.kind == each.VAR_KEYWORD
        }
        fields: Any = {name: (hint, None) for name, hint in hints.items() if name not in settings}
        del fields["return"]
        return create_model(function.__name__, __base__=Arguments, **fields)

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        given = signature.bind(*args, **kwargs)
        own = given.arguments.keys() & model().model_fields
        try:
            found = model().model_validate({name: given.arguments[name] for name in own})
        except ValidationError as error:
            raise SettingsError(_sentences(error, model())) from None
        given.arguments.update({name: getattr(found, name) for name in own})
        return function(*given.args, **given.kwargs)

    return call


def _sentences(error: ValidationError, model: type[Arguments]) -> str:
    """Return one line per argument, however many types it might have had."""
    by_name = groupby(error.errors(), lambda detail: detail["loc"][0])
    return "\n".join(f"{name}: {_sentence(list(details), model)}" for name, details in by_name)


def _sentence(details: list[ErrorDetails], model: type[Arguments]) -> str:
    if len(details) == 1:
        return problem(details[0], model)[1]
    wanted = " or ".join(filter(None, dict.fromkeys(map(expected, details))))
    return f"expected {wanted}, found {excerpt(details[0]['input'])}"
