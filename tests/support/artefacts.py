"""Artefacts for tests of parts of stages, without a run."""

from types import SimpleNamespace

NAMELESS = "nameless"


def constitution(path, names=()):
    """A constitution with these principles (dicts) and the few-shots in a file."""
    return SimpleNamespace(result={"principles": names}, source=lambda name: str(path))


def model(path, bases=(), **result):
    """A model in a folder, which may be an adapter of models in others."""
    return SimpleNamespace(path=path, bases=bases, key=NAMELESS, result=result, source=lambda name: str(path))


def mixture(weighted):
    """Preference models, each with its weight."""
    made = {f"{NAMELESS}-{number}": artefact for number, (_, artefact) in enumerate(weighted)}
    parts = [{"key": key, "weight": weight} for key, (weight, _) in zip(made, weighted, strict=True)]
    return SimpleNamespace(result={"parts": parts}, made_from=made.__getitem__)
