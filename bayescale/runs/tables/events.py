"""TensorBoard's event files: a row for each step, a column for each tag, the settings of the run in every row.

A file is a row of records: length [8 bytes], checksum of it [4], an event, checksum of that [4].
"""

import struct
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from bayescale.errors import RunsError, needed
from bayescale.runs.tables.records import frame_of

MARK = b"brain.Event:"  # in the first record of every such file
NAME_PART = ".tfevents."
LENGTH_BYTES, CHECK_BYTES = 8, 4
EVENT_BYTES_MAX = 1 << 16  # larger ones are images, histograms and graphs
STEP_NAMES = ("step", "global_step", "event_step")  # the first that is no tag
SETTING_KINDS = ("number_value", "string_value", "bool_value")


def is_events(content: bytes) -> bool:
    """Whether the first record says that this is an event file."""
    return MARK in content[:64]


def read_events(content: bytes, where: str) -> pd.DataFrame:
    """The scalars of an event file, a row for each step; of a step that was logged twice the later values.

    An unfinished last record, as a killed run leaves it, is passed over.

    Raises
    ------
    RunsError
        If it is damaged, too large, or has no scalars, or tensorboard is not installed.
    """
    with needed("tensorboard", f"{where}: reading event files", "tensorboard"):
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import CRC_TABLE
    found = list(_records(content, where))
    events, checks = [event for event, _ in found], [check for _, check in found]
    seen = _checksums(events, np.array(CRC_TABLE, dtype=np.uint32))
    if (bad := np.flatnonzero(seen != np.array(checks, dtype=np.uint32))).size:
        raise _damaged(where, int(bad[0]))
    steps: dict[int, dict[str, float]] = {}
    settings: dict[str, Any] = {}
    for position, record in enumerate(events):
        try:
            event = Event.FromString(record)
            for value in event.summary.value:
                settings |= _settings(value)
                if (number := _scalar(value)) is not None:
                    steps.setdefault(event.step, {})[value.tag] = number
        except Exception:  # protobuf and tensorboard each raise their own kinds
            raise _damaged(where, position) from None
    tags = {tag for row in steps.values() for tag in row}
    if not tags:
        raise RunsError(f"{where}: an event file without scalars; it has none of losses or sizes")
    step_name = next(name for name in STEP_NAMES if name not in tags)
    rows = ({step_name: step} | settings | steps[step] for step in sorted(steps))
    return frame_of(rows, where)


def _records(content: bytes, where: str) -> Iterator[tuple[bytes, int]]:
    """Each event that may hold scalars, and its checksum."""
    start, position = 0, 0
    while start + LENGTH_BYTES + CHECK_BYTES <= len(content):
        (length,) = struct.unpack_from("<Q", content, start)
        start += LENGTH_BYTES + CHECK_BYTES
        end = start + length
        if end + CHECK_BYTES > len(content):
            if length > EVENT_BYTES_MAX:
                raise _damaged(where, position)
            return
        if length <= EVENT_BYTES_MAX:
            yield content[start:end], struct.unpack_from("<I", content, end)[0]
        start, position = end + CHECK_BYTES, position + 1


def _checksums(records: Sequence[bytes], table: np.ndarray) -> np.ndarray:
    """The masked CRC-32C of each record, all at once [record]."""
    lengths = np.array([len(record) for record in records])
    order = np.argsort(-lengths, kind="stable")
    joined = np.frombuffer(b"".join(records), dtype=np.uint8)
    starts = (np.cumsum(lengths) - lengths)[order]
    crc = np.full(len(records), 0xFFFFFFFF, dtype=np.uint32)
    for place in range(int(lengths.max(initial=0))):
        longer = int(np.searchsorted(-lengths[order], -place, side="left"))  # records that have this byte
        crc[:longer] = table[(crc[:longer] ^ joined[starts[:longer] + place]) & 0xFF] ^ (crc[:longer] >> 8)
    crc ^= np.uint32(0xFFFFFFFF)
    masked = np.empty_like(crc)
    masked[order] = ((crc >> 15) | (crc << 17)) + np.uint32(0xA282EAD8)
    return masked


def _scalar(value: Any) -> float | None:
    """The number of a value, with the digits that it was logged with (0.0003, not 0.00030000001), or None."""
    from tensorboard.util.tensor_util import make_ndarray

    if value.HasField("simple_value"):
        return float(str(np.float32(value.simple_value)))
    if not value.HasField("tensor") or value.tensor.tensor_shape.dim:
        return None
    number = make_ndarray(value.tensor)
    return float(str(number)) if number.dtype.kind == "f" and number.size == 1 else None


def _settings(value: Any) -> dict[str, Any]:
    """The hyperparameters that a value gives."""
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    about = value.metadata.plugin_data
    if about.plugin_name != "hparams":
        return {}
    settings = HParamsPluginData.FromString(about.content).session_start_info.hparams
    kinds = {name: settings[name].WhichOneof("kind") for name in sorted(settings)}
    return {name: getattr(settings[name], kind) for name, kind in kinds.items() if kind in SETTING_KINDS}


def _damaged(where: str, position: int) -> RunsError:
    return RunsError(f"{where}: a damaged event file: record {position} (from 0) is not as it was written")
