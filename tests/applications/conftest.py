"""The fake potential and two atoms, for every test of this folder."""

import pytest

from tests.applications.fakes import FakePotential, silicon


@pytest.fixture
def potential():
    return FakePotential()


@pytest.fixture
def atoms():
    return silicon()
