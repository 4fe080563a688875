"""A model's folder that brings code: none of it runs, and nobody is asked whether it should."""

import json
import os
import pty
import shutil
import subprocess
import sys

import pytest
import transformers

import cai_jax
from cai_jax.models.errors import ModelError
from cai_jax.models.tokenizer import Tokenizer
from tests.support import llama
from tests.support.processes import ROOT

EVIL = "from pathlib import Path\nPath({!r}).write_text('it ran')\n"
CLASSES = ("EvilTokenizer", "EvilTokenizerFast", "EvilConfig", "EvilModel", "EvilProcessor")


def write(path, settings, config, mark, vocabulary=True):
    """A Llama whose tokenizer has no tokenizer.json, with modules of its own that write the file `mark`."""
    llama.write(path)
    backend = json.loads((path / "tokenizer.json").read_text())
    (path / "tokenizer.json").unlink()
    if vocabulary:
        (path / "vocab.json").write_text(json.dumps(backend["model"]["vocab"]))
        (path / "merges.txt").write_text("#version: 0.2\nt h\nth e\n")
    for module in ("evil", "tokenization_evil", "configuration_evil", "modeling_evil", "__init__"):
        classes = "".join(f"class {name}:\n    pass\n" for name in CLASSES)
        (path / f"{module}.py").write_text(EVIL.format(str(mark)) + classes)
    (path / "custom_generate").mkdir()
    shutil.copy(path / "evil.py", path / "custom_generate" / "generate.py")
    known = {"eos_token": "<eos>", "bos_token": "<bos>", "unk_token": "<eos>"}
    (path / "tokenizer_config.json").write_text(json.dumps(known | settings))
    values = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(values | config))
    (path / "preprocessor_config.json").write_text(json.dumps({"auto_map": {"AutoProcessor": "evil.EvilProcessor"}}))
    return path


MAP = {"AutoTokenizer": ["evil.EvilTokenizer", "evil.EvilTokenizerFast"]}
MODEL_MAP = {"auto_map": {"AutoConfig": "evil.EvilConfig", "AutoModelForCausalLM": "evil.EvilModel"}}
# What tokenizer_config.json and config.json say.
KINDS = {
    "a tokenizer": ({"tokenizer_class": "EvilTokenizer", "auto_map": MAP}, {}),
    "a tokenizer without a class": ({"auto_map": MAP}, {}),
    "the slow one only": ({"auto_map": {"AutoTokenizer": ["evil.EvilTokenizer", None]}}, {}),
    "the older form": ({"auto_map": ["evil.EvilTokenizer", None]}, {}),
    "of another repository": ({"auto_map": {"AutoTokenizer": ["org/evil--evil.EvilTokenizer", None]}}, {}),
    "a class by name": ({"tokenizer_class": "EvilTokenizer"}, {}),
    "a configuration": ({"tokenizer_class": "GPT2Tokenizer"}, MODEL_MAP),
    "both, of a type of its own": ({"auto_map": MAP}, MODEL_MAP | {"model_type": "evil"}),
}


@pytest.fixture
def asked(monkeypatch, tmp_path):
    """Prompts that a terminal would have shown; they are answered with yes."""
    prompts = []

    def answer(prompt=""):
        prompts.append(prompt)
        return "y"

    monkeypatch.setattr("builtins.input", answer)
    monkeypatch.setattr(transformers.dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    return prompts


@pytest.mark.parametrize("vocabulary", [True, False], ids=["with a vocabulary", "without"])
@pytest.mark.parametrize("kind", KINDS)
def test_no_code_of_a_folder_runs(tmp_path, asked, kind, vocabulary):
    mark = tmp_path / "mark"
    path = write(tmp_path / "model", *KINDS[kind], mark, vocabulary)
    for read in (Tokenizer.load, lambda folder: cai_jax.load(folder).tokenizer):
        try:
            read(path)
        except ModelError as error:
            assert "trust_remote_code" not in str(error)
    assert not asked and not mark.exists()


def test_what_needs_its_own_code_says_so(tmp_path, asked):
    path = write(tmp_path / "model", *KINDS["both, of a type of its own"], tmp_path / "mark")
    with pytest.raises(ModelError, match=r"code of its own, which is never run: save it as tokenizer\.json"):
        Tokenizer.load(path)


@pytest.mark.parametrize("terminal", [True, False], ids=["with a terminal", "without"])
def test_no_command_runs_it_or_asks(tmp_path, terminal):
    mark = tmp_path / "mark"
    path = write(tmp_path / "model", *KINDS["a tokenizer"], mark)
    (tmp_path / "p.jsonl").write_text('{"prompt": "Hello"}\n')
    sampled = f'base = model("{path}")\nasked = prompts("p.jsonl")\n'
    (tmp_path / "run.cai").write_text(f"{sampled}replies = asked |> sample(base, max_new=2)\n")
    (tmp_path / "guard.cai").write_text(f'base = model("{path}")\nguarded = _ |> sample(base, max_new=2)\n')
    words = [sys.executable, "-m", "tests.models._untrusted", "run.cai", "guard.cai", "out"]
    words[3:] = [str(tmp_path / word) if "." in word or word == "out" else word for word in words[3:]]
    outside, inside = pty.openpty() if terminal else os.pipe()
    try:
        os.write(outside if terminal else inside, b"y\n" * 50)
        if not terminal:
            os.close(inside)
        environment = os.environ | {"HF_MODULES_CACHE": str(tmp_path / "modules")}
        done = subprocess.run(
            words, stdin=inside if terminal else outside, cwd=ROOT, env=environment, capture_output=True, text=True,
            timeout=300,
        )  # fmt: skip
    finally:
        os.close(outside)
        if terminal:
            os.close(inside)
    # The folder needs its own code, which every command tells before it does anything.
    assert "CODES [3, 3, 3, 3]" in done.stdout, done.stdout[-3000:] + done.stderr[-3000:]
    assert not mark.exists() and not (tmp_path / "modules").exists()
    assert "[y/N]" not in done.stdout + done.stderr and "this is a bug" not in done.stderr
