"""`cai-jax ls` and `cai-jax show`: what runs there were, and what a node holds."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cai_jax.runs import files, folder, metrics
from cai_jax.runs.cache import METRICS, Cache, Entry
from cai_jax.runs.errors import UserError
from cai_jax.runs.labels import find as find_key
from cai_jax.runs.progress import duration
from cai_jax.runs.results import aligned


def runs(out: Path) -> list[dict[str, Any]]:
    """Every run under `out`, the newest first: name, program, status, when, and how its claims came out."""
    return [
        {
            "run": run.path.name,
            "program": run.manifest["program"],
            "status": folder.status(run),
            "started": run.manifest["started"],
            "seconds": run.manifest.get("finished", run.manifest["started"]) - run.manifest["started"],
            "held": sum(verdict["holds"] for verdict in run.manifest.get("expectations", ())),
            "expected": len(run.manifest.get("expectations", ())),
        }
        for run in folder.runs(out)
    ]


def runs_text(found: list[dict[str, Any]]) -> str:
    rows = [["run", "status", "started", "took", "claims held"]]
    for run in found:
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(run["started"]))
        held = f"{run['held']} of {run['expected']}" if run["expected"] else ""
        rows.append([run["run"], run["status"], when, duration(run["seconds"]), held])
    return aligned(rows, rule_after=1)


def nodes(out: Path) -> list[dict[str, Any]]:
    """Every finished node in the cache: key, names, rows, bytes on disk."""
    return [
        {
            "key": entry.key,
            "names": entry.record().get("names", []),
            "rows": entry.record().get("rows", 0),
            "bytes": sum(path.stat().st_size for path in entry.dir.rglob("*") if path.is_file()),
        }
        for entry in Cache(out / "cache").entries()
    ]


def nodes_text(found: list[dict[str, Any]]) -> str:
    rows = [["node", "called", "rows", "bytes"]]
    rows += [[n["key"], ", ".join(n["names"]), f"{n['rows']:,}", f"{n['bytes']:,}"] for n in found]
    return aligned(rows, rule_after=1)


def find(out: Path, name: str, run: str = "") -> Entry:
    """A node by its name in a run (the latest, if none is given), or by the beginning of its key.

    Raises:
      UserError: there is no such run or node, or there are several.
    """
    cache = Cache(out / "cache")
    path = out / run if run else folder.latest(out).path
    try:
        named: Mapping[str, str] = files.read_json(path / "plan.json")["names"]
    except (OSError, ValueError):
        raise UserError(f"no run {path.name} in {out}", "`cai-jax ls` lists the runs") from None
    entry = cache.entry(find_key(name, named, [entry.key for entry in cache.entries()], f"the run {path.name}"))
    if not entry.done:
        raise UserError(f"the node `{name}` is not finished", "run the program again; it goes on from there")
    return entry


def node(entry: Entry, rows: int) -> dict[str, Any]:
    """Everything about a node: node.json, the last of its metrics, and its first rows."""
    logged = metrics.read(entry.dir / METRICS)
    return {
        **entry.record(),
        "folder": str(entry.dir),
        "metrics": logged[-1] if logged else None,
        "shown": entry.rows()[:rows],
    }


def node_text(shown: Mapping[str, Any]) -> str:
    """A node for people."""
    about = [
        ["key", shown["key"]],
        ["called", ", ".join(shown["names"])],
        ["made by", f"{shown['stage']} (version {shown['version']}) in {duration(shown['seconds'])}"],
        ["folder", shown["folder"]],
        *([f"  {name}", _brief(value)] for name, value in shown["params"].items()),
        *([f"from {name}", _brief(key)] for name, key in shown["inputs"].items()),
        ["result", _brief(shown["result"], 400)],
        ["rows", f"{shown['rows']:,}"],
    ]
    if shown["metrics"]:
        about.append(["last metrics", _brief(shown["metrics"], 400)])
    about += [["note", f"{note['code']}: {note['message']}"] for note in shown["notes"]]
    return "\n\n".join([aligned(about), *(_row(row) for row in shown["shown"])])


def _row(row: Mapping[str, Any]) -> str:
    """A row as a conversation, with its other fields below."""
    lines = [f"--- {row.get('id', '')}"]
    lines += [f"{turn['role']}: {turn['text'].strip()}" for turn in row.get("turns", ())]
    told = ("id", "turns")
    return "\n".join(lines + [f"  {name}: {_brief(v, 400)}" for name, v in row.items() if name not in told])


def _brief(value: Any, width: int = 100) -> str:
    said = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    said = " ".join(said.split())
    return said if len(said) <= width else f"{said[: width - 1]}…"
