"""Settings of a fit: the keys of the configuration file, their defaults and their checks."""

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gpjaxpot.errors import InputError, did_you_mean

Auto = Literal["auto"]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
Degree = Annotated[int, Field(ge=0)]
# A fit that may take less time (s) leaves out what takes minutes: learning descriptors, asking how noise depends on the
# structure, solving for the exact mean.
QUICK = 300.0
# Root mean square of what may be dropped of a SOAP vector of length 1.  With ten times as much, smooth densities lose
# what tells environments apart: forces of copper err by half as much again.
TOLERANCE = 3e-5


# Where a value may be one of several kinds, pydantic names each kind it tried as a part of the place.
_ALTERNATIVES = ("literal[", "float", "int", "constrained-")


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class DescriptorSettings(_Part):
    """One SOAP descriptor; several may be given, each with the kernel of the model."""

    type: Literal["soap"] = Field("soap", description="kind of descriptor")
    cutoff: Auto | Positive = Field("auto", description="radius in Å at which neighbours have faded out")
    n_max: Auto | Count = Field("auto", description="radial functions for each species")
    l_max: Auto | Degree = Field("auto", description="highest angular momentum")
    sigma: Auto | Positive = Field("auto", description="width in Å of the Gaussian that stands for an atom")
    cutoff_width: float = Field(1.0, gt=0, description="length in Å over which neighbours fade out")
    radial_scale: Auto | Literal["none"] | Positive = Field(
        "auto", description="r0 in Å of the weight 1/(1 + (r/r0)^m) of far neighbours; none for no such weight"
    )
    radial_exponent: Auto | Positive = Field("auto", description="m of that weight")


class KernelSettings(_Part):
    """Kernel on the unit-length SOAP vectors."""

    type: Literal["dot_power", "squared_exponential", "matern52"] = Field(
        "dot_power", description="dot_power, squared_exponential or matern52"
    )
    zeta: Auto | float = Field("auto", description="power of dot_power: 1, or any number of at least 2")
    length_scale: float = Field(1.0, gt=0, description="of the other two, in units of unit vectors")
    variance: Auto | Positive = Field(
        "auto", description="signal variance in eV² of a local energy; auto: by [train] objective"
    )


class GroupNoise(_Part):
    """Noise of one group (config_type) of structures: levels of its own, or factors on those of all."""

    energy: float | None = Field(None, gt=0)
    forces: float | None = Field(None, gt=0)
    stress: float | None = Field(None, gt=0)
    energy_factor: float | None = Field(None, gt=0)
    forces_factor: float | None = Field(None, gt=0)
    stress_factor: float | None = Field(None, gt=0)


class NoiseSettings(_Part):
    """Standard deviations of the labels; auto: by [train] objective."""

    energy: Auto | Positive = Field("auto", description="eV: σ of a total energy is this times N^p")
    energy_exponent: Auto | Annotated[float, Field(ge=0, le=1)] = Field(
        "auto", description="p of that law: 0.5 if atoms err independently, 1 if together; auto: as left_out shows"
    )
    forces: Auto | Positive = Field("auto", description="eV/Å, one component")
    stress: Auto | Positive = Field("auto", description="eV/Å³, one component")
    isolated_energy: float = Field(1e-4, gt=0, description="eV, for isolated atoms")
    aleatoric_energy: Auto | Positive = Field(
        "auto", description="that predictions report; auto: what left_out finds, or else the level above"
    )
    aleatoric_forces: Auto | Positive = Field("auto", description="the same for forces")
    aleatoric_stress: Auto | Positive = Field("auto", description="the same for stress")
    by_group: bool = Field(True, description="learn factors of groups, where structures left out gain by them")
    groups: dict[str, GroupNoise] = Field(
        default_factory=dict,
        description="of single groups, [noise.groups.NAME]: energy, forces, stress, or a factor, as energy_factor",
    )


