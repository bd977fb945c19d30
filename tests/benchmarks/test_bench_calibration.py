"""The structures that a calibration is made on are of the kinds that the fit, and the test, have."""

import numpy as np
import pytest

from benchmarks.bench_calibration import CALIBRATION, kept_out


@pytest.mark.parametrize("sizes", [{"adatom": 210, "none": 70}, {"a": 126, "b": 48, "c": 126}, {None: 300}])
def test_each_group_has_its_share_of_the_structures_kept_out(sizes: dict[str | None, int]) -> None:
    groups = [name for name, count in sizes.items() for _ in range(count)]
    kept = kept_out(groups)
    assert len(set(kept)) == len(kept)
    for name, count in sizes.items():
        share = np.mean([groups[i] == name for i in kept])
        # A run of ten at the most is dealt whole.
        assert abs(share - count / len(groups)) < 10 / (CALIBRATION * len(groups))
