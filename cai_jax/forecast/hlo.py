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
from dataclasses import dataclass, field, replace

import numpy as np

from cai_jax.models import attention_blocks

COLLECTIVES = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")

_BYTES = {"pred": 1, "s4": 0.5, "u4": 0.5, "s8": 1, "u8": 1, "s16": 2, "u16": 2, "f16": 2, "bf16": 2, "s32": 4}
_BYTES |= {"u32": 4, "f32": 4, "s64": 8, "u64": 8, "f64": 8, "c64": 8, "c128": 16}

# What moves nothing by itself.
_FREE = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all", "partition-id", "replica-id"}
_FREE |= {"while", "conditional", "call", "async-start", "async-update", "opt-barrier", "domain"}

# What reads a part of its first operand; and what hands it on, as it is or changed in place.
_SLICING = ("dynamic-slice", "gather", "slice")
_CHANGING = ("dynamic-update-slice", "scatter")

_ARRAY = re.compile(r"(\w+)\[([\d,<=]*)\](?:\{([^}]*)\})?")
_HEADER = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\) -> .* \{$")
_CALLED = re.compile(r"(?:calls|to_apply|body|condition|true_computation|false_computation)=%?([\w.\-]+)")


@dataclass(frozen=True)
class HloWork:
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

    def plus(self, other: HloWork, times: int = 1) -> HloWork:
        counts, moved = Counter(self.counts), Counter(self.moved)
        for name in other.counts:
            counts[name] += other.counts[name] * times
            moved[name] += other.moved[name] * times
        return HloWork(self.flops + other.flops * times, self.bytes + other.bytes * times, counts, moved)


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
    def bytes(self) -> float:
        return sum(array.bytes for array in self.arrays)

    @property
    def traffic(self) -> float:
        return sum(array.traffic for array in self.arrays)

    @property
    def number(self) -> int:
        """Of a parameter."""
        return int(self.rest[1 : self.rest.index(")")])

    @property
    def change(self) -> str:
        """What is written where an array is changed in place."""
        return self.operands[-1 if self.op == "scatter" else 1]

    @property
    def made(self) -> tuple[_Array, ...]:
        """Its arrays; what starts a collective lists its inputs before its outputs, but for all-reduce."""
        begun = self.op.removesuffix("-start") in COLLECTIVES and self.op.endswith("-start")
        return self.arrays[len(self.operands) :] if begun and self.op != "all-reduce-start" else self.arrays


_Computation = Mapping[str, _Instruction]


def work(text: str, trips: int = 1) -> HloWork:
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


def _plain(each: _Instruction, computations: Mapping[str, _Computation]) -> _Instruction:
    """A fusion that a TPU's compiler has made of a collective, as that collective; anything else as it is.

    It makes one of summing and scattering, and repeats what goes on beside other work in every fusion that it goes on
    beside, from one that starts it to one that ends it.
    """
    if each.op == "fusion":
        (name,) = each.called()
        inside = computations[name]
        if name.startswith("all-reduce-scatter"):
            return replace(each, op="reduce-scatter", rest=_collective(inside).rest)
        if '"AsyncCollectiveStart"' in _root(inside).rest:  # (what it is given, what it makes, …)
            found = _collective(inside)
            return replace(each, op=found.op, arrays=each.arrays[1:2], rest=found.rest)
        if '"AsyncCollectiveDone"' in _root(inside).rest:
            return replace(each, op="async-done")
    elif each.op in COLLECTIVES and "chain_id=" in each.rest:
        return replace(each, op="bitcast")
    return each


def _collective(inside: _Computation) -> _Instruction:
    """The first in a fusion made of one."""
    return next(one for one in inside.values() if one.op in COLLECTIVES)


def _searched(pattern: str, text: str) -> re.Match[str]:
    """A match that the compiler's text always has; raises ValueError if it does not."""
    found = re.search(pattern, text)
    if found is None:
        raise ValueError(f"no {pattern} in {text!r}")
    return found


class _Program:
    def __init__(self, text: str, trips: int) -> None:
        parsed, self.entry = _parsed(text)
        self.computations = {
            name: {one: _plain(each, parsed) for one, each in inside.items()} for name, inside in parsed.items()
        }
        self.trips = trips
        partitions = re.search(r"num_partitions=(\d+)", text)
        self.devices = int(partitions.group(1)) if partitions else 1
        self.of = functools.cache(self._of)
        self.opened = functools.cache(self._opened)

    def total(self) -> HloWork:
        return self.of(self.entry, False)

    def _of(self, name: str, fused: bool) -> HloWork:
        """The work of a computation; within a fusion nothing goes to memory."""
        inside, total = self.computations[name], HloWork()
        for each in inside.values():
            total = total.plus(self._inner(each, fused))
            total = total.plus(HloWork(flops=self._flops(each, inside)))
            kind = each.op.removesuffix("-start")
            if kind in COLLECTIVES:
                moved = _moved(each, inside, self.devices)
                total = total.plus(HloWork(counts=Counter({kind: 1}), moved=Counter({kind: moved})))
            if not fused:
                total = total.plus(HloWork(bytes=self._bytes(each, inside)))
        return total

    def _inner(self, each: _Instruction, fused: bool) -> HloWork:
        """The work of what an instruction runs."""
        called = each.called()
        if each.op == "while":
            body = _searched(r"body=%?([\w.\-]+)", each.rest).group(1)
            return HloWork().plus(self.of(body, fused), self._trips(each))
        if each.op == "conditional":  # the dearest branch
            return max((self.of(one, fused) for one in called), key=lambda found: (found.flops, found.bytes))
        if each.op in ("fusion", "call", "async-start"):
            return functools.reduce(
                HloWork.plus, (self.of(one, fused or each.op == "fusion") for one in called), HloWork()
            )
        return HloWork()

    def _trips(self, loop: _Instruction) -> int:
        """How often a loop runs: as noted, else until it has counted from 0 to what its condition compares with."""
        known = re.search(r'known_trip_count":\{"n":"(\d+)"', loop.rest)
        if known:
            return int(known.group(1))
        condition, body = (_searched(rf"{one}=%?([\w.\-]+)", loop.rest).group(1) for one in ("condition", "body"))
        end = max(self._integers(condition), default=0)
        return -(-end // self._stride(condition, body)) if end else self.trips

    def _stride(self, condition: str, body: str) -> int:
        """By how much a loop counts at a time.

        JAX counts by one; where a TPU's compiler gathers an operand part by part beside its product, it does two parts
        at a time.
        """
        given = self.computations[condition].values()
        counter = next((each for each in given if each.op == "get-tuple-element" and not each.arrays[0].dims), None)
        result = _root(self.computations[body])
        if counter is None or result.op != "tuple":
            return 1
        place = int(_searched(r"index=(\d+)", counter.rest).group(1))
        return max(self._added(self.computations[body], result.operands[place]), 1)

    def _added(self, inside: _Computation, name: str) -> int:
        """What is added to a counter on its way to this value."""
        each = inside[name]
        if each.op == "constant":
            return int(_searched(r"^\((\d+)\)", each.rest).group(1))
        return sum(self._added(inside, one) for one in each.operands) if each.op in ("add", "copy", "bitcast") else 0

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
            reads = zip((inside[one].traffic for one in each.operands), self._read(name), strict=True)
            writes = zip((array.traffic for array in each.arrays), self._written(name), strict=True)
            return sum(map(min, reads)) + sum(map(min, writes))
        if each.op in _FREE or each.op.endswith("-done"):
            return 0.0
        source = inside[each.operands[0]].traffic if each.operands else 0.0
        if each.op == "copy-start":  # (destination, source, a flag)
            return 0.0 if _for_next_call(each, inside) else source + each.arrays[0].traffic
        if each.op == "slice-start":  # (source, destination, …)
            return each.arrays[1].bytes + each.arrays[1].traffic
        if each.op in _SLICING:
            return each.traffic + (each.bytes if source else 0.0)
        if each.op in _CHANGING:
            return 2 * inside[each.change].traffic
        return sum(inside[one].traffic for one in each.operands) + sum(array.traffic for array in each.made)

    def _opened(self, name: str) -> _Computation:
        """A fused computation with the fusions within it opened: their parameters and results are handed on."""
        found: dict[str, _Instruction] = {}
        for each in self.computations[name].values():
            if each.op == "fusion":
                (called,) = each.called()
                inside = self.opened(called)
                for one in inside.values():
                    if one.op == "parameter":
                        one = replace(one, op="bitcast", operands=(each.operands[one.number],))
                    found[one.name] = replace(one, root=False)
                each = replace(each, op="bitcast", operands=(_root(inside).name,))
            found[each.name] = each
        return found

    def _read(self, name: str) -> list[float]:
        """Bytes that a fused computation reads of each of its parameters."""
        inside = self.opened(name)
        parameters = (each for each in inside.values() if each.op == "parameter")
        return [_used(inside, each) for each in sorted(parameters, key=lambda each: each.number)]

    def _written(self, name: str) -> list[float]:
        """Bytes that a fused computation writes of each of its results."""
        inside = self.opened(name)
        root = _root(inside)
        if root.op != "tuple":
            return _changed(inside, _origin(inside, root))
        parts = (_origin(inside, inside[one]) for one in root.operands)
        return [size for part in parts for size in ([0.0] if part.op == "parameter" else _changed(inside, part))]


def _for_next_call(begun: _Instruction, inside: _Computation) -> bool:
    """Whether nobody reads a copy: a TPU begins with the one that the call before has ended with."""
    (done,) = (each.name for each in inside.values() if begun.name in each.operands)
    return not any(done in each.operands for each in inside.values())


def _root(inside: _Computation) -> _Instruction:
    return next(each for each in inside.values() if each.root)


def _used(inside: _Computation, value: _Instruction, fresh: bool = True) -> float:
    """Bytes of a value that a fused computation reads; `fresh` until it is changed in place.

    As its only result it is copied; as one of several it is handed on as it is.
    """
    total = value.bytes if fresh and value.root else 0.0
    for each in inside.values():
        if value.name not in each.operands:
            continue
        first = each.operands[0] == value.name
        if first and each.op in _SLICING:
            total += each.bytes
        elif first and each.op in ("bitcast", *_CHANGING):
            total += _used(inside, each, fresh and each.op == "bitcast")
        elif each.op != "tuple":
            return value.bytes
    return total


def _origin(inside: _Computation, value: _Instruction) -> _Instruction:
    """What a value is made by, in whatever shape it is handed on."""
    while value.op == "bitcast":
        value = inside[value.operands[0]]
    return value


def _changed(inside: _Computation, result: _Instruction) -> list[float]:
    """Bytes of a result's arrays that a fused computation writes: of one changed in place, the change alone."""
    return [array.bytes for array in (inside[result.change] if result.op in _CHANGING else result).arrays]


def _moved(each: _Instruction, inside: _Computation, devices: int) -> float:
    """Bytes that each chip sends where the chips of a group stand in a ring."""
    kind = each.op.removesuffix("-start")
    given = sum(inside[one].bytes for one in each.operands)
    made = sum(array.bytes for array in each.made)
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
    image, kernel, made = _searched(r"dim_labels=(\w+)_(\w+)->(\w+)", each.rest).groups()
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

    What a window skips is counted, so that this is an upper bound.
    """
    products = next((n for name, n in (("dkv", 4), ("dq", 3), ("fwd", 2)) if f"splash_mha_{name}" in each.rest), 0)
    if not products:
        return 0.0
    # [B, N, T, H], before keys and values; masks and segments are integers.
    queries = next(array.dims for array in given if array.dtype in ("bf16", "f32"))
    length, width = queries[-2:]
    return products * 2.0 * math.prod(queries[:-2]) * width * attention_blocks.pairs(length, on_kernel=True)
