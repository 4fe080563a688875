"""Outside data while a run reads it: held to the contents from which the keys were made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cai_jax.errors import UserError
from cai_jax.runs.fingerprints import Fingerprints


class Outside:
    """Checks of the outside data that a node uses, so that no result of other contents is kept under its key."""

    def __init__(self) -> None:
        self._fingerprints = Fingerprints()
        self._used: dict[str, str] = {}

    def begin(self) -> None:
        """Forget the data used so far: another node begins."""
        self._used = {}

    def use(self, params: Mapping[str, Any], data: Mapping[str, Any]) -> None:
        """Check the outside data that parameters name against their fingerprints, now and at every `check`.

        Raises:
          UserError: some of it has changed.
        """
        for name, prints in data.items():
            for path, known in zip(_listed(params[name]), _listed(prints), strict=True):
                self._used[path] = known
        self.check()

    def check(self) -> None:
        """Raise UserError if data that was used has changed since the program was read."""
        for path, known in self._used.items():
            if self._fingerprints.of(path) != known:
                raise UserError(
                    f"{path} has changed since the program was read", "run again: what depends on it is made again"
                )


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
