"""Find the folders that are shipped with the package: grammar, constitutions and programs."""

from __future__ import annotations

from pathlib import Path

from cai_jax.errors import UserError

_PACKAGE = Path(__file__).resolve().parent.parent


def find(name: str, package: Path = _PACKAGE) -> Path:
    """The folder `name`: inside the package (a wheel), else next to it (an editable install, a clone).

    Raises:
      UserError: it is in neither place.
    """
    for folder in (package / "_assets" / name, package.parent / name):
        if folder.is_dir():
            return folder
    raise UserError(f"the folder {name!r} that belongs to cai_jax is missing", hint="install cai-jax again")


def root(package: Path = _PACKAGE) -> Path:
    """The folder that holds constitutions/ and programs/, against which `use … from` falls back."""
    return find("constitutions", package).parent
