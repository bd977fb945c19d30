"""The calibration of a fit: on its own structures, each left out, or on some that are kept out of it."""

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from gpjaxpot.errors import InputError
from gpjaxpot.gp.noise import Noise
from gpjaxpot.potential.calibrate import calibrate, calibrate_known, check_wanted
from gpjaxpot.potential.calibration import Calibration
from gpjaxpot.potential.choices import Choice
from gpjaxpot.potential.left_out_structures import LeftOutStructures
from gpjaxpot.potential.potential import Potential
from gpjaxpot.potential.settings import Settings
from gpjaxpot.potential.spreads import Factors
from gpjaxpot.structures.labels import Frame
from gpjaxpot.structures.splits import block_split

Callback = Callable[[str, int, int], None]
# Structures that are kept out of a fit go together in runs of neighbours, at most so long.
LONGEST_RUN = 10
RAW = "spreads are raw, `gpjaxpot calibrate` takes other structures"


def check_calibration(frames: Sequence[Frame], settings: Settings) -> None:
    """Refuse, before any work, a calibration that was asked for and cannot be."""
    wanted = settings.calibration
    if wanted.method in ("auto", "none"):
        return
    if settings.hyper.method != "none":
        raise InputError(
            "of a posterior over levels (hyper.method) there is no closed form for structures left out: set "
            "calibration.fraction, or calibration.method=none"
        )
    check_wanted(wanted.method, wanted.level, sum(not (f.isolated or f.labels.empty) for f in frames))


def calibrate_left_out(
    left_out: LeftOutStructures | None, frames: Sequence[Frame], noise: Noise, spread: Factors, settings: Settings
) -> tuple[Calibration | None, Choice]:
    """Calibrate on training structures that are left out in turn, where that can be done; and say what was done."""
    wanted, key = settings.calibration, "calibration.method"
    if wanted.method == "none":
        return None, Choice(key, "none", "asked for; spreads are raw")
    if left_out is None:
        if settings.hyper.method != "none":
            why = "of a posterior over levels there is no closed form for structures left out"
        else:
            why = "the refined mean was judged on no structures"
    else:
        known = left_out(frames, noise, spread)
        try:
            source = f"{len(known)} training structures, each left out"
            made = calibrate_known(known, wanted.method, wanted.level, source, settings.train.seed)
        except (InputError, ArithmeticError, np.linalg.LinAlgError) as error:  # the fit is not lost with it
            why = str(error)
        else:
            return made, Choice(key, made.record["method"], f"{made.record['reason']}; on {source}")
    return None, Choice(key, "none", f"{why}; {RAW}")


def keep_out(groups: Sequence[str | None], fraction: float, seed: int = 0) -> list[int]:
    """Places of the structures to calibrate on: runs of neighbours, of each group its share as far as runs allow.

    A file that goes from one kind of structure to the next would else calibrate on some kinds more than on others.
    Groups too small for a run of their own go together with those of no name.
    """
    # Runs as long as leave ten of them at the least, where there are so many structures.
    run = min(LONGEST_RUN, max(1, int(fraction * len(groups)) // 10))
    sizes = Counter(groups)
    named = [g if fraction * sizes[g] >= run else None for g in groups]
    (out,) = block_split(len(groups), [fraction], block=run, groups=named, seed=seed)
    return out.tolist()


def calibrate_on_rest(
    fit: Callable[[Sequence[Frame], Settings], Potential], frames: Sequence[Frame], settings: Settings, report: Callback
) -> Potential:
    """Fit to some of the structures, and calibrate on the others, runs of neighbouring ones going together."""
    wanted = settings.calibration
    bound = [i for i, f in enumerate(frames) if not f.isolated]
    places = keep_out([frames[i].group for i in bound], wanted.fraction, settings.train.seed)
    out = {bound[i] for i in places}
    rest_species = {int(z) for i, f in enumerate(frames) if i not in out for z in f.structure.numbers}
    # A species that only they have must be fitted.
    out = {i for i in out if {int(z) for z in frames[i].structure.numbers} <= rest_species}
    check_wanted(wanted.method, wanted.level, sum(not frames[i].labels.empty for i in out))
    rest = [f for i, f in enumerate(frames) if i not in out]
    plain = settings.model_copy(update={"calibration": wanted.model_copy(update={"method": "none"})})
    potential = fit(rest, plain)
    source, key = f"{len(out)} of {len(bound)} structures, kept out of the fit", "calibration.method"
    try:
        made = calibrate(
            potential, [frames[i] for i in sorted(out)], wanted.method, wanted.level,
            source=source, seed=settings.train.seed, callback=report,
        )  # fmt: skip
        done = made.record["calibration"]
        choice = Choice(key, done["method"], f"{done['reason']}; on {done['source']}")
    except (InputError, ArithmeticError, np.linalg.LinAlgError) as error:  # the fit is not lost with it
        made, choice = potential.with_calibration(None), Choice(key, "none", f"{error}; {RAW}")
    made.record["settings"] |= {"calibration": wanted.model_dump(mode="json")}
    made.record["choices"] = [c for c in made.record["choices"] if c["key"] != choice.key] + [choice.plain()]
    return made
