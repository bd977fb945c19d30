"""Methods of a module that are looked up fast."""

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar, cast

Method = TypeVar("Method")


def plain_method(function: Method) -> Method:
    """Decorate a method of an `equinox.Module` that is never traced.

    Equinox makes a bound method a pytree of its module, anew whenever it is looked up; for a prediction of a few dozen
    atoms that takes a tenth of the time.
    """
    return cast(Method, _Plain(cast(Callable[..., Any], function)))


class _Plain:
    """A function in the place of a method."""

    def __init__(self, function: Callable[..., Any]):
        self.function = function
        self.__doc__ = function.__doc__

    def __get__(self, instance: Any, owner: type | None = None) -> Callable[..., Any]:
        """The function, or, of an instance, what calls it with that; a method would be made a pytree."""
        return self.function if instance is None else partial(self.function, instance)
