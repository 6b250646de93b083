"""Graph scan: what an ONNX file would compute, read before ONNX Runtime opens it.

A graph is data of its author. This refuses what could run for ever or take any memory at once; it reads the protobuf
tags alone and copies no weights.
"""

import math
import mmap
from collections import Counter
from collections.abc import Collection
from pathlib import Path

from crossrank.errors import InvalidRanker
from crossrank.inference.ranker.manifest import Graph
from crossrank.inference.ranker.wire import Wire, place

# Fields of a file that are looked at: a hundred times those of the largest encoders.
_MOST_FIELDS = 2_000_000
# Elements that one constant shape may ask for: 256 MiB in fp32.
_MOST_ELEMENTS = 2**26
# Entries of a constant that may be a shape.
_SHAPE_ENTRIES = 64

_DOMAINS = frozenset({"", "ai.onnx", "com.microsoft"})
_LOOPS = frozenset({"Loop", "Scan", "SequenceMap"})
# Graphs within graphs: DeBERTa's has some in `If`.
_DEEPEST = 8
_RANDOM = frozenset({"Bernoulli", "Multinomial", "RandomNormal", "RandomUniform"})
# Operators whose output is as large as the values of their inputs say.
_GROWING = frozenset({"ConstantOfShape", "Expand", "Tile", "OneHot", "Range", "Pad", "Resize", "Upsample"})

# Field numbers of onnx.proto.
_MODEL_GRAPH, _MODEL_FUNCTIONS = 7, 25
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_SPARSE = 1, 5, 15
_NODE_INPUT, _NODE_OUTPUT, _NODE_OPERATOR, _NODE_ATTRIBUTE, _NODE_DOMAIN = 1, 2, 4, 5, 7
_ATTRIBUTE_INT, _ATTRIBUTE_TENSOR, _ATTRIBUTE_GRAPH, _ATTRIBUTE_INTS = 3, 5, 6, 8
_ATTRIBUTE_GRAPHS, _ATTRIBUTE_SPARSE = 11, 22
_TENSOR_DIMS, _TENSOR_TYPE, _TENSOR_INT64, _TENSOR_NAME, _TENSOR_RAW, _TENSOR_EXTERNAL = 1, 2, 7, 8, 9, 13
_INT64 = 7


def scan_graph(directory: Path, graph: Graph, files: Collection[str]) -> None:
    """Refuses a graph that its manifest does not describe, or that may cost without a bound.

    Args:
        directory: the ranker's.
        graph: what the manifest says.
        files: names below the directory that the manifest gives a sha256 for; external data must be among them.

    Raises:
        InvalidRanker: the file is not ONNX; it has loops, functions, random numbers, sparse constants, operators
            of a domain that ONNX Runtime does not bring, or other operators than the manifest says; a constant larger
            than its file; a shape of too many elements; or external data that the manifest does not name.
    """
    path = directory / graph.file
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            scan = _Scan(data, path.parent, frozenset((directory / name) for name in files))
            scan.model(slice(0, len(data)))
        if scan.operators != graph.operators:
            raise _Refused("does not have the operators that the manifest says")
    except _Refused as refused:
        raise InvalidRanker(f"{graph.file} {refused}; export the ranker again") from None
    except OverflowError:
        raise InvalidRanker(f"{graph.file} has more parts than any encoder; export the ranker again") from None
    except (OSError, ValueError, IndexError):
        raise InvalidRanker(f"{graph.file} is not an ONNX graph; export the ranker again") from None


class _Refused(Exception):
    """Why a graph is refused; the message follows the file's name."""


