"""Disks that are full or cannot be written to: a clear end, nothing lost, and the same result once they can be."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = """\
red = ask(n=400)
drawn = red |> reply()
model = drawn |> train(steps=30)
expect measure(model, red) > 0
"""


class Disk:
    """A small file system of its own, in memory."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def mount(self, *options: str) -> bool:
        made = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", str(self.path)], capture_output=True
        )
        return made.returncode == 0

    def fill(self, but: int) -> Path:
        """Leaves `but` bytes free; returns what takes the rest."""
        rest = self.path / "rest"
        free = os.statvfs(self.path)
        rest.write_bytes(b"\0" * (free.f_bavail * free.f_frsize - but))
        return rest


@pytest.fixture
def disk(tmp_path) -> Iterator[Disk]:
    made = Disk(tmp_path / "disk")
    made.path.mkdir()
    try:
        mounted = made.mount("size=4m")
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("needs Linux and the right to mount")
    yield made
    subprocess.run(["umount", "-l", str(made.path)], check=True)


@pytest.fixture
def closed(tmp_path) -> Iterator[Callable[[], Path]]:
    """Closes a folder that can be written to until then, by a mount for whom permissions do not bind."""
    made = Disk(tmp_path / "closed")
    made.path.mkdir()
    if os.getuid():
        yield lambda: made.path.chmod(0o555)
        made.path.chmod(0o755)
    elif not made.mount("size=4m"):
        pytest.skip("needs a user who is not root, or the right to mount")
    else:
        yield lambda: made.mount("remount", "ro")
        subprocess.run(["umount", "-l", str(made.path)], check=True)


def test_looking_needs_no_folder_that_can_be_written_to(closed, tmp_path):
    folder = tmp_path / "closed"
    (folder / "p.cai").write_text(PROGRAM)
    closed()
    with pytest.raises(OSError):
        (folder / "x").touch()
    place = {"XDG_CACHE_HOME": str(folder / "cache"), "HOME": str(folder), "PYTHONPATH": str(ROOT)}
    for words in (["check"], ["plan"], ["plan", "--prompts", "1"]):
        command = [sys.executable, "-B", "-m", "tests.runs._toy_cli", *words, "p.cai"]
        found = subprocess.run(command, cwd=folder, capture_output=True, text=True, env={**os.environ, **place})
        assert found.returncode == 0 and "Read-only" not in found.stderr and "Traceback" not in found.stderr, found
        assert "drawn" in found.stdout or words == ["check"]
    assert [path.name for path in folder.iterdir()] == ["p.cai"]


def run(program: Path, out: Path) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "tests.runs._toy_cli", "run", str(program), "--out", str(out)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env={**os.environ, "JAX_PLATFORMS": "cpu"})


def made(out: Path) -> dict[str, bytes]:
    """Everything that the nodes are made of; node.json, which says when, and DONE with its hash are left out."""
    files = (path for path in sorted((out / "cache").glob("*-*/**/*")) if path.is_file())
    when = ("node.json", "DONE")
    return {str(path.relative_to(out)): path.read_bytes() for path in files if path.name not in when}


@pytest.mark.parametrize("free", [16, 120, 300])
def test_a_full_disk_ends_a_run_clearly_and_loses_nothing(free, disk, tmp_path):
    program = tmp_path / "p.cai"
    program.write_text(PROGRAM)
    whole = run(program, tmp_path / "whole")
    assert whole.returncode == 0, whole.stderr
    rest = disk.fill(free << 10)
    stopped = run(program, disk.path / "runs")
    assert stopped.returncode in (2, 4) and "No space left on device" in stopped.stderr
    assert "Traceback" not in stopped.stderr
    rest.unlink()
    again = run(program, disk.path / "runs")
    assert again.returncode == 0, again.stderr
    assert made(disk.path / "runs") == made(tmp_path / "whole")


def test_a_folder_that_cannot_be_written_to_is_named(disk, tmp_path):
    program = tmp_path / "p.cai"
    program.write_text(PROGRAM)
    assert disk.mount("remount", "ro")
    refused = run(program, disk.path / "runs")
    assert refused.returncode == 2 and "Traceback" not in refused.stderr
    assert f"Read-only file system: '{disk.path / 'runs'}" in refused.stderr
