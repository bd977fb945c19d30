"""Methods of a module that are looked up fast."""

from collections.abc import Callable
from functools import partial, update_wrapper
from typing import Any


class PlainMethod:
    """Decorates a method of an `equinox.Module` that is never traced.

    Equinox makes a bound method a pytree of its module, anew whenever it is looked up; for a prediction of a few dozen
    atoms that takes a tenth of the time.
    """

    def __init__(self, function: Callable[..., Any]):
        """Keep `function` with its name, signature and text."""
        self.function = function
        update_wrapper(self, function)

    def __get__(self, instance: Any, owner: type | None = None) -> Callable[..., Any]:
        """The function, or, of an instance, what calls it with that; a method would be made a pytree."""
        return self.function if instance is None else partial(self.function, instance)
