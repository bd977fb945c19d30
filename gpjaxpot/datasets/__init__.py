"""Small sets of real structures that come with the package.

Extracts of the mlearn data: Zuo, Chen, Li, Deng, Chen, Behler, Csányi, Shapeev, Thompson,
Wood & Ong, *Performance and Cost Assessment of Machine Learning Interatomic Potentials*,
J. Phys. Chem. A 124, 731 (2020), doi:10.1021/acs.jpca.9b08723; BSD-3-Clause. Cite it when
you use them. They are for demonstrations and tests, too small for a potential to rely on.
"""

from importlib import resources

from gpjaxpot.structures.io import read
from gpjaxpot.structures.labels import Frame


def silicon() -> tuple[list[Frame], list[Frame]]:
    """Return 40 structures of silicon to train on and 12 to test on.

    12 to 64 atoms each, periodic; molecular dynamics from 300 to 3374 K, vacancies,
    strained cells and surfaces (the frames' groups). PBE energies (eV), forces (eV/Å) and
    stress (eV/Å³). The two parts are taken from the authors' own training and test parts.
    """
    return _part("silicon_train.xyz"), _part("silicon_test.xyz")


def lithium() -> tuple[list[Frame], list[Frame]]:
    """Return 40 structures of lithium to train on and 12 to test on.

    2 to 54 atoms each, periodic; molecular dynamics from 300 to 907 K at several densities,
    vacancies, strained cells and surfaces. Labels and parts as for `silicon`.
    """
    return _part("lithium_train.xyz"), _part("lithium_test.xyz")


def _part(name: str) -> list[Frame]:
    with resources.as_file(resources.files(__name__) / name) as path:
        return read(path)
