"""Hostile event files of TensorBoard: whole ones, records of nonsense with right checksums, and flipped bits."""

import random
import struct

from benchmarks.hostile.inputs import flipped
from benchmarks.hostile.runs import HEADS

POLYNOMIAL = 0x82F63B78  # of CRC-32C
VERSION = b"\x1a\x0dbrain.Event:2"  # field 3 of an event


def _checksum(raw: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in raw:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ POLYNOMIAL * (crc & 1)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _record(raw: bytes) -> bytes:
    length = struct.pack("<Q", len(raw))
    return length + struct.pack("<I", _checksum(length)) + raw + struct.pack("<I", _checksum(raw))


def _varint(number: int) -> bytes:
    out = b""
    while number > 127:
        out, number = out + bytes([number & 127 | 128]), number >> 7
    return out + bytes([number])


def _field(number: int, raw: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(raw)) + raw


def _value(rng: random.Random, tag: str, odd: float) -> bytes:
    name = _field(1, tag.encode("utf-8", "replace"))
    if rng.random() >= odd:
        return name + b"\x15" + struct.pack("<f", 10 ** rng.uniform(0, 10))
    kind = rng.random()
    if kind < 0.4:
        return name + b"\x15" + struct.pack("<f", rng.choice((0.0, -1.0, float("nan"), float("inf"))))
    if kind < 0.7:  # a tensor: type, shape, content
        shape = rng.choice((b"", _field(2, b""), _field(2, _field(2, b"\x08\x03"))))
        return name + _field(
            8, b"\x08" + bytes([rng.choice((1, 2, 3, 7, 19, 99))]) + shape + _field(4, rng.randbytes(4))
        )
    setting = _field(1, b"lr") + _field(2, b"\x11" + struct.pack("<d", 1e-3))
    about = _field(1, b"hparams") + _field(2, rng.choice((_field(2, _field(1, setting)), rng.randbytes(9))))
    return name + _field(9, _field(1, about))


def make_events(rng: random.Random) -> bytes:
    tags = ["loss", "tokens", "params", *rng.sample(["step", "a\x00b", *HEADS], rng.choice((0, 0, 1)))]
    odd = rng.choice((0.0, 0.0, 0.02, 0.3))
    records = [VERSION]
    for step in range(rng.choice((0, 1, 3, 9))):
        values = b"".join(_field(1, _value(rng, tag, odd)) for tag in tags)
        records.append(b"\x10" + _varint(rng.choice((step, 1 << 62))) + _field(5, values))
    if rng.random() < 0.4:
        records[-1] = flipped(rng, records[-1])
    raw = b"".join(map(_record, records))
    return raw if rng.random() < 0.6 else flipped(rng, raw)
