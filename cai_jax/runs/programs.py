"""From a program's file to its plan: what every command but `fmt` and `explain` begins with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cai_jax.exit_codes import UserError
from cai_jax.lang.checker import Checked, check
from cai_jax.lang.diagnostics import listed
from cai_jax.lang.source import shown_path

if TYPE_CHECKING:
    from cai_jax.lang.plan import Plan
    from cai_jax.stages.protocol import Stage


def checked(
    program: Path, text: bytes, sets: Sequence[str], registry: Mapping[str, Stage], user_code: bool = True
) -> Checked:
    """The program, checked, with its knobs set by "name=value".

    Args:
      program: its path. text: what the file holds.
      user_code: whether it may take stages from files of the user's own; checking never runs them.

    Raises:
      UserError: a setting is not of that form, or the program takes stages where it may not.
    """
    overrides = {}
    for one in sets:
        name, equals, value = (part.strip() for part in one.partition("="))
        if not (name and equals and value):
            raise UserError(f"--set {one}: not a setting", "write --set knob=value")
        if not one.isascii() and one != one.encode("utf-8", "replace").decode():
            raise UserError(f"--set {one}: not UTF-8", "write --set knob=value")
        overrides[name] = value
    found = check(text, program, registry, overrides=overrides)
    if found.user_stages and not user_code:
        message = f"{program} runs {code_of(found)}, which --no-user-code refuses"
        raise UserError(message, "read that code, and leave the option out if you trust it")
    return found


def code_of(found: Checked) -> str:
    """Whose code a program runs besides the package's: "`a` and `b` of my.py"; "" if none."""
    return " and ".join(f"{listed(names, 'and')} of {file}" for file, names in user_files(found).items())


def user_files(found: Checked) -> dict[str, list[str]]:
    """The files from which a program takes stages, as messages show them, and their stages."""
    files: dict[str, list[str]] = {}
    for signature in found.user_stages:
        assert signature.code is not None
        files.setdefault(shown_path(Path(signature.code.path)), []).append(signature.name)
    return files


def planned(
    found: Checked,
    registry: Mapping[str, Stage],
    seed: int | None = None,
    limit: int | None = None,
) -> Plan:
    """The plan of a program without errors, with the seed and the row limit of the command line.

    Raises:
      ValueError: the program has errors.
      UserError: there is a seed for a program that runs with several.
    """
    if seed is not None and found.arms[0].run["seeds"] is not None:
        low, high = found.arms[0].run["seeds"]
        message = f"--seed {seed}: the program runs with the seeds {low:g} to {high:g}"
        raise UserError(message, f"leave it out, or write  run (seed={seed})  instead of `seeds=`")
    # Imported here, because `check` has no use for them and is to start fast.
    from cai_jax.lang.plan import lower
    from cai_jax.runs.fingerprints import Fingerprints
    from cai_jax.runs.overrides import overridden

    fingerprints = Fingerprints()
    lowered = lower(found, fingerprints.of)
    fingerprints.save()
    return overridden(lowered, registry, seed, limit)
