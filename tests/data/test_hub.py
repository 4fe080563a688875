"""The local Hugging Face cache, as its tools lay it out on disk."""

import pytest

from cai_jax.data.hub import snapshot

COMMIT = "0123456789abcdef"


@pytest.fixture
def hub(tmp_path, monkeypatch):
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
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


def test_a_folder_inside_a_dataset(hub):
    folder = cached(hub, "datasets--org--name", "harmless-base")
    assert snapshot("datasets", "org/name/harmless-base") == folder
    assert snapshot("datasets", "org/name") == folder.parent
    assert snapshot("datasets", "org/name/helpful-base") is None


def test_what_is_not_there_is_none(hub):
    assert snapshot("models", "org/name") is None
    (hub / "models--org--name" / "refs").mkdir(parents=True)
    (hub / "models--org--name" / "refs" / "main").write_text(COMMIT)
    assert snapshot("models", "org/name") is None


def test_the_cache_may_stand_elsewhere(hub, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "elsewhere"))
    folder = cached(tmp_path / "elsewhere", "models--org--name")
    assert snapshot("models", "org/name") == folder


def test_home_is_the_default(tmp_path, monkeypatch):
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    monkeypatch.delenv("HF_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = cached(tmp_path / ".cache" / "huggingface" / "hub", "models--org--name")
    assert snapshot("models", "org/name") == folder
