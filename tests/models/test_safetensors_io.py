"""Weights that are no sound safetensors file, or that lie elsewhere: refused, whatever the kind."""

import json
import os
import shutil

import ml_dtypes
import numpy as np
import pytest
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save_file

from cai_jax.models import checkpoint as checkpoints
from cai_jax.models import safetensors_io
from cai_jax.models.errors import ModelError

DATA = np.arange(64, dtype=np.uint8).tobytes()


def entry(first, last, shape=(4,), dtype="F32"):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [first, last]}


def write(path, header, data):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


# What is wrong -> header and data, and the tensor that the message names, "" where no single one is at fault.
MALFORMED = {
    "a negative offset": ({"good": entry(0, 16), "bad": entry(-16, 0)}, DATA[:16], "bad"),
    "offsets the wrong way round": ({"bad": entry(16, 0), "good": entry(16, 32)}, DATA[:32], "bad"),
    "no bytes for numbers": ({"bad": entry(0, 0), "good": entry(0, 16)}, DATA[:16], "bad"),
    "a first byte that belongs to none": ({"bad": entry(1, 17)}, DATA[:17], "bad"),
    "two tensors on the same bytes": ({"bad": entry(0, 16), "other": entry(0, 16)}, DATA[:16], "other|bad"),
    "two tensors that overlap": ({"good": entry(0, 16), "bad": entry(8, 24)}, DATA[:24], "bad"),
    "a hole": ({"good": entry(0, 16), "bad": entry(24, 40)}, DATA[:40], "bad"),
    "a dtype that lies": ({"bad": entry(0, 16, dtype="F16")}, DATA[:16], "bad"),
    "a shape that lies": ({"good": entry(0, 16), "bad": entry(16, 32, (5,))}, DATA[:32], "bad"),
    "a negative shape": ({"bad": entry(0, 16, (-4,))}, DATA[:16], "bad"),
    "a shape that overflows": ({"bad": entry(0, 16, (2**62, 8))}, DATA[:16], "bad"),
    "offsets that are no whole numbers": ({"bad": entry(0.0, 16.5)}, DATA[:16], "bad"),
    "an entry without its dtype": ({"bad": {"shape": [4], "data_offsets": [0, 16]}}, DATA[:16], "bad"),
    "an entry that is a list": ({"bad": [1]}, DATA[:16], "bad"),
    "bytes behind the last tensor": ({"good": entry(0, 16)}, DATA, ""),
    "too few bytes": ({"good": entry(0, 16)}, DATA[:12], ""),
    "metadata that are a list": ({"__metadata__": [], "good": entry(0, 16)}, DATA[:16], ""),
    "metadata that are numbers": ({"__metadata__": {"a": 1}, "good": entry(0, 16)}, DATA[:16], ""),
    "a header that is a list": ([1], DATA, ""),
    "a header that is no text": (b'{"\xff": 1}', DATA, ""),
    "a header without end": (b'{"a": ' + b"[" * 100_000, DATA, ""),
    "a dtype that nobody knows": ({"good": entry(0, 16, dtype="F99")}, DATA[:16], ""),
}  # fmt: skip


@pytest.mark.parametrize("kind", MALFORMED)
def test_what_the_library_refuses_is_refused_with_file_and_tensor(tmp_path, kind):
    file = tmp_path / "model.safetensors"
    found, data, name = MALFORMED[kind]
    write(file, found, data)
    with pytest.raises(SafetensorError), safe_open(file, framework="np"):
        pass
    with pytest.raises(ModelError, match=rf"model\.safetensors is cut off or damaged .*{name}.*; fetch it again"):
        safetensors_io.tensors(tmp_path)


@pytest.mark.parametrize("content", [b"", bytes(8), b"\xff" * 8, b"\xff" * 100, (2**40).to_bytes(8, "little") + b"{}"])
def test_a_length_that_is_none_is_refused(tmp_path, content):
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(ModelError, match="cut off or damaged"):
        safetensors_io.tensors(tmp_path)


def test_parts_are_read_as_the_library_reads_them(tmp_path):
    """Across pieces that are read at a time, of matrices and vectors, of every dtype."""
    rng = np.random.default_rng(0)
    for dtype in ("float64", "float32", "float16", ml_dtypes.bfloat16):
        table, row = rng.normal(size=(5000, 700)).astype(dtype), rng.normal(size=9).astype(dtype)
        save_file({"table": table, "row": row}, tmp_path / "model.safetensors")
        files = safetensors_io.tensors(tmp_path)
        assert files["table"].shape == (5000, 700) and files["row"].shape == (9,)
        runs = [slice(5, 4900), slice(4950, 4951)]
        chunks = list(files["table"].chunks(runs, slice(3, 600)))
        assert len(chunks) > 2 and chunks[0][1].dtype == dtype
        np.testing.assert_array_equal(
            np.concatenate([chunk for _, chunk in chunks]), np.concatenate([table[run, 3:600] for run in runs])
        )
        assert [done for done, _ in chunks] == np.cumsum([0, *(len(chunk) for _, chunk in chunks)])[:-1].tolist()
        ((_, found),) = files["row"].chunks([slice(2, 7)], slice(0, 1))
        np.testing.assert_array_equal(found[:, 0], row[2:7])


@pytest.fixture
def sharded(directory, tmp_path):
    """A model whose weights lie in two files beside their index."""
    path = tmp_path / "model"
    shutil.copytree(directory, path, ignore=shutil.ignore_patterns("*.safetensors"))
    tensors = load_file(directory / "model.safetensors")
    names = sorted(tensors)
    places = {name: f"w{number % 2}.safetensors" for number, name in enumerate(names)}
    for file in ("w0.safetensors", "w1.safetensors"):
        save_file({name: tensors[name] for name in names if places[name] == file}, path / file)
    (path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    return path


def index(path, change):
    file = path / "model.safetensors.index.json"
    file.write_text(json.dumps({"weight_map": change(json.loads(file.read_text())["weight_map"])}))


@pytest.mark.parametrize("name", ["../w0.safetensors", "inner/w0.safetensors", "/w0.safetensors", "..", "", "a\0b"])
def test_shards_elsewhere_are_refused(sharded, name):
    checkpoints.load(sharded)
    shutil.copy(sharded / "w0.safetensors", sharded.parent / "w0.safetensors")
    index(sharded, lambda places: {each: name if file == "w0.safetensors" else file for each, file in places.items()})
    with pytest.raises(ModelError, match="which is not in its folder"):
        checkpoints.load(sharded)


@pytest.mark.parametrize("places", [None, [], {}, {"a": 1}, "w0.safetensors", {"a": None}])
def test_an_index_of_another_form_is_refused(sharded, places):
    index(sharded, lambda _: places)
    with pytest.raises(ModelError, match="index.json has no weight_map"):
        checkpoints.load(sharded)


def test_a_tensor_in_two_files_is_refused(sharded):
    both = load_file(sharded / "w0.safetensors") | load_file(sharded / "w1.safetensors")
    save_file(both, sharded / "w1.safetensors")
    with pytest.raises(ModelError, match=r"w0\.safetensors and w1\.safetensors both hold"):
        checkpoints.load(sharded)


def test_a_pipe_for_a_file_is_refused_at_once(directory, sharded, tmp_path):
    path = tmp_path / "piped"
    shutil.copytree(directory, path)
    for each, name in ((path, "model.safetensors"), (sharded, "w1.safetensors")):
        (each / name).unlink()
        os.mkfifo(each / name)
        with pytest.raises(ModelError, match=f"{name} is no regular file"):
            checkpoints.load(each)
