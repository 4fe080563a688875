"""A run's own folder: its program, plan and manifest, and the runs that there are."""

from __future__ import annotations

import importlib.metadata
import platform
import re
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cai_jax import __version__
from cai_jax.exit_codes import UserError
from cai_jax.parallel import multihost
from cai_jax.runs import files, leases
from cai_jax.runs.cache import LEASE

MANIFEST, LATEST = "manifest.json", "latest"
MOST_SECONDS = 1e11  # since 1970: the year 5138, to which calendars reach
_PACKAGES = "jax jaxlib flax optax orbax-checkpoint transformers tokenizers numpy".split()


class RunFolder:
    """The folder of one run, and its manifest, which is rewritten during the run.

    The run holds a lease on it until `finish`, so that others can find out if it is alive.
    """

    def __init__(self, path: Path, manifest: dict[str, Any], lease: leases.Lease | None = None) -> None:
        self.path = path
        self.manifest = manifest
        self._lease = lease

    @classmethod
    def create(
        cls, out: Path, program: Path, text: bytes, plan: Mapping[str, Any], about: Mapping[str, Any]
    ) -> RunFolder:
        """Make `<program>-<time>-<hash>` under `out` and point `latest` at it.

        Of several processes the first does; every other one keeps its own record in `process-<number>` within.

        Args:
          out: the folder that holds runs and cache.
          program: path of the program, for its name.
          text: its text as it was checked, kept as program.cai.
          plan: JSON of the plan.
          about: further entries of the manifest (seed, overrides, limit).
        """
        made: list[RunFolder] = []

        def make() -> str:
            made.append(cls._make(out, program, text, plan, about))
            return made[0].path.name

        name = multihost.run_on_leader(make)
        if made:
            return made[0]
        own = out / name / f"process-{multihost.process_index()}"
        own.mkdir(parents=True)
        return cls(own, _begun(program, about))

    @classmethod
    def _make(
        cls, out: Path, program: Path, text: bytes, plan: Mapping[str, Any], about: Mapping[str, Any]
    ) -> RunFolder:
        manifest = _begun(program, about)
        stamp = time.strftime("%Y%m%d-%H%M%S", time.localtime(manifest["started"]))
        digest = uuid.uuid4().hex[:6]
        stem = re.sub(r"[^A-Za-z0-9_]+", "_", program.stem) or "program"
        path = out / f"{stem}-{stamp}-{digest}"
        path.mkdir(parents=True)
        lease = leases.acquire(path)
        assert isinstance(lease, leases.Lease)  # nobody else knows of a new folder
        folder = cls(path, manifest, lease)
        files.write_bytes(path / "program.cai", text)
        files.write_json(path / "plan.json", plan)
        folder.write()
        files.write_text(out / LATEST, path.name + "\n")
        return folder

    def write(self, **entries: Any) -> None:
        """Add entries to the manifest and write it."""
        self.manifest.update(entries)
        files.write_json(self.path / MANIFEST, self.manifest)

    def finish(self, status: str, **entries: Any) -> None:
        """Write the manifest's last state, and release the lease."""
        self.write(status=status, finished=time.time(), devices=devices(), **entries)
        if self._lease is not None:
            self._lease.release()


def _begun(program: Path, about: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest of a run that begins now."""
    state = {"program": str(program), "status": "running", "started": time.time()}
    return {**state, **about, "versions": versions(), "devices": []}


def versions() -> dict[str, str]:
    """Of Python, this package and those that its results depend on; what is not installed is left out."""
    found = {"python": platform.python_version(), "cai-jax": __version__}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def devices() -> list[str]:
    """JAX's devices; none if nothing has imported JAX, which a run out of the cache must not do."""
    jax = sys.modules.get("jax")
    return [str(device) for device in jax.devices()] if jax is not None else []


def runs(out: Path) -> Iterator[RunFolder]:
    """All runs under `out`, the newest first."""
    found = [RunFolder(path.parent, _manifest(path)) for path in out.glob(f"*/{MANIFEST}")]
    yield from sorted(found, key=lambda run: -run.manifest["started"])


def _manifest(path: Path) -> dict[str, Any]:
    """A manifest's entries; of one that cannot be read, or is not of its form, that it is damaged."""
    try:
        found = files.read_json(path)
        claims = found.get("expectations", [])
        numbers = [found["started"], found.get("finished", 0.0)]
        texts = [found["program"], found["status"]]
        if (
            all(isinstance(claim["holds"], bool) for claim in claims)
            and all(type(number) in (int, float) and abs(number) < MOST_SECONDS for number in numbers)
            and all(isinstance(text, str) for text in texts)
        ):
            return found
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        pass
    return {"program": "", "status": "damaged", "started": path.stat().st_mtime}


def latest(out: Path) -> RunFolder:
    """The newest run.

    Raises:
      UserError: there is none.
    """
    try:
        path = out / (out / LATEST).read_text(encoding="utf-8").strip()
        if (path / MANIFEST).is_file():
            return RunFolder(path, _manifest(path / MANIFEST))
    except (OSError, ValueError):
        pass
    raise UserError(
        f"there is no run in {out.resolve()}",
        "name the folder of your runs, `runs` where they were started by default: --out FOLDER, or CAI_JAX_OUT=FOLDER",
    )


def status(run: RunFolder) -> str:
    """The manifest's status; "died" for a run that is over without having said so."""
    said = run.manifest["status"]
    if said != "running":
        return said
    holder = leases.read(run.path / LEASE)
    return "running" if holder is not None and leases.alive(holder, run.path / LEASE) else "died"
