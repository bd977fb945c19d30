"""Arguments and options that several commands share, and what they say in --help."""

from pathlib import Path
from typing import Annotated

import typer

Data = Annotated[
    list[Path],
    typer.Argument(
        metavar="DATA",
        help="Files of structures: extended XYZ, .traj, .db, vasprun.xml or any that ASE reads.",
        show_default=False,
    ),
]
Model = Annotated[
    Path,
    typer.Argument(metavar="MODEL", help="Model file, as fit writes it.", show_default=False),
]
Keys = Annotated[
    list[str] | None,
    typer.Option(
        "--key",
        metavar="LABEL=NAME",
        help="Name in DATA of energy, forces, stress, virial or group, where it is not a "
        "usual one: --key energy=dft_energy. May be repeated.",
        show_default=False,
    ),
]
Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="F.toml",
        help="Settings; gpjaxpot template prints them all. What is not set is chosen.",
        show_default=False,
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="One setting, stronger than --config: --set kernel.zeta=2. May be repeated.",
        show_default=False,
    ),
]
DropBad = Annotated[
    Path | None,
    typer.Option(
        "--drop-bad",
        metavar="F.xyz",
        help="Leave out structures that cannot be read or must not be fitted, at most half of them; say which and why, "
        "and write them to this file.",
        show_default=False,
    ),
]
Raw = Annotated[
    bool,
    typer.Option("--raw", help="Uncertainties as the model gives them, without calibration."),
]
NoUncertainty = Annotated[
    bool,
    typer.Option("--no-uncertainty", help="Energy, forces and stress only; faster."),
]
