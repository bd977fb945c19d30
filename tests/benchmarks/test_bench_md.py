"""The drift is the slope of a straight line through the total energy, per ps."""

import numpy as np
import pytest

from benchmarks.bench_md import drift


def test_drift_of_a_straight_line_with_a_wave() -> None:
    steps = np.arange(1001)
    # 20 whole periods in 1 ps: the wave's own slope is small beside the line's.
    energies = 2.0 + 3e-6 * steps * 1e-3 + 1e-8 * np.cos(2 * np.pi * steps / 50)
    slope, scatter = drift(energies)
    assert slope == pytest.approx(3e-6, rel=1e-3)
    assert scatter == pytest.approx(1e-8 / np.sqrt(2), rel=1e-2)
