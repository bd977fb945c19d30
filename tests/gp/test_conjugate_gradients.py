"""Conjugate gradients against a direct solution, and the preconditioner against the inverse that it stands for."""

import numpy as np
import pytest
import scipy.linalg

from gpjaxpot.gp.conjugate_gradients import LowRank, conjugate_gradients

RNG = np.random.default_rng(0)
ROWS, DIAGONAL = RNG.normal(size=(30, 8)), RNG.uniform(0.5, 20.0, 30)
B = DIAGONAL[:, None] * ROWS
RIGHT = RNG.normal(size=30)
REST = RNG.normal(size=(30, 30))


def low_rank():
    return LowRank(ROWS, DIAGONAL, scipy.linalg.cholesky(np.eye(8) + B.T @ B, lower=True))


def test_preconditioner_is_the_inverse():
    expected = np.linalg.solve(np.eye(30) + B @ B.T, RIGHT)
    np.testing.assert_allclose(low_rank().solve(RIGHT), expected, atol=1e-10)


@pytest.mark.parametrize("share", [0.0, 0.01])
def test_solution(share):
    k = B @ B.T + share * REST @ REST.T
    told = []
    found = conjugate_gradients(
        lambda v: k @ v, RIGHT, low_rank().solve, None, 1e-9, 60, lambda *a: told.append(a)
    )
    assert found.converged
    assert found.residual < 1e-8
    np.testing.assert_allclose(found.values, np.linalg.solve(np.eye(30) + k, RIGHT), atol=1e-8)
    assert told == [(i + 1, 60) for i in range(found.iterations)]
    # Where the preconditioner is the whole of it, one step is enough.
    assert found.iterations <= (2 if share == 0 else 31)


def test_a_good_guess_spares_steps_and_too_few_are_told():
    k = B @ B.T + REST @ REST.T
    exact = np.linalg.solve(np.eye(30) + k, RIGHT)

    def run(start, most):
        return conjugate_gradients(lambda v: k @ v, RIGHT, low_rank().solve, start, 1e-6, most, lambda *a: None)

    assert run(exact, 60).iterations == 0
    short = run(None, 3)
    assert not short.converged
    assert short.iterations == 3
    assert short.residual > 1e-6
