"""What the data doctor says of every public file as it is, and of the same file with spoilt labels.

python -m benchmarks.bench_check [--data FOLDER] [--sets Si_mlearn acac]
"""

import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.inputs import parser
from benchmarks.machine import ROOT, write_result
from benchmarks.table import table
from gpjaxpot import units
from gpjaxpot.structures.check import check
from gpjaxpot.structures.force_fit import fit_forces
from gpjaxpot.structures.io import read
from gpjaxpot.structures.labels import Frame, Labels
from gpjaxpot.structures.units_check import check_units

# Each fault: label, what it is multiplied by (volume: "V", atoms: "N"), and words the diagnosis must have.
FAULTS: dict[str, tuple[str, Any, str]] = {
    "forces × -1": ("forces", -1.0, "sign"),
    "energies × -1": ("energy", -1.0, "sign"),
    "energies in kcal/mol": ("energy", units.EV_TO_KCAL_PER_MOL, "energies in kcal/mol"),
    "forces in kcal/mol/Å": ("forces", units.EV_TO_KCAL_PER_MOL, "forces in kcal/mol"),
    "energies in kJ/mol": ("energy", units.EV_TO_KJ_PER_MOL, "energies in kJ/mol"),
    "energies in hartree": ("energy", units.EV_TO_HARTREE, "energies in hartree"),
    "energies in Ry": ("energy", units.EV_TO_RYDBERG, "energies in Ry"),
    "forces in hartree/bohr": ("forces", units.EV_PER_A_TO_HARTREE_PER_BOHR, "forces in hartree/bohr"),
    "forces in Ry/bohr": ("forces", 2 * units.EV_PER_A_TO_HARTREE_PER_BOHR, "forces in Ry/bohr"),
    "forces in eV/bohr": ("forces", units.BOHR_TO_A, "forces per bohr"),
    "energies per atom": ("energy", "1/N", "total energies"),
    "stress × -1": ("stress", -1.0, "multiply it by -1"),
    "stress in GPa": ("stress", units.EV_PER_A3_TO_GPA, "GPa"),
    "stress in kbar": ("stress", units.EV_PER_A3_TO_KBAR, "kbar"),
    "stress × -1602 (VASP)": ("stress", -units.EV_PER_A3_TO_KBAR, "kbar"),
    "virial for stress": ("stress", "-V", "divide by the volume"),
    "shears xy yz xz": ("stress", "order", "order xy yz xz"),
}
# Said of these files though nothing is spoilt, and true.
KNOWN = {"water": {"net-force"}}


def spoilt(frame: Frame, label: str, factor: Any) -> Frame:
    """The frame with one label multiplied or reordered."""
    labels = {name: getattr(frame.labels, name) for name in ("energy", "forces", "stress")}
    value = labels[label]
    if value is None:
        return frame
    if factor == "order":
        value = value[[0, 1, 2, 5, 3, 4]]
    elif factor == "-V":
        value = -value * frame.structure.volume
    else:
        value = value / len(frame.structure) if factor == "1/N" else value * factor
    return Frame(frame.structure, Labels(**{**labels, label: value}), frame.group, frame.source)


def diagnose(frames: Sequence[Frame]) -> dict[str, str]:
    """What is said of each fault: "named", "among others", "silent", or the wrong diagnosis itself."""
    fit = fit_forces(frames)
    answers = {}
    for name, (label, factor, words) in FAULTS.items():
        if fit is None or all(getattr(frame.labels, label) is None for frame in frames):
            continue
        # Everything that the fit says is in proportion to the forces: one fit serves all faults.
        k = factor if label == "forces" else 1.0
        scaled = replace(fit, energies=k * fit.energies, spread=abs(k) * fit.spread, stresses=k * fit.stresses)
        found = list(check_units([spoilt(frame, label, factor) for frame in frames], scaled))
        text = " ".join(f"{finding.message} {finding.remedy}" for finding in found)
        if not found:
            answers[name] = "silent"
        elif all("mend the forces" in finding.remedy for finding in found):
            # Stress and forces contradict each other, and it is said that either may be at fault.
            answers[name] = "among others"
        elif words in text:
            answers[name] = "among others" if text.count("; or ") > 1 else "named"
        else:
            answers[name] = "WRONG " + text
    return answers


def one_file(path: Path) -> dict[str, Any]:
    """Seconds, findings and diagnoses of one file."""
    frames = read(path, labels_required=False)
    start = time.perf_counter()
    findings = check(frames)
    return {
        "atoms": sum(len(frame.structure) for frame in frames),
        "seconds": round(time.perf_counter() - start, 2),
        "findings": [str(finding).replace(f"{path}, ", "") for finding in findings if finding.level != "note"],
        "notes": [finding.code for finding in findings if finding.level == "note"],
        "false": [f.code for f in findings if f.level != "note" and f.code not in KNOWN.get(path.parent.name, ())],
        "faults": diagnose(frames),
    }


def main() -> int:
    """Writes results/check.json; status 1 if a healthy file raised an alarm or a diagnosis was wrong."""
    options = parser(__doc__)
    options.add_argument("--sets", nargs="*", help="folders of the data; all where none is named")
    arguments = options.parse_args()
    folder = (ROOT / arguments.data).resolve()
    paths = sorted(
        path for path in folder.glob("*/*.xyz") if not arguments.sets or path.parent.name in arguments.sets
    )
    if not paths:
        print(f"check: left out, there are no data sets in {arguments.data}")
        return 0
    results = {}
    for path in paths:
        name = f"{path.parent.name}/{path.stem}"
        results[name] = one_file(path)
        for finding in results[name]["findings"]:
            print(f"{name}: {finding}", flush=True)
    names = ("named", "among others", "silent", "WRONG")
    rows = []
    for name, result in results.items():
        counts = [sum(answer.startswith(kind) for answer in result["faults"].values()) for kind in names]
        alarms = ", ".join(f.split("]")[0].split("[")[1] for f in result["findings"]) or "none"
        rows.append([name, result["atoms"], result["seconds"], alarms, *counts])
    print(table(["file", "atoms", "seconds", "warnings and errors", *names], rows))
    faults = {
        fault: [sum(r["faults"].get(fault, "").startswith(kind) for r in results.values()) for kind in names]
        for fault in FAULTS
    }
    print(table(["fault", *names], [[fault, *counts] for fault, counts in faults.items()]))
    write_result("check", {"files": results, "faults": faults})
    wrong = sum(counts[3] for counts in faults.values()) + sum(len(r["false"]) for r in results.values())
    print(f"{wrong} false alarms and wrong diagnoses; median {np.median([r['seconds'] for r in results.values()])} s")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
