"""What a compiled step does on each chip, read from its text: products, memory traffic, collectives.

XLA's own analysis counts the body of a loop once and knows nothing of kernels. Here a body counts as often as it runs,
and a Splash kernel by formula. Products alone are counted as operations, 2·m·n·k each: on a matrix unit nothing else
takes noticeable time. Bytes are those that go to or from the chip's main memory: what XLA keeps in on-chip memory, and
what happens within a fusion, is free.
"""

from __future__ import annotations

import functools
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

COLLECTIVES = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")

_BYTES = {"pred": 1, "s4": 0.5, "u4": 0.5, "s8": 1, "u8": 1, "s16": 2, "u16": 2, "f16": 2, "bf16": 2, "s32": 4}
_BYTES |= {"u32": 4, "f32": 4, "s64": 8, "u64": 8, "f64": 8, "c64": 8, "c128": 16}

# What moves nothing by itself.
_FREE = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all", "partition-id", "replica-id"}
_FREE |= {"iota", "broadcast", "while", "conditional", "call", "fusion", "async-start", "async-update"}
_FREE |= {"opt-barrier", "domain"}

_ARRAY = re.compile(r"(\w+)\[([\d,<=]*)\](?:\{([^}]*)\})?")
_HEADER = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\) -> .* \{$")
_CALLED = re.compile(r"(?:calls|to_apply|body|condition|true_computation|false_computation)=%?([\w.\-]+)")


@dataclass(frozen=True)
class Work:
    """What one chip does in a step.

    Attributes:
      flops: of products.
      bytes: to and from main memory.
      counts, moved: by kind of collective, how many there are, and the bytes that a chip sends in a ring.
    """

    flops: float = 0.0
    bytes: float = 0.0
    counts: Counter[str] = field(default_factory=Counter)
    moved: Counter[str] = field(default_factory=Counter)

    def plus(self, other: Work, times: float = 1) -> Work:
        counts, moved = Counter(self.counts), Counter(self.moved)
        for name in other.counts:
            counts[name] += other.counts[name] * times
            moved[name] += other.moved[name] * times
        return Work(self.flops + other.flops * times, self.bytes + other.bytes * times, counts, moved)


@dataclass(frozen=True)
class _Array:
    dtype: str
    dims: tuple[int, ...]
    layout: str

    @property
    def bytes(self) -> float:
        return math.prod(self.dims) * _BYTES.get(self.dtype, 0)

    @property
    def traffic(self) -> float:
        """Its bytes if it lies in main memory, which is memory space 0."""
        return 0.0 if re.search(r"S\([1-9]", self.layout) else self.bytes


@dataclass(frozen=True)
class _Instruction:
    name: str
    arrays: tuple[_Array, ...]
    op: str
    operands: tuple[str, ...]
    rest: str  # operands and attributes as they stand there
    root: bool

    def called(self) -> list[str]:
        """Computations that it runs."""
        branches = re.search(r"branch_computations=\{([^}]*)\}", self.rest)
        named = re.findall(r"%?([\w.\-]+)", branches.group(1)) if branches else []
        return named + _CALLED.findall(self.rest)

    def numbers(self, attribute: str) -> list[int]:
        found = re.search(rf"\b{attribute}=\{{([\d,]*)\}}", self.rest)
        return [int(each) for each in found.group(1).split(",") if each] if found else []

    @property
    def traffic(self) -> float:
        return sum(array.traffic for array in self.arrays)


_Computation = Mapping[str, _Instruction]


def work(text: str, trips: int = 1) -> Work:
    """The work of a compiled program, given as `Compiled.as_text()`.

    Args:
      trips: how often loops run whose count is not in the text, since the data decides.
    """
    return _Program(text, trips).total()


def _parsed(text: str) -> tuple[dict[str, dict[str, _Instruction]], str]:
    """All computations by name, and the name of the entry."""
    computations: dict[str, dict[str, _Instruction]] = {}
    entry, current = "", None
    for line in re.sub(r'\n(?="|}})', "", text).splitlines():  # attributes of a kernel go over several lines
        header = _HEADER.match(line)
        if header:
            current = computations.setdefault(header.group(2), {})
            entry = header.group(2) if header.group(1) else entry
        elif line == "}":
            current = None
        elif current is not None and " = " in line:
            made = _instruction(line)
            current[made.name] = made
    return computations, entry


def _instruction(line: str) -> _Instruction:
    name, _, said = re.sub(r"/\*.*?\*/", "", line).strip().partition(" = ")
    root = name.startswith("ROOT ")
    end = _closing(said) if said.startswith("(") else said.index(" ")
    kind, said = said[:end], said[end:].lstrip()
    op, _, _ = said.partition("(")
    rest = said[len(op) :]
    inside = rest[: _closing(rest)]
    arrays = tuple(
        _Array(dtype, tuple(int(each.lstrip("<=")) for each in dims.split(",") if each), layout or "")
        for dtype, dims, layout in _ARRAY.findall(kind)
    )
    operands = tuple(re.findall(r"%([\w.\-]+)", inside))
    return _Instruction(name.removeprefix("ROOT ").lstrip("%"), arrays, op, operands, rest, root)


def _closing(text: str) -> int:
    """The place behind the bracket that closes the first one."""
    depth = 0
    for place, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if not depth:
            return place + 1
    raise ValueError(f"unbalanced: {text[:80]}")


class _Program:
    def __init__(self, text: str, trips: int) -> None:
        self.computations, self.entry = _parsed(text)
        self.trips = trips
        partitions = re.search(r"num_partitions=(\d+)", text)
        self.devices = int(partitions.group(1)) if partitions else 1
        self.of = functools.cache(self._of)

    def total(self) -> Work:
        return self.of(self.entry, False)

    def _of(self, name: str, fused: bool) -> Work:
        """The work of a computation; within a fusion nothing goes to memory."""
        inside, total = self.computations[name], Work()
        for each in inside.values():
            total = total.plus(self._inner(each, fused))
            total = total.plus(Work(flops=self._flops(each, inside)))
            kind = each.op.removesuffix("-start")
            if kind in COLLECTIVES:
                moved = _moved(each, inside, self.devices)
                total = total.plus(Work(counts=Counter({kind: 1}), moved=Counter({kind: moved})))
            if not fused:
                total = total.plus(Work(bytes=self._bytes(each, inside)))
        return total

    def _inner(self, each: _Instruction, fused: bool) -> Work:
        """The work of what an instruction runs."""
        called = each.called()
        if each.op == "while":
            body = re.search(r"body=%?([\w.\-]+)", each.rest).group(1)
            return Work().plus(self.of(body, fused), self._trips(each))
        if each.op == "conditional":  # the dearest branch
            return max((self.of(one, fused) for one in called), key=lambda found: (found.flops, found.bytes))
        if each.op in ("fusion", "call", "async-start"):
            return functools.reduce(Work.plus, (self.of(one, fused or each.op == "fusion") for one in called), Work())
        return Work()

    def _trips(self, loop: _Instruction) -> int:
        """How often a loop runs: as noted, else what its condition compares with; JAX counts from 0 by one."""
        known = re.search(r'known_trip_count":\{"n":"(\d+)"', loop.rest)
        if known:
            return int(known.group(1))
        condition = re.search(r"condition=%?([\w.\-]+)", loop.rest).group(1)
        return max(self._integers(condition), default=self.trips)

    def _integers(self, name: str) -> Iterator[int]:
        for each in self.computations[name].values():
            value = re.match(r"\((\d+)\)", each.rest) if each.op == "constant" else None
            if value and each.arrays[0].dtype in ("s32", "u32", "s64") and int(value.group(1)):
                yield int(value.group(1))
            for one in each.called():
                yield from self._integers(one)

    def _flops(self, each: _Instruction, inside: _Computation) -> float:
        if each.op == "dot":
            left = inside[each.operands[0]].arrays[0].dims
            deep = math.prod(left[axis] for axis in each.numbers("lhs_contracting_dims"))
            return 2.0 * math.prod(each.arrays[0].dims) * deep
        if each.op == "convolution":
            return _convolution(each, *(inside[name].arrays[0].dims for name in each.operands[:2]))
        if each.op == "custom-call" and "tpu_custom_call" in each.rest:
            return _splash(each, [inside[name].arrays[0] for name in each.operands])
        return 0.0

    # -- memory

    def _bytes(self, each: _Instruction, inside: _Computation) -> float:
        if each.op == "fusion":
            (name,) = each.called()
            reads = (min(self._read(name, place), inside[one].traffic) for place, one in enumerate(each.operands))
            return sum(reads) + min(each.traffic, self._written(name))
        if each.op in _FREE or each.op.endswith("-done"):
            return 0.0
        source = inside[each.operands[0]].traffic if each.operands else 0.0
        if each.op == "copy-start":  # (destination, source, a flag)
            return source + each.arrays[0].traffic
        if each.op == "slice-start":  # (source, destination, …)
            return each.arrays[1].bytes + each.arrays[1].traffic
        if each.op in ("dynamic-slice", "gather", "slice"):
            return each.traffic + (sum(array.bytes for array in each.arrays) if source else 0.0)
        if each.op in ("dynamic-update-slice", "scatter"):
            return 2 * inside[each.operands[-1 if each.op == "scatter" else 1]].traffic
        return sum(inside[one].traffic for one in each.operands) + each.traffic

    def _read(self, name: str, place: int) -> float:
        """Bytes that a fused computation reads of one of its parameters."""
        inside = self.computations[name]
        mine = next(
            (each for each in inside.values() if each.op == "parameter" and each.rest.startswith(f"({place})")), None
        )
        return 0.0 if mine is None else self._used(inside, mine)

    def _used(self, inside: _Computation, value: _Instruction) -> float:
        total = 0.0
        for each in inside.values():
            if value.name not in each.operands:
                continue
            first = each.operands[0] == value.name
            if each.op in ("dynamic-slice", "gather", "slice") and first:
                total += each.arrays[0].bytes
            elif each.op in ("dynamic-update-slice", "scatter") and first:
                continue  # written in place
            elif each.op == "bitcast":
                total += self._used(inside, each)
            elif each.op == "fusion":
                (called,) = each.called()
                total += sum(self._read(called, i) for i, one in enumerate(each.operands) if one == value.name)
            else:
                return sum(array.bytes for array in value.arrays)
        return total

    def _written(self, name: str) -> float:
        """Bytes that a fused computation writes: of an array changed in place, the change alone."""
        inside = self.computations[name]
        root = next(each for each in inside.values() if each.root)
        parts = [inside[one] for one in root.operands] if root.op == "tuple" else [root]
        total = 0.0
        for part in parts:
            while part.op == "bitcast":
                part = inside[part.operands[0]]
            if part.op in ("dynamic-update-slice", "scatter"):
                part = inside[part.operands[-1 if part.op == "scatter" else 1]]
            total += sum(array.bytes for array in part.arrays)
        return total


def _moved(each: _Instruction, inside: _Computation, devices: int) -> float:
    """Bytes that each chip sends where the chips of a group stand in a ring."""
    kind = each.op.removesuffix("-start")
    given = sum(array.bytes for one in each.operands for array in inside[one].arrays)
    made = sum(array.bytes for array in each.arrays)
    if each.op.endswith("-start") and kind != "all-reduce":  # whose outputs are listed behind its inputs
        made -= given
    size = _group(each.rest, devices)
    share = (size - 1) / size
    return {
        "all-reduce": 2 * made * share,
        "all-gather": made * share,
        "reduce-scatter": given * share,
        "all-to-all": made * share,
        "collective-permute": made,
    }[kind]


def _group(attributes: str, devices: int) -> int:
    """How many chips take part in each instance of a collective."""
    listed = re.search(r"replica_groups=\{\{([\d,]*)\}", attributes)
    if listed:
        return len(listed.group(1).split(","))
    tiled = re.search(r"replica_groups=\[\d+,(\d+)\]<=", attributes)
    if tiled:
        return int(tiled.group(1))
    meshed = re.search(r"replica_groups=mesh\[([^\]]*)\] \{([^}]*)\}", attributes)
    if meshed:
        sizes = {name: int(size) for name, size in re.findall(r"'(\w+)'=(\d+)", meshed.group(1))}
        return math.prod(sizes[name] for name in re.findall(r"'(\w+)'", meshed.group(2)))
    return devices


def _convolution(each: _Instruction, left: tuple[int, ...], right: tuple[int, ...]) -> float:
    """On a TPU every product is a convolution; batched ones have window positions that meet nothing but zeros."""
    image, kernel, made = re.search(r"dim_labels=(\w+)_(\w+)->(\w+)", each.rest).groups()
    out = each.arrays[0].dims
    spatial = sorted(letter for letter in image if letter.isdigit())
    window = re.search(r"window=\{([^}]*)\}", each.rest)
    said = dict(part.split("=") for part in window.group(1).split()) if window else {}

    def of(name: str, default: str) -> list[str]:
        return said[name].split("x") if name in said else [default] * len(spatial)

    total = 2.0 * out[made.index("b")] * out[made.index("f")] * right[kernel.index("i")]
    ways = zip(
        spatial, of("size", "1"), of("stride", "1"), of("pad", "0_0"), of("lhs_dilate", "1"), of("rhs_dilate", "1"),
        strict=True,
    )  # fmt: skip
    for letter, size, stride, pad, left_gap, right_gap in ways:
        before = int(pad.split("_")[0])
        total *= _meetings(
            out[made.index(letter)], int(size), int(stride), before, left[image.index(letter)], int(left_gap),
            int(right_gap),
        )  # fmt: skip
    return total


@functools.cache
def _meetings(out: int, size: int, stride: int, before: int, image: int, left_gap: int, right_gap: int) -> int:
    """How often, in one dimension, an element of the window lies on an element of the image and not on padding."""
    places = np.arange(out)[:, None] * stride - before + np.arange(size)[None] * right_gap
    return int(np.sum((places >= 0) & (places <= (image - 1) * left_gap) & (places % left_gap == 0)))


def _splash(each: _Instruction, given: list[_Array]) -> float:
    """Products of a Splash kernel over causal rows: forward 2, keys' and values' gradients 4, queries' 3 (its source).

    Blocks wholly in the future are skipped; what a window skips beside is counted, so that this is an upper bound.
    """
    products = next((n for name, n in (("dkv", 4), ("dq", 3), ("fwd", 2)) if f"splash_mha_{name}" in each.rest), 0)
    if not products:
        return 0.0
    # [B, N, T, H], before keys and values; masks and segments are integers.
    queries = next(array.dims for array in given if array.dtype in ("bf16", "f32"))
    length, width = queries[-2:]
    return products * 2.0 * math.prod(queries[:-2]) * length * length * width * _causal(length)


def _causal(length: int) -> float:
    """The share of blocks that a causal mask leaves, with blocks as models/attention/splash.py chooses them."""
    block = next(size for size in (512, 256, 128) if length % size == 0)
    blocks = length // block
    return (blocks + 1) / (2 * blocks)