class ModelSettings(_Part):
    """Exact or sparse posterior, and what it may cost."""

    method: Literal["auto", "exact", "sparse"] = Field("auto", description="auto, exact or sparse")
    n_inducing: Auto | int = Field("auto", description="inducing environments of the sparse model")
    selection: Literal["leverage", "cur", "farthest", "span"] = Field(
        "leverage",
        description="how they are chosen: leverage, cur or farthest; span: so that zeta 1 or 2 has its exact posterior",
    )
    features: Auto | Literal["all"] | Count = Field(
        "auto", description="components kept of each SOAP vector; auto: as few as lose little, all, or a number"
    )
    feature_tolerance: float = Field(
        TOLERANCE, gt=0, lt=1, description="share of a vector's length (rms) that features=auto may leave out"
    )
    most_features: Auto | Count = Field(
        "auto", description="bound on what features=auto keeps; auto: what leaves time for refine"
    )
    refine: Auto | bool = Field(
        "auto", description="solve for the mean of the exact posterior after a sparse fit; auto: if it predicts better"
    )
    solver: Auto | Literal["factor", "iterations"] = Field(
        "auto",
        description="of refine: factor (Cholesky) or iterations (conjugate gradients); auto: factor if it can be",
    )
    most_refined: Auto | Count = Field(
        "auto", description="structures that a factor is of, spread evenly over all; auto: as many as the budget allows"
    )
    spread_energy: Auto | Positive = Field(
        "auto", description="factor on the epistemic σ of energies, the process's own being 1; auto: as left_out shows"
    )
    spread_stress: Auto | Positive = Field("auto", description="the same for stress")
    evidence: bool = Field(
        False, description="log marginal likelihood of a refined mean; by iterations, as much work again"
    )
    draws: int = Field(
        0, ge=0, description="functions drawn from the posterior of a refined mean; by iterations, each is as much work"
    )
    memory: Auto | float = Field("auto", description="GB that a fit may use; auto: half of what is free")
    time: float = Field(900.0, gt=0, description="seconds that a fit may take")


class TrainSettings(_Part):
    """Which labels are trained on."""

    energies: bool = Field(True, description="train on energies")
    forces: bool = Field(True, description="train on forces")
    stress: bool = Field(True, description="train on stresses, where there are any")
    objective: Literal["evidence", "left_out"] = Field(
        "left_out", description="what levels are learned by: evidence, or prediction of left_out structures"
    )
    search: bool = Field(
        True,
        description="learn what is auto of a descriptor from the data, unless structures left out are predicted better "
        "with the usual values; false: take these",
    )
    restarts: int = Field(
        0, ge=0, description="further searches of descriptors and levels, from places that are drawn; the best is kept"
    )
    seed: int = Field(0, ge=0, description="of every random choice")


class HyperSettings(_Part):
    """Uncertainty of the levels that are auto: signal variance and noise. Descriptors stay as they are."""

    method: Literal["none", "laplace", "nuts"] = Field(
        "none", description="how their posterior is drawn from: none, laplace or nuts (needs the extra mcmc)"
    )
    members: int = Field(8, ge=2, description="draws kept: posteriors that a prediction mixes")
    draws: int = Field(200, ge=50, description="draws of each of nuts' two chains, after as many to settle")


class CalibrationSettings(_Part):
    """What makes the reported uncertainties hold; raw spreads stay at hand beside them."""

    method: Literal["auto", "none", "scale", "conformal", "class", "flexible"] = Field(
        "auto", description="auto, none, scale, conformal, class or flexible"
    )
    level: float = Field(
        0.6827, gt=0, lt=1, description="probability at which class and flexible are made to hold for each atom"
    )
    fraction: float = Field(
        0.0, ge=0, le=0.5, description="of the structures, kept out of the fit for it; 0: training structures left out"
    )


class RepulsionSettings(_Part):
    """Of atoms nearer to each other than any in the data: screened nuclei, zero on all training structures."""

    type: Literal["zbl", "none"] = Field("zbl", description="zbl (Ziegler, Biersack & Littmark), or none")
    inner: float = Field(
        0.7, gt=0, lt=1, description="share of the outer radius at which the repulsion begins to be switched off"
    )
    outer: dict[str, Positive] = Field(
        default_factory=dict,
        description="Å, [repulsion.outer]: where it has vanished, e.g. Si-O = 1.2; else 0.9 of the least distance",
    )


class Settings(_Part):
    """All settings of a fit."""

    descriptor: list[DescriptorSettings] = Field(
        default_factory=lambda: [DescriptorSettings.model_validate({})], min_length=1
    )
    kernel: KernelSettings = Field(default_factory=lambda: KernelSettings.model_validate({}))
    noise: NoiseSettings = Field(default_factory=lambda: NoiseSettings.model_validate({}))
    model: ModelSettings = Field(default_factory=lambda: ModelSettings.model_validate({}))
    train: TrainSettings = Field(default_factory=lambda: TrainSettings.model_validate({}))
    hyper: HyperSettings = Field(default_factory=lambda: HyperSettings.model_validate({}))
    calibration: CalibrationSettings = Field(default_factory=lambda: CalibrationSettings.model_validate({}))
    repulsion: RepulsionSettings = Field(default_factory=lambda: RepulsionSettings.model_validate({}))
    cohesion: bool = Field(
        default=True, description="where isolated atoms are known, take off what bound atoms have beyond them, too"
    )
    energy_per_species: dict[str, float] = Field(default_factory=dict)

    def toml(self) -> str:
        """All settings as the TOML that `load_settings` and ``--config`` read; every digit is kept."""
        return tomli_w.dumps(self.model_dump(mode="json", exclude_none=True))

    @property
    def names_kernel(self) -> bool:
        """Whether no descriptor has a value that is still to be chosen."""
        return all("auto" not in d.model_dump(mode="json").values() for d in self.descriptor)


