"""A plain method of a module acts as a method does, and is no pytree that copies the module."""

import inspect

import equinox as eqx
import jax

from gpjaxpot.potential.plain_method import plain_method


class Scale(eqx.Module):
    """A module with one method of each kind."""

    factor: float

    @plain_method
    def plain(self, x: float, *, more: float = 0.0) -> float:
        """Multiply."""
        return self.factor * x + more

    def usual(self, x: float) -> float:
        """Multiply."""
        return self.factor * x


def test_it_acts_as_a_method():
    scale = Scale(3.0)
    assert scale.plain(2.0, more=1.0) == 7.0
    assert Scale.plain(scale, 2.0) == scale.usual(2.0)
    assert list(inspect.signature(Scale.plain).parameters) == ["self", "x", "more"]
    assert Scale.plain.__doc__ == "Multiply."


def test_it_is_bound_without_a_pytree_of_the_module():
    scale = Scale(3.0)
    assert isinstance(scale.usual, eqx.Module)
    assert not isinstance(scale.plain, eqx.Module)
    assert jax.tree.leaves(scale) == [3.0]
