"""What the refinement of a mean has time and memory for."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Effort:
    """How a mean is refined: by factors of a covariance if there is time for any, else by iterations."""

    factors: int = 0
    """Cholesky factors of the covariance of all data, or of those of some structures."""
    structures: int | None = None
    """How many; None for all."""
    judged: int | None = None
    """Structures with which noise is chosen, where the covariance of the others can be made for one factor alone."""
    products: int = 0
    """Products with that covariance; a few are taken in any case."""
    components: int = 0
    """Of the vectors that products are counted for."""
    room: float = 0.0
    """Bytes for what each product would make again."""
    reason: str = ""
    """Why by factors or by iterations."""

    def products_with(self, components: int) -> int:
        """As many as take the same time with so many components."""
        return round(self.products * self.components / components)

    @property
    def solver(self) -> str:
        """As the settings name it."""
        return "factor" if self.factors else "iterations"
