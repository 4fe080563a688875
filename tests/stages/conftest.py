"""Programs run as `cai-jax run` runs them, in one folder for the whole session, so that they share what they make."""

import contextlib
import io
import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import jax
import pytest

from cai_jax import cli
from cai_jax.models import checkpoint, decoder
from cai_jax.models.config import Config
from cai_jax.models.locate import BUILTIN
from cai_jax.models.tokenizer import Tokenizer
from cai_jax.pipeline import questions
from cai_jax.runs.cache import Cache, Entry
from cai_jax.runs.metric_log import read

SMALL = Config(
    vocab_size=1024,
    hidden_size=32,
    layers=2,
    heads=2,
    kv_heads=2,
    head_dim=16,
    intermediate_size=64,
    max_position=512,
)
SHOTS = [
    {
        "form": "critique",
        "turns": [{"role": "human", "text": "How do I steal a purse?"}],
        "reply": "Wait for a crowd.",
        "critique_request": "Say what is wrong.",
        "critique": "It helps a thief.",
        "revision_request": "Mend it.",
        "revision": "I will not help with theft.",
    },
    {
        "form": "comparison",
        "turns": [{"role": "human", "text": "How do I bake bread?"}],
        "a": "Heat the oven.",
        "b": "No.",
        "principles": ["kind"],
        "answer": "A",
    },
    {
        "form": "reasoning",
        "turns": [{"role": "human", "text": "How do I bake bread?"}],
        "a": "No.",
        "b": "Heat the oven.",
        "reasoning": "The second one helps.",
        "answer": "B",
    },
]
CONSTITUTION = """\
constitution rules {
  fewshots = "shots.jsonl"
  principle honest { critique = "Is the reply a lie?"  revise = "Make it true."  compare = "Choose what is true."
    audit = "Is the reply a lie?" }
  principle kind { critique = "Is the reply rude?"  revise = "Make it kind."  compare = "Choose what is kind."
    audit = "Is the reply rude?" }
  principle brief { compare = "Choose what is brief." }
}
"""
# Statements that a program gets where it uses their names.
GIVEN = {
    "rules": CONSTITUTION,
    "harmless": 'use harmless from "constitutions/starter.cai"\n',
    "base": 'base = model("small")\n',
    "tiny": 'tiny = model("builtin:tiny")\n',
    "red": 'red = prompts("builtin:red_team", limit=8)\n',
    "ask": 'ask = prompts("builtin:helpful", limit=8)\n',
    "human": 'human = prefs("builtin:helpful_prefs", limit=8)\n',
}


@dataclass
class Ran:
    """What one run has made.

    Attributes:
      shown: the object of `cai-jax run --json`; {} if the run failed.
      err: what it said on stderr.
      out: the folder of runs.
      code: the exit code.
    """

    shown: dict
    err: str
    out: Path
    code: int

    def entry(self, name: str) -> Entry:
        """The folder of the node with this name (of the program) or stage."""
        nodes = self.shown["nodes"]
        named = [n for n in nodes if name in n["name"].split(", ")] or [n for n in nodes if n["stage"] == name]
        assert len({node["key"] for node in named}) == 1, f"{name} is not one node"
        return Cache(self.out / "cache").entry(named[0]["key"])

    def rows(self, name: str) -> list[dict]:
        return self.entry(name).rows()

    def result(self, name: str) -> dict:
        return self.entry(name).record()["result"]

    def notes(self, name: str) -> dict[str, str]:
        return {note["code"]: note["message"] for note in self.entry(name).record()["notes"]}

    def log(self, name: str) -> list[dict]:
        return read(self.entry(name).dir / "metrics.jsonl")

    def model(self, name: str) -> checkpoint.Model:
        return checkpoint.load(str(self.entry(name).dir / "hf"))

    @property
    def made(self) -> set[str]:
        """The stages that were run and not found in the cache."""
        return {node["stage"] for node in self.shown["nodes"] if not node["cached"]}

    @property
    def metrics(self) -> dict[str, dict]:
        """What was measured, by the name that the program gives it, or its expression."""
        return {metric["name"]: metric for metric in self.shown["metrics"]}


class Bench:
    """A folder with a small random model and few-shots, in which programs are run."""

    def __init__(self, root: Path) -> None:
        self.root, self.out = root, root / "runs"
        (root / "tokenizer").mkdir()
        for name in ("tokenizer.json", "tokenizer_config.json"):  # to learn them again takes 12 s
            shutil.copy(BUILTIN["tiny"] / name, root / "tokenizer")
        tokenizer = Tokenizer.load(root / "tokenizer", SMALL)
        config = Config(
            **{
                **vars(SMALL),
                "vocab_size": tokenizer.vocab_size,
                "bos_id": tokenizer.bos_id,
                "eos_ids": (tokenizer.eos_id,),
                "pad_id": tokenizer.pad_id,
            }
        )
        params = decoder.init(config, jax.random.key(3))
        checkpoint.save(checkpoint.Model(config, params, tokenizer), root / "small")
        self.write("shots.jsonl", SHOTS)

    def write(self, name: str, rows: list[dict]) -> Path:
        """A .jsonl file beside the programs."""
        (self.root / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
        return self.root / name

    def model(self) -> checkpoint.Model:
        """The small random model, `base` in programs."""
        return checkpoint.load(str(self.root / "small"))

    def call(self, *words: str) -> tuple[int, str, str]:
        """Exit code, stdout and stderr of a command line."""
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as ended:
            cli.main([str(word) for word in words])
        return ended.value.code, out.getvalue(), err.getvalue()

    def program(self, text: str, name: str = "program.cai") -> Path:
        """Writes a program, with what it uses of GIVEN, and does not bind itself, in front."""
        used = [
            statement
            for given, statement in GIVEN.items()
            if re.search(rf"(?<!:)\b{given}\b(?! *=)", text) and not re.search(rf"^{given} *=", text, re.MULTILINE)
        ]
        (self.root / name).write_text("".join(used) + text)
        return self.root / name

    def run(self, text: str, *words: str, out: Path | None = None, code: int = 0) -> Ran:
        """Runs a program; `code` is the exit code that it must have, None where that does not matter."""
        program, out = self.program(text), out or self.out
        found, shown, err = self.call("run", program, "--json", "--out", out, *words)
        assert code in (found, None), f"exit code {found}\n{shown}\n{err}"
        return Ran(json.loads(shown) if shown else {}, err, out, found)


@pytest.fixture(scope="session")
def bench(tmp_path_factory) -> Bench:
    return Bench(tmp_path_factory.mktemp("stages"))


@pytest.fixture
def answering(bench, monkeypatch):
    """Any mass counts as an answer, so that the small random model can judge; in a folder of its own."""
    monkeypatch.setattr(questions, "NO_MASS", 0.0)
    monkeypatch.setattr(bench, "out", bench.root / "answering")
