"""Leases: one process at a time works on a node, and a dead one's place can be taken."""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from cai_jax.runs import leases
from tests.support.waiting import until

ROOT = Path(__file__).parents[2]


def test_leases(tmp_path):
    held = leases.acquire(tmp_path)
    assert isinstance(held, leases.Lease)
    other = leases.acquire(tmp_path)
    assert isinstance(other, leases.Holder) and str(os.getpid()) in str(other)
    held.release()
    assert not list(tmp_path.iterdir())


def write_lease(folder, **change):
    mine = leases.this_process()
    fields = {"host": mine.host, "pid": mine.pid, "started": mine.started, "token": "x", **change}
    (folder / "LEASE").write_text(json.dumps(fields))


def test_a_dead_holder_is_recognised_by_process_and_by_start_time(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    for change in ({"pid": process.pid, "started": "1"}, {"started": "1"}):
        write_lease(tmp_path, **change)
        lease = leases.acquire(tmp_path)
        assert isinstance(lease, leases.Lease)
        lease.release()


@pytest.mark.parametrize("text", ["", '{"host": "el', "[]", '{"host": 1}'])
def test_a_lease_that_a_power_loss_has_spoilt_is_nobodys(text, tmp_path):
    (tmp_path / "LEASE").write_text(text)
    # At first it may be one that is being written.
    assert str(leases.acquire(tmp_path)) == "another process"
    old = time.time() - leases.STALE_S - 1
    os.utime(tmp_path / "LEASE", (old, old))
    lease = leases.acquire(tmp_path)
    assert isinstance(lease, leases.Lease)
    lease.release()
    assert not list(tmp_path.iterdir())


def test_a_lease_taken_over_is_not_broken_again(tmp_path):
    """Two find the same dead holder; the slower one must not remove what the faster one has put in its place."""
    write_lease(tmp_path, started="1")
    dead, mine = leases.read(tmp_path / "LEASE"), leases.this_process()
    first = leases.acquire(tmp_path)
    leases._break(tmp_path / "LEASE", dead, mine)
    assert isinstance(leases.acquire(tmp_path), leases.Holder)
    first.release()


def test_a_lease_that_is_being_broken_is_left_alone(tmp_path):
    write_lease(tmp_path, started="1")
    dead = leases.read(tmp_path / "LEASE")
    breaking = tmp_path / f".lease-{dead.token}LEASE"
    assert leases._create(breaking, leases.this_process())
    leases._break(tmp_path / "LEASE", dead, leases.this_process())
    assert leases.read(tmp_path / "LEASE") == dead
    # Its breaker dies in turn.
    breaking.write_text(json.dumps({**vars(leases.this_process()), "started": "1"}))
    lease = leases.acquire(tmp_path)
    assert isinstance(lease, leases.Lease)
    lease.release()
    assert not list(tmp_path.iterdir())


def test_of_many_only_one_takes_a_dead_ones_place(tmp_path):
    write_lease(tmp_path, started="1")
    got = []
    threads = [threading.Thread(target=lambda: got.append(leases.acquire(tmp_path))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (lease,) = [one for one in got if isinstance(one, leases.Lease)]
    lease.release()


def test_a_holder_elsewhere_lives_as_long_as_its_heart_beats(tmp_path):
    write_lease(tmp_path, host="elsewhere")
    assert isinstance(leases.acquire(tmp_path), leases.Holder)
    old = time.time() - leases.STALE_S - 1
    os.utime(tmp_path / "LEASE", (old, old))
    lease = leases.acquire(tmp_path)
    assert isinstance(lease, leases.Lease)
    lease.release()


def test_a_heartbeat_of_the_future_is_believed_only_while_it_goes_on(tmp_path, monkeypatch):
    write_lease(tmp_path, host="elsewhere")
    path, now = tmp_path / "LEASE", [100.0]
    os.utime(path, (4_070_908_800, 4_070_908_800))  # 2099
    monkeypatch.setattr(leases.time, "monotonic", lambda: now[0])
    assert isinstance(leases.acquire(tmp_path), leases.Holder)
    now[0] += leases.STALE_S - 1
    os.utime(path, (4_070_908_810, 4_070_908_810))
    assert isinstance(leases.acquire(tmp_path), leases.Holder)
    now[0] += leases.STALE_S - 1
    assert isinstance(leases.acquire(tmp_path), leases.Holder)
    now[0] += 1
    lease = leases.acquire(tmp_path)
    assert isinstance(lease, leases.Lease)
    lease.release()


@pytest.mark.parametrize("change", [{"pid": "1"}, {"started": None, "pid": 2**30}, {"token": "../x"}, {"host": []}])
def test_a_lease_of_another_form_is_nobodys(change, tmp_path):
    write_lease(tmp_path, **change)
    assert str(leases.acquire(tmp_path)) == "another process"
    os.utime(tmp_path / "LEASE", (0, 0))
    lease = leases.acquire(tmp_path)
    assert isinstance(lease, leases.Lease)
    lease.release()


def test_a_heartbeat(tmp_path, monkeypatch):
    monkeypatch.setattr(leases, "BEAT_S", 0.01)
    lease = leases.acquire(tmp_path)
    os.utime(tmp_path / "LEASE", (0, 0))
    until(lambda: (tmp_path / "LEASE").stat().st_mtime > 0)
    lease.release()