def load_settings(path: Path | None = None, overrides: Sequence[str] = ()) -> Settings:
    """Read a TOML file and apply ``key=value`` overrides (dotted keys; `descriptor.0.n_max=6` or, for the
    first descriptor, `descriptor.n_max=6`).

    Raises:
        InputError: for a file that cannot be read, is not TOML, or holds an unknown key or a bad value.
    """
    data: dict[str, Any] = {}
    if path is not None:
        try:
            data = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise InputError(f"cannot read the configuration {path}: {error.strerror}") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise InputError(f"{path} is not TOML: {error}; see `gpjaxpot template`") from error
    if isinstance(data.get("descriptor"), dict):
        data["descriptor"] = [data["descriptor"]]
    settings = _validated(data, str(path))
    for override in overrides:
        _override(data, override)
        settings = _validated(data, f"--set {override}")
    return settings


def _validated(data: dict[str, Any], where: str) -> Settings:
    try:
        return Settings.model_validate(data)
    except ValidationError as error:
        raise InputError(_explain(error, where)) from error


def _override(data: dict[str, Any], text: str) -> None:
    key, equals, value = text.partition("=")
    names = [part for part in key.strip().split(".") if part]
    if not equals or not names:
        raise InputError(f"--set wants key=value, got {text!r}; keys: see `gpjaxpot template`")
    if names[0] == "descriptor":
        place = int(names.pop(1)) if len(names) > 1 and names[1].isdigit() else 0
        listed = data.setdefault("descriptor", [{}])
        if place >= len(listed):
            raise InputError(f"--set {text}: there are {len(listed)} descriptors, numbered from 0")
        target, names = listed[place], names[1:]
    else:
        target = data
    for name in names[:-1]:
        target = target.setdefault(name, {})
        if not isinstance(target, dict):
            raise InputError(f"--set {text}: {name} holds a value, not keys")
    if not names:
        raise InputError(f"--set {text}: name a key of the descriptor, e.g. descriptor.cutoff=5.0")
    target[names[-1]] = _value(value.strip())


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"x = {text}")["x"]
    except tomllib.TOMLDecodeError:
        return text  # a bare word: method=sparse


def _explain(error: ValidationError, where: str) -> str:
    lines = []
    wrong: dict[str, tuple[list[str], Any]] = {}
    for problem in error.errors():
        place = [p for p in problem["loc"] if not str(p).startswith(_ALTERNATIVES)]
        name = ".".join(str(p) for p in place)
        if problem["type"] == "extra_forbidden":
            known = _known(place[:-1])
            hint = did_you_mean(str(place[-1]), known)
            lines.append(f"unknown key {name}{hint}; known there: {', '.join(known)}")
        else:
            wrong.setdefault(name, ([], problem["input"]))[0].append(problem["msg"].lower())
    for name, (wanted, got) in wrong.items():
        texts = [wanted[0], *(w.removeprefix("input should be ") for w in wanted[1:])]
        lines.append(f"{name}: {', or '.join(texts)}, got {got!r}")
    return f"{where}: " + "; ".join(lines) + ". See `gpjaxpot template` for all keys."


def _known(place: Sequence[Any]) -> list[str]:
    model: Any = Settings
    for part in place:
        if isinstance(part, int):
            continue
        field = model.model_fields.get(part)
        if field is None:
            return []
        model = {"descriptor": DescriptorSettings, "groups": GroupNoise}.get(part, field.annotation)
        if not hasattr(model, "model_fields"):
            return []
    return list(model.model_fields)


def template_text() -> str:
    """Return a commented TOML text of every key with its default."""
    lines = ["# gpjaxpot: every key with its default. Leave out what you do not want to set."]
    lines += ["", "cohesion = true".ljust(32) + f"# {Settings.model_fields['cohesion'].description}"]
    for name, part in (
        ("[[descriptor]]", DescriptorSettings),
        ("[kernel]", KernelSettings),
        ("[noise]", NoiseSettings),
        ("[model]", ModelSettings),
        ("[train]", TrainSettings),
        ("[hyper]", HyperSettings),
        ("[calibration]", CalibrationSettings),
        ("[repulsion]", RepulsionSettings),
    ):
        lines += ["", name, f"# {(part.__doc__ or '').strip()}"]
        for key, field in part.model_fields.items():
            default = field.get_default(call_default_factory=True)
            if isinstance(default, dict):
                lines.append(f"# {field.description}")
                continue
            text = "" if default is None else _toml(default)
            prefix = "# " if default is None else ""
            lines.append(f"{prefix}{key} = {text}".rstrip().ljust(32) + f"# {field.description}")
    lines += [
        "",
        "[energy_per_species]",
        '# Energies in eV taken off before the fit, e.g. Si = -0.8; default: isolated atoms, else least squares',
    ]
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else repr(value)
