"""An ONNX model in two halves: one up to the fused image and the scores, one from those to labels.

Whoever waits for the fused image need not wait until the scores of the classes are brought to full
size and compared. The bytes are cut as they lie, by the wire format of Protocol Buffers
(https://protobuf.dev/programming-guides/encoding/) and the field numbers of onnx.proto: robots have
ONNX Runtime, and not the package onnx.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

__all__ = ["Halves", "split"]

# Field numbers of onnx.proto3.
MODEL_GRAPH = 7
GRAPH_NODE, GRAPH_INITIALIZER, GRAPH_INPUT, GRAPH_OUTPUT, GRAPH_VALUE = 1, 5, 11, 12, 13
NODE_INPUT, NODE_OUTPUT, NODE_OP, NODE_ATTRIBUTE = 1, 2, 4, 5
ATTRIBUTE_GRAPH, ATTRIBUTE_GRAPHS = 6, 11
TENSOR_NAME, VALUE_NAME, VALUE_TYPE, TYPE_TENSOR, TENSOR_ELEMENT = 8, 1, 2, 1, 1
#: What ONNX Runtime calls a type -> TensorProto.DataType.
ELEMENTS = {"tensor(float)": 1, "tensor(uint8)": 2, "tensor(int8)": 3, "tensor(float16)": 10}
#: What these answer depends on the size of an image, and not on its pixels.
OF_SHAPES = ("Shape", "Size")
FUSED, LABELS = "fused", "labels"


@dataclass(frozen=True)
class Halves:
    """Two models that together answer what the one did.

    Attributes:
        scores: name of the tensor that the first answers beside `fused`, and the second takes.
        first: the model from the inputs to `fused` and `scores`.
        inputs_of_second: which of the model's own inputs the second takes, too (for their size).
    """

    scores: str
    first: bytes
    inputs_of_second: tuple[str, ...]
    _second: tuple[bytes, bytes, bytes]

    def second(self, kind: str) -> bytes | None:
        """The model from `scores` to `labels`.

        Args:
            kind: of the scores, as ONNX Runtime names it: "tensor(float)".

        Returns:
            None if `kind` is none of `ELEMENTS`: the model runs as a whole then.
        """
        if kind not in ELEMENTS:
            return None
        before, graph, after = self._second
        tensor = _field(TYPE_TENSOR, bytes([TENSOR_ELEMENT << 3, ELEMENTS[kind]]))
        value = _field(VALUE_NAME, self.scores.encode()) + _field(VALUE_TYPE, tensor)
        return before + _field(MODEL_GRAPH, graph + _field(GRAPH_INPUT, value)) + after


@dataclass(frozen=True)
class _Node:
    whole: bytes
    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def split(model: bytes) -> Halves | None:
    """Cut a model that answers `fused` and `labels` where nothing but scores goes on to the labels.

    Args:
        model: content of an ONNX file.

    Returns:
        None where there is no such place, or a node has graphs of its own.

    Raises:
        ValueError: this is no such file.
    """
    try:
        before, graph, after = _graph_of(model)
        fields = list(_fields(graph))
        nodes = [_node(content, whole) for number, content, whole in fields if number == GRAPH_NODE]
    except (IndexError, UnicodeDecodeError) as error:
        raise ValueError(f"no ONNX model: {error!r}") from error
    if any(node is None for node in nodes):
        return None
    producers = {name: node for node in nodes if node is not None for name in node.outputs}
    inputs = {_name(content, VALUE_NAME) for number, content, _ in fields if number == GRAPH_INPUT}
    scores = _place_of_cut(producers, inputs)
    if scores is None:
        return None
    first = _needed(producers, (FUSED, scores), set())
    second = _needed(producers, (LABELS,), {scores, *inputs})
    also = {name for node in second for name in node.inputs} & inputs
    half = _graph_with(fields, first, inputs, {FUSED})
    half += _field(GRAPH_OUTPUT, _field(VALUE_NAME, scores.encode()))
    other = _graph_with(fields, second, also, {LABELS})
    return Halves(
        scores,
        before + _field(MODEL_GRAPH, half) + after,
        tuple(sorted(also)),
        (before, other, after),
    )


def _place_of_cut(producers: dict[str, _Node], inputs: set[str]) -> str | None:
    """Back from the labels as long as one tensor alone brings what was made of pixels."""
    of_pixels = _made_of_pixels(producers, inputs)
    of_fused = {id(node) for node in _needed(producers, (FUSED,), set())}
    name = LABELS
    while name in producers:
        node = producers[name]
        sources = [source for source in dict.fromkeys(node.inputs) if source in of_pixels]
        if id(node) in of_fused or len(sources) != 1:
            return None if name == LABELS else name
        name = sources[0]
    return None


def _made_of_pixels(producers: dict[str, _Node], inputs: set[str]) -> set[str]:
    made = set(inputs)
    for node in producers.values():  # in the order of the file, which ONNX has sorted
        if node.operator not in OF_SHAPES and made.intersection(node.inputs):
            made.update(node.outputs)
    return made


def _needed(producers: dict[str, _Node], wanted: Iterable[str], given: set[str]) -> list[_Node]:
    """Nodes that these tensors need, in no order, where others are given."""
    found: dict[int, _Node] = {}
    left = list(wanted)
    while left:
        name = left.pop()
        node = producers.get(name)
        if node is not None and name not in given and id(node) not in found:
            found[id(node)] = node
            left += node.inputs
    return list(found.values())


def _graph_with(
    fields: list[tuple[int, bytes, bytes]],
    nodes: list[_Node],
    inputs: set[str],
    outputs: set[str],
) -> bytes:
    """The graph with these nodes, inputs and outputs alone, and the weights that they use."""
    kept = {node.whole for node in nodes}
    used = {name for node in nodes for name in node.inputs}
    parts = []
    for number, content, whole in fields:
        keeps = number != GRAPH_VALUE  # notes of shapes, which ONNX Runtime infers
        if number == GRAPH_NODE:
            keeps = whole in kept
        elif number == GRAPH_INITIALIZER:
            keeps = _name(content, TENSOR_NAME) in used
        elif number == GRAPH_INPUT:
            keeps = _name(content, VALUE_NAME) in inputs
        elif number == GRAPH_OUTPUT:
            keeps = _name(content, VALUE_NAME) in outputs
        if keeps:
            parts.append(whole)
    return b"".join(parts)


# -- the wire format -------------------------------------------------------------------------------


def _graph_of(model: bytes) -> tuple[bytes, bytes, bytes]:
    """What stands before the graph, the graph, and what stands behind it."""
    before, graph, after = b"", b"", b""
    for number, content, whole in _fields(model):
        if number == MODEL_GRAPH:
            graph = content
        elif graph:
            after += whole
        else:
            before += whole
    return before, graph, after


def _node(content: bytes, whole: bytes) -> _Node | None:
    """None: it has a graph within it, which may use any tensor of this one."""
    fields = list(_fields(content))
    for number, attribute, _ in fields:
        if number == NODE_ATTRIBUTE and any(
            inner in (ATTRIBUTE_GRAPH, ATTRIBUTE_GRAPHS) for inner, *_ in _fields(attribute)
        ):
            return None
    texts = {
        wanted: tuple(text.decode() for number, text, _ in fields if number == wanted)
        for wanted in (NODE_INPUT, NODE_OUTPUT, NODE_OP)
    }
    return _Node(whole, "".join(texts[NODE_OP]), texts[NODE_INPUT], texts[NODE_OUTPUT])


def _name(content: bytes, field: int) -> str:
    return b"".join(text for number, text, _ in _fields(content) if number == field).decode()


def _fields(message: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Number, content (of a number: nothing) and all bytes of each field."""
    place = 0
    while place < len(message):
        start = place
        key, place = _varint(message, place)
        number, kind = key >> 3, key & 7
        begin = place
        if kind == 0:
            _, place = _varint(message, place)
            begin = place
        elif kind in (1, 5):
            place += 8 if kind == 1 else 4
            begin = place
        elif kind == 2:
            length, begin = _varint(message, place)
            place = begin + length
        else:
            raise ValueError(f"no ONNX model: wire type {kind}")
        if place > len(message):
            raise ValueError("no ONNX model: it ends within a field")
        yield number, message[begin:place], message[start:place]


def _varint(message: bytes, place: int) -> tuple[int, int]:
    value, shift = 0, 0
    while True:
        byte = message[place]
        value |= (byte & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if byte < 0x80:
            return value, place


def _field(number: int, content: bytes) -> bytes:
    """A field of bytes, text or a message."""
    head, length = bytes([number << 3 | 2]), len(content)
    while length >= 0x80:
        head += bytes([length & 0x7F | 0x80])
        length >>= 7
    return head + bytes([length]) + content
