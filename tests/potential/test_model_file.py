"""Model files: the same bits back, and a clear word about anything else."""

import numpy as np
import pytest

import gpjaxpot as gp
from tests.potential.conftest import settings, soap


@pytest.mark.parametrize("which", ["exact", "sparse"])
def test_what_is_loaded_predicts_the_same_bits(which, request, frames, tmp_path):
    potential = request.getfixturevalue(which)
    potential.save(tmp_path / "model.safetensors")
    again = gp.Potential.load(tmp_path / "model.safetensors")
    a, b = (p.predict(frames[7], uncertainty=True) for p in (potential, again))
    for name in ("energy", "forces", "stress", "energy_std", "forces_std", "stress_std", "energies_std"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    assert again.summary() == potential.summary()
    assert again.log_marginal_likelihood == potential.log_marginal_likelihood


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "text"])
def test_a_damaged_file_is_named(damage, sparse, tmp_path):
    path = tmp_path / "model.safetensors"
    sparse.save(path)
    content = bytearray(path.read_bytes())
    if damage == "flipped":
        content[-100] ^= 0xFF
    half = content[: len(content) // 2]
    kinds = {"truncated": half, "flipped": content, "empty": b"", "text": b"no model at all"}
    path.write_bytes(kinds[damage])
    with pytest.raises(gp.InputError, match=r"model.safetensors"):
        gp.Potential.load(path)


def test_a_folder_is_no_model(tmp_path):
    with pytest.raises(gp.InputError, match="is a folder"):
        gp.Potential.load(tmp_path)


def test_a_function_kernel_is_not_stored_and_leaves_the_old_file(frames, sparse, tmp_path):
    path = tmp_path / "model.safetensors"
    sparse.save(path)
    before = path.read_bytes()
    own = gp.FunctionKernel(lambda p, q: (p @ q) ** 2)
    chosen = settings("model.method=sparse", "model.n_inducing=10")
    potential = gp.fit(frames[:2], soap(), own, settings=chosen)
    with pytest.raises(gp.InputError, match="no code"):
        potential.save(path)
    assert path.read_bytes() == before
