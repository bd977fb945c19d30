"""gap_fit, QUIP's fitting program, run with the hyperparameters of one of our own config files.

python -m benchmarks.peers.gap_fit CONFIG.toml TRAIN.xyz FOLDER [--core N] fits, leaves the model
gap.xml, the log gap_fit.log and the measured time and memory gap_fit.json in FOLDER, and prints the
last of them.
"""

import argparse
import json
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.peers.environment import quippy_python
from benchmarks.timing import run_alone

# Both of ours sample by leverage scores, as gap_fit's CUR does, from other ranks.
SELECTIONS = {"cur": "cur_points", "leverage": "cur_points"}


def gap_arguments(
    config: Mapping[str, Any], train: Path, model: Path, isolated: Mapping[str, float] | None = None
) -> list[str]:
    """What gap_fit is to be told so that it fits what our `config` says.

    Energies per species are those of `isolated` atoms in eV, or else the average energy per atom.
    gap_fit multiplies the energy noise by the root of the number of atoms. Stresses are left out.
    `delta`, the prior's standard deviation of an atom's energy in eV, is the root of our signal
    variance; where that is learned, 1 eV.

    Raises:
        ValueError: if gap_fit has no such model.
    """
    _check(config)
    soap = config["descriptor"][0]
    kernel, noise, model_size = config["kernel"], config["noise"], config["model"]
    descriptor = {
        "n_max": soap["n_max"],
        "l_max": soap["l_max"],
        "atom_sigma": soap["sigma"],
        "cutoff": soap["cutoff"],
        "cutoff_transition_width": soap["cutoff_width"],
        "zeta": kernel["zeta"],
        "delta": 1.0 if kernel.get("variance", "auto") == "auto" else kernel["variance"] ** 0.5,
        "covariance_type": "dot_product",
        "n_sparse": model_size["n_inducing"],
        "sparse_method": SELECTIONS[model_size["selection"]],
        "add_species": "T",
    }
    words = " ".join(f"{key}={value}" for key, value in descriptor.items())
    return [
        f"atoms_filename={train}",
        f"gap={{soap {words}}}",
        "e0_method=average" if not isolated else f"e0={{{':'.join(f'{s}:{e!r}' for s, e in isolated.items())}}}",
        f"default_sigma={{{noise['energy']} {noise['forces']} 0.0 0.0}}",
        "energy_parameter_name=energy",
        "force_parameter_name=forces",
        # gap_fit trains on any "virial" or "stress" that it finds unless told of another name
        "virial_parameter_name=none",
        "stress_parameter_name=none",
        "do_copy_at_file=F",
        "sparse_separate_file=T",
        f"rnd_seed={config['train'].get('seed', 0) + 1}",
        f"gap_file={model}",
    ]


def _check(config: Mapping[str, Any]) -> None:
    """Refuses what gap_fit cannot be told, rather than compare unlike with unlike."""
    demands = {
        "one descriptor of type soap": [d["type"] for d in config["descriptor"]] == ["soap"],
        "no radial weighting": config["descriptor"][0].get("radial_scale", "none") == "none",
        "a kernel of type dot_power": config["kernel"]["type"] == "dot_power",
        "energy noise that grows as the root of N": config["noise"]["energy_exponent"] == 0.5,
        "a sparse model": config["model"]["method"] == "sparse",
        f"selection by {' or '.join(SELECTIONS)}": config["model"]["selection"] in SELECTIONS,
        "energies, forces and no stresses": (
            config["train"]["energies"],
            config["train"]["forces"],
            config["train"]["stress"],
        )
        == (True, True, False),
    }
    unmet = [demand for demand, met in demands.items() if not met]
    if unmet:
        raise ValueError(f"gap_fit cannot fit this config: it wants {'; '.join(unmet)}")


def run_gap_fit(
    config: Mapping[str, Any],
    train: Path,
    folder: Path,
    core: int | None = None,
    isolated: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """Fits, and returns the measured record: seconds, peak memory, arguments and the model's path.

    `isolated` has the energies (eV) of isolated atoms, where they are known.

    One thread, bound to `core` where one is given. Nothing is left out of the time: it is what a
    person waits for the command.

    Raises:
        RuntimeError: if gap_fit fails; its log says why.
    """
    folder.mkdir(parents=True, exist_ok=True)
    program = quippy_python().parent / "gap_fit"
    arguments = gap_arguments(config, train.resolve(), Path("gap.xml"), isolated)
    log = folder / "gap_fit.log"
    with log.open("w") as stream:
        try:
            measured = run_alone([program, *arguments], folder, core, output=stream)
        except RuntimeError as error:
            raise RuntimeError(f"{error}: see {log}") from error
    # The file by its name alone: where it lies is nobody else's matter.
    shown = [argument.replace(str(train.resolve()), train.name) for argument in arguments]
    record = measured | {"model": "gap.xml", "arguments": shown}
    (folder / "gap_fit.json").write_text(json.dumps(record, indent=2) + "\n")
    return record


def main() -> int:
    """The command line of this module."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers.gap_fit", description=__doc__)
    parser.add_argument("config", type=Path, help="our TOML file")
    parser.add_argument("train", type=Path, help="extended XYZ file with energy and forces")
    parser.add_argument("folder", type=Path, help="where the model and the record go")
    parser.add_argument("--core", type=int, help="bind to this core")
    given = parser.parse_args()
    config = tomllib.loads(given.config.read_text())
    record = run_gap_fit(config, given.train, given.folder, given.core)
    print(json.dumps(record, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
