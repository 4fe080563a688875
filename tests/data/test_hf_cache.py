"""The local Hugging Face cache, as its tools lay it out on disk."""

import os
import subprocess
import sys

import pytest
from huggingface_hub import try_to_load_from_cache

from cai_jax.data.hf_cache import snapshot
from cai_jax.models.locate import base_of, locate
from cai_jax.models.locate import folder as find

COMMIT = "0123456789abcdef"


@pytest.fixture
def hub(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def cached(hub, name, *inside):
    repository = hub / name
    folder = repository.joinpath("snapshots", COMMIT, *inside)
    folder.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT + "\n")
    return folder


def test_a_model(hub):
    folder = cached(hub, "models--org--name")
    assert snapshot("models", "org/name") == folder
    assert snapshot("datasets", "org/name") is None


def test_a_folder_or_a_file_inside_a_dataset(hub):
    folder = cached(hub, "datasets--org--name", "harmless-base")
    assert snapshot("datasets", "org/name/harmless-base") == folder
    (folder / "train.jsonl").write_text("")
    assert snapshot("datasets", "org/name/harmless-base/train.jsonl") == folder / "train.jsonl"
    assert snapshot("datasets", "org/name") == folder.parent
    assert snapshot("datasets", "org/name/helpful-base") is None


def test_old_repositories_have_no_organisation(hub):
    folder = cached(hub, "models--gpt2")
    (folder / "config.json").write_text("{}")
    (hub / "models--gpt2" / "refs" / "main").write_text(COMMIT)  # as its tools write it
    assert try_to_load_from_cache("gpt2", "config.json", hub) == str(folder / "config.json")
    assert snapshot("models", "gpt2") == locate("hf:gpt2") == find("gpt2") == find("hf:gpt2") == folder
    (hub / "adapter_config.json").write_text('{"base_model_name_or_path": "gpt2"}')
    assert base_of(hub) == folder.resolve()
    folder = cached(hub, "datasets--imdb", "plain_text")
    assert snapshot("datasets", "imdb") == folder.parent
    assert snapshot("datasets", "imdb/plain_text") == folder
    assert snapshot("datasets", "plain_text") is None
    assert snapshot("datasets", "imdb/other") is None
    other = cached(hub, "datasets--imdb--plain_text")
    assert snapshot("datasets", "imdb/plain_text") == other


def test_what_is_not_there_is_none(hub):
    assert snapshot("models", "org/name") is None
    (hub / "models--org--name" / "refs").mkdir(parents=True)
    (hub / "models--org--name" / "refs" / "main").write_text(COMMIT)
    assert snapshot("models", "org/name") is None
    (hub / "models--org--name" / "refs" / "main").write_bytes(b"\xff\xfe")
    assert snapshot("models", "org/name") is None


BOTH = """
from pathlib import Path
from huggingface_hub import try_to_load_from_cache
from cai_jax.data.hf_cache import snapshot
print(Path(try_to_load_from_cache("org/name", "config.json")).parent)
print(snapshot("models", "org/name"))
"""
# Where the cache is, below a folder that is the home and the variable HERE, -> what says so.
PLACES = {
    ".cache/huggingface/hub": {},
    "scratch/huggingface/hub": {"XDG_CACHE_HOME": "{here}/scratch"},
    "hf/hub": {"HF_HOME": "~/hf"},
    "other/hub": {"HF_HOME": "$HERE/other"},
    "old": {"HUGGINGFACE_HUB_CACHE": "{here}/old"},
    "new": {"HF_HUB_CACHE": "~/new", "HF_HOME": "{here}/unused"},
}


@pytest.mark.parametrize("place", PLACES)
def test_the_cache_is_where_its_own_tools_have_it(tmp_path, place):
    folder = cached(tmp_path / place, "models--org--name")
    (folder / "config.json").write_text("{}")
    (folder.parents[1] / "refs" / "main").write_text(COMMIT)  # as its tools write it
    told = {name: value.format(here=tmp_path) for name, value in PLACES[place].items()}
    named = ("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME")
    environment = {name: value for name, value in os.environ.items() if name not in named}
    environment |= {"HOME": str(tmp_path), "HERE": str(tmp_path)} | told
    done = subprocess.run([sys.executable, "-c", BOTH], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [str(folder)] * 2
