"""Cutoff and widths of descriptors that a person gave, beside the distances of the atoms."""

from collections.abc import Iterator

import numpy as np

from gpjaxpot.potential.linted_data import LintedData, given
from gpjaxpot.potential.settings import Settings
from gpjaxpot.structures.finding import Finding

MOST_NEIGHBOURS = 150
"""More cost time and add little; two shells of a metal are about 20, 5.5 Å of it about 60."""
# A density of this share of a bond length shows neighbours as one smear; far sharper ones need more functions.
_BLUR, _RESOLVED = 0.4, 0.35


def lint_descriptors(settings: Settings, data: LintedData) -> Iterator[Finding]:
    """Yield warnings for cutoffs and widths that do not suit the distances."""
    nearest = data.nearest
    for i, soap in enumerate(settings.descriptor):
        key = f"descriptor.{i}"
        if given(soap, "cutoff") and nearest is not None:
            cutoff = float(soap.cutoff)
            if cutoff < 1.1 * nearest:
                yield Finding(
                    "warning",
                    "cutoff-short",
                    f"{key}.cutoff of {cutoff:g} Å does not reach the neighbours, which are {nearest:.2f} Å away",
                    (),
                    f"take {2 * nearest:.1f} Å or more",
                )
            elif (around := data.neighbours(cutoff)) > MOST_NEIGHBOURS:
                yield Finding(
                    "warning",
                    "cutoff-long",
                    f"{key}.cutoff of {cutoff:g} Å takes in {around:.0f} neighbours of an atom",
                    (),
                    f"fit and dynamics take time in proportion; fewer than {MOST_NEIGHBOURS} nearly always suffice",
                )
        if given(soap, "sigma"):
            yield from _of_width(key, float(soap.sigma), soap.n_max, soap.cutoff, nearest)
        if given(soap, "radial_exponent") and soap.radial_scale == "none":
            yield Finding(
                "note",
                "no-effect",
                f"{key}.radial_exponent has no effect with radial_scale = none",
                (),
                "give radial_scale, or leave the exponent out",
            )


def _of_width(
    key: str, sigma: float, n_max: str | int, cutoff: str | float, nearest: float | None
) -> Iterator[Finding]:
    if nearest is not None and sigma > _BLUR * nearest:
        yield Finding(
            "warning",
            "sigma-wide",
            f"{key}.sigma of {sigma:g} Å smears out neighbours that are {nearest:.2f} Å away",
            (),
            f"take 0.3 Å with hydrogen, 0.4 to 0.5 Å without; at most {_BLUR * nearest:.2f} Å",
        )
    elif cutoff != "auto" and n_max != "auto" and sigma * int(n_max) < _RESOLVED * float(cutoff):
        yield Finding(
            "warning",
            "sigma-sharp",
            f"{key}: {n_max} radial functions over {float(cutoff):g} Å cannot show a density as sharp as sigma = "
            f"{sigma:g} Å",
            (),
            f"take n_max = {int(np.ceil(0.6 * float(cutoff) / sigma))} or a larger sigma",
        )
