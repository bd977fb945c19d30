"""What an application needs of a potential, and of its predictions."""

from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class Predicts(Protocol):
    """Anything that predicts as a `Potential` does."""

    @property
    def species(self) -> tuple[int, ...]:
        """Atomic numbers that it knows."""
        ...

    def neighbours(self, skin: float = 0.0) -> Any:
        """Return what keeps neighbour lists and shapes between calls of `predict`."""
        ...

    def predict(
        self,
        structures: Any,
        *,
        uncertainty: bool = False,
        covariance: bool = False,
        dtype: str = "float64",
        neighbours: Any = None,
    ) -> Any:
        """Return the `Prediction` of `ase.Atoms` or of a `Structure`.

        It has `energy` (eV), `energies`, `forces` (eV/Å) and `stress` (eV/Å³, or None); with
        `uncertainty` the fields `…_std`, `…_epistemic_std` and `…_aleatoric_std` of each, None
        where there is no such part; with `covariance` also `forces_covariance` of shape
        (3 atoms, 3 atoms), epistemic.
        """
        ...

    def summary(self) -> dict[str, Any]:
        """Return what the potential is, as plain JSON."""
        ...
