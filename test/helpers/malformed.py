"""Image messages of every kind of wrong that a driver, a bridge or a bad cable can make."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from sensor_msgs.msg import Image
from std_msgs.msg import Header

__all__ = ["KINDS", "corrupt_bytes", "malformed"]

WIDTH, HEIGHT = 160, 128
Random = np.random.Generator


def _bytes(random: Random, most: int) -> bytes:
    return random.bytes(int(random.integers(0, most)))


def _unknown_encoding(message: Image, random: Random) -> None:
    message.encoding = str(
        random.choice(["", "no_such_encoding", "32FC1", "jpeg", "RGB8", "x" * 3000, "\U0001f525"])
    )


def _short_data(message: Image, random: Random) -> None:
    message.data = _bytes(random, 2000)


def _no_data(message: Image, random: Random) -> None:
    message.data = b""


def _step_below_a_row(message: Image, random: Random) -> None:
    message.step = int(random.integers(0, message.width))


def _empty(message: Image, random: Random) -> None:
    message.width, message.height = (0, HEIGHT) if random.random() < 0.5 else (WIDTH, 0)


def _huge(message: Image, random: Random) -> None:
    message.width, message.height = 2**32 - 1, int(random.choice([1, HEIGHT, 2**32 - 1]))
    message.step = 2**32 - 1


def _step_beyond_the_data(message: Image, random: Random) -> None:
    message.step = int(random.integers(10**6, 2**32))


def _anything(message: Image, random: Random) -> None:
    message.width, message.height, message.step = (int(n) for n in random.integers(2**16, 2**32, 3))
    message.data = _bytes(random, 300)
    message.is_bigendian = int(random.integers(0, 256))


KINDS: tuple[Callable[[Image, Random], None], ...] = (
    _unknown_encoding, _short_data, _no_data, _step_below_a_row, _empty, _huge,
    _step_beyond_the_data, _anything,
)  # fmt: skip


def malformed(camera: str, header: Callable[[], Header], seed: int) -> Iterator[Image]:
    """Messages that are no images, without end, the same for the same seed.

    Args:
        camera: "visible" (rgb8) or "thermal" (mono16).
        header: gives the header of the next message.
        seed: of the choice.
    """
    random = np.random.default_rng(seed)
    encoding, pixel = ("rgb8", 3) if camera == "visible" else ("mono16", 2)
    while True:
        message = Image(header=header(), width=WIDTH, height=HEIGHT, encoding=encoding)
        message.step = WIDTH * pixel
        message.data = bytes(2000)  # too short already: what is wrong besides is the kind
        KINDS[random.integers(len(KINDS))](message, random)
        yield message


def corrupt_bytes(good: bytes, seed: int) -> Iterator[bytes]:
    """Serialized messages that were damaged on the way: cut, flipped or replaced."""
    random = np.random.default_rng(seed)
    while True:
        data = bytearray(good)
        kind = random.integers(3)
        if kind == 0:
            data = data[: random.integers(0, 60)]
        elif kind == 1:  # lengths of the strings and of the pixels become huge
            data[12:60] = random.bytes(48)
        else:
            data = bytearray(random.bytes(int(random.integers(1, 2000))))
        yield bytes(data)
