"""The stochastic log determinant against that of the dense matrix."""

import numpy as np
import pytest
import scipy.linalg

from gpjaxpot.gp.conjugate_gradients import LowRank
from gpjaxpot.gp.lanczos import log_determinant

SIZE, RANK = 60, 8
RNG = np.random.default_rng(0)
ROWS, DIAGONAL = RNG.normal(size=(SIZE, RANK)), RNG.uniform(0.5, 20.0, SIZE)
B = DIAGONAL[:, None] * ROWS
# Far from what the preconditioner knows, and so that every eigenvalue counts.
REST = np.diag(np.geomspace(0.1, 300.0, SIZE)) ** 0.5 @ scipy.linalg.qr(RNG.normal(size=(SIZE, SIZE)))[0]
K = B @ B.T + REST @ REST.T


def nearby(b=B):
    lower = scipy.linalg.cholesky(np.eye(RANK) + b.T @ b, lower=True)
    return LowRank(b / DIAGONAL[:, None], DIAGONAL, lower)


def dense(k):
    sign, value = np.linalg.slogdet(np.eye(SIZE) + k)
    assert sign > 0
    return value


def estimate(k, probes=10, tolerance=1e-8, most=SIZE, seed=0, by=None, callback=lambda *a: None):
    by = nearby() if by is None else by
    return log_determinant(lambda v: k @ v, by, probes, tolerance, most, seed, callback)


def test_the_preconditioner_knows_its_determinant_and_draws_from_itself():
    assert nearby().log_determinant == pytest.approx(dense(B @ B.T), rel=1e-12)
    rng = np.random.default_rng(1)
    drawn = np.stack([nearby().draw(rng) for _ in range(4000)])
    p = np.eye(SIZE) + B @ B.T
    apart = (drawn.T @ drawn / len(drawn) - p) / np.sqrt(np.outer(np.diag(p), np.diag(p)))
    assert np.abs(apart).max() < 6 * np.sqrt(2 / len(drawn))


def test_where_the_preconditioner_is_all_one_or_two_steps_are_exact():
    found = estimate(B @ B.T)
    assert found.value == pytest.approx(dense(B @ B.T), rel=1e-10)
    assert found.standard_error < 1e-8
    assert found.steps <= 2 * found.probes


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("k", [K, K - 0.9 * REST @ REST.T, 0.3 * K], ids=["whole", "near", "other"])
def test_value_is_within_its_error(k, seed):
    found = estimate(k, seed=seed)
    assert abs(found.value - dense(k)) < 4 * found.standard_error
    assert found.standard_error < 0.1 * abs(dense(k))
    assert found.unfinished == 0


def test_many_probes_leave_no_bias():
    found = estimate(K, probes=250, tolerance=0.02)
    assert abs(found.value - dense(K)) < 4 * found.standard_error
    # The preconditioner's part and the trace have to be added up: both are many errors large.
    assert abs(dense(K) - nearby().log_determinant) > 100 * found.standard_error
    assert nearby().log_determinant > 50 * found.standard_error


def test_error_falls_as_the_root_of_the_number_of_probes():
    few, many = (estimate(K, probes=n, tolerance=0.1, seed=3).standard_error for n in (50, 300))
    assert many == pytest.approx(few / np.sqrt(6), rel=0.3)


def test_as_many_steps_as_rows_give_each_probe_exactly():
    """A probe's quadrature is then wᵀ log(M) w of the dense matrix."""
    found = estimate(K, probes=2, tolerance=0.0, seed=5)
    values, vectors = np.linalg.eigh(np.eye(SIZE) + B @ B.T)
    root = vectors / np.sqrt(values) @ vectors.T
    logarithm = scipy.linalg.logm(root @ (np.eye(SIZE) + K) @ root)
    rng = np.random.default_rng(5)
    w = np.stack([root @ nearby().draw(rng) for _ in range(2)])
    traces = SIZE * np.sum(w @ logarithm * w, axis=1) / np.sum(w**2, axis=1)
    assert found.value == pytest.approx(np.sum(np.log(values)) + np.mean(traces), rel=1e-9)
    assert found.steps <= 2 * SIZE


def test_a_tolerance_spares_steps_at_little_loss():
    rough, fine = estimate(K, tolerance=0.05), estimate(K)
    assert rough.steps < fine.steps
    assert abs(rough.value - fine.value) < 1.0
    short = estimate(K, most=3)
    assert short.unfinished == short.probes
    assert short.steps == 3 * short.probes
    assert short.value > fine.value  # Gauss quadrature of a logarithm is from above


def test_same_seed_same_numbers_and_progress():
    told = []
    a, b = estimate(K, seed=2, callback=lambda *x: told.append(x)), estimate(K, seed=2)
    assert a == b
    assert a != estimate(K, seed=4)
    assert told[-1] == (10 * SIZE, 10 * SIZE)
    assert [x for x, _ in told] == sorted(x for x, _ in told)


def test_what_is_not_positive_is_told():
    with pytest.raises(ArithmeticError, match="1 \\+ K is not positive"):
        estimate(-2.0 * K)
    wrong = LowRank(ROWS, DIAGONAL, 0.1 * nearby().lower)
    with pytest.raises(ArithmeticError, match="preconditioner is not positive"):
        estimate(K, by=wrong)
    with pytest.raises(ValueError, match="2 probes"):
        estimate(K, probes=1)
