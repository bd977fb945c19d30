"""One factor for all uncertainties, and ensembles: closed forms, what the factors are the best of, and simulation."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.optimize import minimize_scalar

from gpjaxpot.errors import InputError
from gpjaxpot.uncertainty import scores
from gpjaxpot.uncertainty.alpha import alpha_absolute, alpha_crps, alpha_squared
from gpjaxpot.uncertainty.members import ensemble_alpha, ensemble_covariance, ensemble_rescaled, ensemble_std

RESIDUAL, STD = np.array([0.02, -0.05, 0.01, 0.08]), np.array([0.03, 0.04, 0.02, 0.05])


@pytest.fixture
def points():
    """Residuals of heavy tails with a σ that is half of what it should be."""
    generator = np.random.default_rng(4)
    std = np.exp(generator.normal(size=3000))
    return 2.0 * std * generator.standard_t(5, size=3000), std


def test_factors_of_four_residuals():
    """Worked with scipy for the specification (`AT-15`)."""
    assert_allclose(alpha_squared(RESIDUAL, STD), 1.0973769230, atol=1e-9)
    assert_allclose(alpha_absolute(RESIDUAL, STD), 1.2585362795, atol=1e-9)


@pytest.mark.parametrize(("alpha", "score"), [(alpha_squared, scores.nll), (alpha_crps, scores.crps)])
def test_a_factor_is_the_best_of_its_score(alpha, score, points):
    residual, std = points
    best = minimize_scalar(
        lambda a: score(np.zeros_like(residual), a * std, residual), bounds=(0.1, 10.0), method="bounded",
        options={"xatol": 1e-9},
    )  # fmt: skip
    assert_allclose(alpha(residual, std), best.x, rtol=1e-5)


@pytest.mark.parametrize("alpha", [alpha_squared, alpha_absolute, alpha_crps])
def test_factors_find_a_wrong_size(alpha):
    """Of Gaussian errors all find the same, and scale as errors and uncertainties do."""
    generator = np.random.default_rng(5)
    std = np.exp(generator.normal(size=100_000))
    residual = 1.7 * std * generator.normal(size=100_000)
    assert_allclose(alpha(residual, std), 1.7, rtol=0.01)
    assert_allclose(alpha(3.0 * residual, 0.5 * std), 6.0 * alpha(residual, std), rtol=1e-9)


@pytest.mark.parametrize("alpha", [alpha_squared, alpha_absolute, alpha_crps])
def test_what_has_no_factor_is_refused(alpha):
    with pytest.raises(InputError, match="not positive"):
        alpha(RESIDUAL, np.array([0.03, 0.04, 0.0, 0.05]))
    with pytest.raises(InputError, match="not finite"):
        alpha(np.array([0.02, np.nan, 0.01, 0.08]), STD)
    with pytest.raises(InputError, match="at least one"):
        alpha(np.zeros(0), np.zeros(0))


def test_errors_of_zero_have_no_best_factor():
    with pytest.raises(InputError, match="errors are zero"):
        alpha_crps(np.zeros(4), STD)
    with pytest.raises(InputError, match="9 of 10 errors are zero"):
        alpha_crps(np.append(np.zeros(9), 0.1), np.ones(10))


def test_five_energies():
    """`AT-6`: the unbiased variance, and the factor that five members with ⟨z²⟩ = 1.7 ask for."""
    energies = np.array([-10.00, -10.04, -9.97, -10.02, -10.01])[:, None]
    assert_allclose(ensemble_std(energies), [0.0258843582], atol=1e-10)
    assert_allclose(ensemble_std(energies) ** 2, [6.7e-4], atol=1e-14)
    truth = np.mean(energies) + np.sqrt(1.7) * ensemble_std(energies)
    assert_allclose(ensemble_alpha(energies, truth) ** 2, 0.65, atol=1e-12)


def test_covariance_of_four_forces():
    """`AT-7`, for one atom and for atoms of a structure at once."""
    forces = np.array([[0.10, -0.20, 0.05], [0.14, -0.25, 0.00], [0.08, -0.18, 0.06], [0.12, -0.21, 0.03]])
    expected = 1e-4 * np.array([[20 / 3, -22 / 3, -20 / 3], [-22 / 3, 26 / 3, 23 / 3], [-20 / 3, 23 / 3, 7.0]])
    assert_allclose(ensemble_covariance(forces), expected, atol=1e-14)
    both = np.stack([forces, 2.0 * forces[::-1]], axis=1)
    assert_allclose(ensemble_covariance(both), [expected, 4.0 * expected], atol=1e-14)
    assert_allclose(np.sqrt(np.einsum("nii->ni", ensemble_covariance(both))), ensemble_std(both), atol=1e-14)


@pytest.mark.parametrize("alpha", [0.4, 1.0, 2.5])
def test_few_members_find_how_wide_they_should_be(alpha):
    """Truth and five members of one centre, the truth α times as far from it: √⟨z²⟩ does not find α, this does."""
    generator = np.random.default_rng(6)
    centre, std = generator.normal(size=200_000), np.exp(generator.normal(size=200_000))
    members = centre + std * generator.normal(size=(5, 200_000))
    truth = centre + alpha * std * generator.normal(size=200_000)
    assert_allclose(ensemble_alpha(members, truth), alpha, rtol=0.05)
    assert alpha_squared(truth - members.mean(0), ensemble_std(members)) > 1.3 * alpha


def test_rescaled_members_have_the_rescaled_spread():
    members = np.random.default_rng(7).normal(size=(6, 10, 3))
    wider = ensemble_rescaled(members, 1.8)
    assert_allclose(wider.mean(0), members.mean(0), atol=1e-14)
    assert_allclose(ensemble_covariance(wider), 1.8**2 * ensemble_covariance(members), rtol=1e-12)


def test_too_few_members_and_ones_that_agree_are_refused():
    members = np.random.default_rng(8).normal(size=(5, 20))
    with pytest.raises(InputError, match="at least 2"):
        ensemble_std(members[:1])
    with pytest.raises(InputError, match="at least 2"):
        ensemble_covariance(members[:1, :, None])
    with pytest.raises(InputError, match="at least 4"):
        ensemble_alpha(members[:3], members[4])
    with pytest.raises(InputError, match="1 of 2 numbers"):
        ensemble_alpha(np.column_stack([members[:, 0], np.ones(5)]), np.ones(2))
    with pytest.raises(InputError, match="trained on"):
        ensemble_alpha(members, members.mean(0))
