import pytest

from tests.support import llama


@pytest.fixture(scope="session", params=["tied", "untied"])
def checkpoint(request, tmp_path_factory):
    """(directory, transformers model) of a small random Llama."""
    path = tmp_path_factory.mktemp(request.param)
    return path, llama.write(path, tie=request.param == "tied")


@pytest.fixture(scope="session")
def directory(tmp_path_factory):
    """Directory of a small random Llama that tests may not write to."""
    path = tmp_path_factory.mktemp("llama")
    llama.write(path)
    return path
