"""Who does what of a fit that several devices share."""

from unittest import mock

import jax
import numpy as np
import pytest
from jax.sharding import Mesh

from gpjaxpot.errors import InputError
from gpjaxpot.potential import streaming
from gpjaxpot.potential.crew import ALONE, Crew, all_devices


def of_another_process(monkeypatch, *processes):
    """A mesh whose devices are of these processes, out of three."""
    monkeypatch.setattr(jax, "process_count", lambda: 3)
    mesh = mock.create_autospec(Mesh, instance=True)
    mesh.devices = np.array([mock.create_autospec(jax.Device, instance=True, process_index=p) for p in processes])
    return mesh


def test_without_a_mesh_nothing_is_said_of_devices():
    assert Crew.of(None) is ALONE
    seen = []
    ALONE.each(lambda lane: seen.append((lane, jax.config.jax_default_device)))
    assert seen == [(0, None)]
    assert ALONE.least(3.0) == 3.0
    assert [ALONE.agreed(decision) for decision in (True, False)] == [True, False]


def test_work_runs_on_the_device_that_it_is_dealt_to():
    crew, seen = Crew.of(all_devices()), []
    crew.each(lambda lane: seen.append(jax.config.jax_default_device))
    assert seen == list(crew.devices) == jax.devices()


def test_what_fails_on_a_device_is_told():
    three = Crew((jax.devices()[0],) * 3, (0, 1, 2), 3)

    def fail(lane):
        if lane == 2:
            raise ValueError("of the third")

    with pytest.raises(ValueError, match="of the third"):
        three.each(fail)


def test_a_mesh_has_devices_of_all_processes_or_of_this_one(monkeypatch):
    both = Crew.of(of_another_process(monkeypatch, 0, 1, 2, 0))
    assert (both.places, both.size, both.processes) == ((0, 3), 4, 3)
    assert Crew.of(of_another_process(monkeypatch, 0, 0)).processes == 1
    for some in ((0, 2), (1,), (2, 2)):
        with pytest.raises(InputError, match="devices of the processes"):
            Crew.of(of_another_process(monkeypatch, *some))


def test_files_of_processes_do_not_meet(tmp_path):
    path = tmp_path / "model.partial.300"
    assert ALONE.own_file(path) == path
    assert Crew(processes=2).own_file(path).name == "model.partial.300-0"
    assert Crew(processes=2).own_file(None) is None


@pytest.mark.parametrize(("devices", "processes"), [(1, 1), (2, 1), (3, 1), (8, 1), (12, 1), (4, 2)])
@pytest.mark.parametrize("batches", [1, 7, 100])
def test_every_batch_is_made_once_and_in_the_same_strand(devices, processes, batches):
    made = {}
    for process in range(processes):
        places = tuple(range(process, devices, processes))
        strands = streaming._Strands(Crew((), places, devices, processes), batches, 3)
        for own in strands.work:
            assert own == sorted(own)  # one strand after the other
            for strand, batch in own:
                assert batch not in made
                made[batch] = strand
    count = max(devices, streaming.STRANDS)
    assert made == {batch: batch % count for batch in range(batches)}