class _Scan:
    """Walks over the fields of a file.

    Args:
        data: the file.
        directory: where it lies.
        known: paths of the files that external data may be in.

    Attributes:
        operators: how many nodes of each operator there are, inner graphs not counted, as in the
            manifest.
    """

    def __init__(self, data: mmap.mmap, directory: Path, known: Collection[Path]) -> None:
        self._data = data
        self._wire = Wire(data, _MOST_FIELDS)
        self._directory = directory
        self._known = known
        # Bytes of the largest file that constants are in.
        self._largest = len(data)
        self._constants: dict[bytes, list[int]] = {}
        # Of the operators whose output is as large as their inputs say.
        self._sizes: list[tuple[str, list[bytes]]] = []
        self.operators: Counter[str] = Counter()

    def model(self, where: slice) -> None:
        for number, value in self._wire.fields(where):
            if number == _MODEL_FUNCTIONS:
                raise _Refused("has functions of its own")
            if number == _MODEL_GRAPH:
                self._graph(place(value), depth=0)
        for operator, inputs in self._sizes:
            for name in inputs:
                entries = [max(1, abs(entry)) for entry in self._constants.get(name, ())]
                if math.prod(entries) > _MOST_ELEMENTS:
                    raise _Refused(f"asks {operator} for more than {_MOST_ELEMENTS} elements")

    def _graph(self, where: slice, depth: int) -> None:
        if depth > _DEEPEST:
            raise _Refused("has graphs within graphs")
        for number, value in self._wire.fields(where):
            if number == _GRAPH_SPARSE:
                raise _Refused("has sparse constants")
            if number == _GRAPH_NODE:
                self._node(place(value), depth)
            elif number == _GRAPH_INITIALIZER:
                name, entries = self._tensor(place(value))
                self._constants[name] = entries

    def _node(self, where: slice, depth: int) -> None:
        operator, domain = b"", b""
        inputs: list[bytes] = []
        outputs: list[bytes] = []
        entries: list[int] = []
        for number, value in self._wire.fields(where):
            if number == _NODE_INPUT:
                inputs.append(self._wire.bytes(value))
            elif number == _NODE_OUTPUT:
                outputs.append(self._wire.bytes(value))
            elif number == _NODE_OPERATOR:
                operator = self._wire.bytes(value)
            elif number == _NODE_DOMAIN:
                domain = self._wire.bytes(value)
            elif number == _NODE_ATTRIBUTE:
                entries += self._attribute(place(value), depth)
        name = operator.decode(errors="replace")
        if name in _LOOPS:
            raise _Refused(f"has a loop ({name})")
        if name in _RANDOM or name.removesuffix("Like") in _RANDOM:
            raise _Refused(f"has random numbers ({name})")
        if domain.decode(errors="replace") not in _DOMAINS:
            raise _Refused(f"has an operator of a domain that ONNX Runtime does not bring: {domain[:40]!r}")
        if name in _GROWING:
            self._sizes.append((name, inputs))
        if name == "Constant" and outputs:
            self._constants[outputs[0]] = entries
        if depth == 0:
            self.operators[name] += 1

    def _attribute(self, where: slice, depth: int) -> list[int]:
        entries: list[int] = []
        for number, value in self._wire.fields(where):
            if number in (_ATTRIBUTE_GRAPH, _ATTRIBUTE_GRAPHS):
                self._graph(place(value), depth + 1)
            if number == _ATTRIBUTE_SPARSE:
                raise _Refused("has sparse constants")
            if number == _ATTRIBUTE_TENSOR:
                entries += self._tensor(place(value))[1]
            elif number == _ATTRIBUTE_INT:
                entries += self._wire.numbers(value, 1)
            elif number == _ATTRIBUTE_INTS:
                entries += self._wire.numbers(value, _SHAPE_ENTRIES)
        return entries

    def _tensor(self, where: slice) -> tuple[bytes, list[int]]:
        """The name of a constant, and its values where it may be a shape."""
        dims: list[int] = []
        values: list[int] = []
        name, kind, raw = b"", 0, slice(0, 0)
        for number, value in self._wire.fields(where):
            if number == _TENSOR_DIMS:
                dims += self._wire.numbers(value, _SHAPE_ENTRIES)
            elif number == _TENSOR_TYPE:
                [kind] = self._wire.numbers(value, 1)
            elif number == _TENSOR_INT64:
                values += self._wire.numbers(value, _SHAPE_ENTRIES)
            elif number == _TENSOR_NAME:
                name = self._wire.bytes(value)
            elif number == _TENSOR_RAW:
                raw = place(value)
            elif number == _TENSOR_EXTERNAL:
                self._external(place(value))
        elements = math.prod(dims)
        # Two elements of the smallest type fit into a byte.
        if min(dims, default=0) < 0 or elements > 2 * self._largest:
            raise _Refused("has a constant that is larger than its file")
        if kind == _INT64 and elements <= _SHAPE_ENTRIES and raw.stop - raw.start == 8 * elements:
            values += memoryview(self._data[raw]).cast("q").tolist()
        return name, values[:_SHAPE_ENTRIES]

    def _external(self, where: slice) -> None:
        entry = {number: self._wire.bytes(value) for number, value in self._wire.fields(where) if number in (1, 2)}
        if entry.get(1) != b"location":
            return
        file = self._directory / entry.get(2, b"").decode()
        if file not in self._known:
            raise _Refused("reads a file that the manifest does not name")
        self._largest = max(self._largest, file.stat().st_size)
