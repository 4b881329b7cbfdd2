"""TensorBoard's event files; without tensorboard they are refused in one sentence."""

import io
import struct
import sys

import numpy as np
import pytest

from bayescale.errors import RunsError
from bayescale.runs.read import read_runs, read_text
from bayescale.runs.tables import events
from bayescale.runs.tables.formats import is_table_name, read_table

NAME = "events.out.tfevents.1700000000.host.1.0"


def event_file(steps, settings=None, more=()):
    """An event file as a trainer writes it: step -> {tag: value}."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
    from tensorboard.summary.writer.record_writer import RecordWriter

    out = io.BytesIO()
    writer = RecordWriter(out)
    writer.write(Event(wall_time=1.7e9, file_version="brain.Event:2").SerializeToString())
    if settings:
        data = HParamsPluginData()
        for name, value in settings.items():
            kind = {str: "string_value", bool: "bool_value"}.get(type(value), "number_value")
            setattr(data.session_start_info.hparams[name], kind, value)
        summary = Summary()
        about = summary.value.add(tag="_hparams_/session_start_info").metadata.plugin_data
        about.plugin_name, about.content = "hparams", data.SerializeToString()
        writer.write(Event(summary=summary).SerializeToString())
    for step, row in steps:
        values = [Summary.Value(tag=tag, simple_value=value) for tag, value in row.items()]
        writer.write(Event(step=step, summary=Summary(value=values)).SerializeToString())
    for one in more:
        writer.write(one)
    return out.getvalue()


def curve(n, scale=1.0):
    return [
        (step, {"train/loss": 4 - step / 1000, "eval/loss": scale * (4.1 - step / 1000), "tokens": 1e6 * step})
        if step % 200 == 0
        else (step, {"train/loss": 4 - step / 1000})
        for step in range(100, n + 1, 100)
    ]


@pytest.fixture
def file(tmp_path):
    def write(content, name=NAME):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    return write


def refused(path, message):
    with pytest.raises(RunsError, match=message) as error:
        read_runs(path)
    assert str(error.value).isprintable() and len(str(error.value)) < 300


def test_names_of_event_files_are_those_of_tables():
    assert is_table_name(NAME) and is_table_name(NAME + ".v2") and not is_table_name("checkpoint.pt")


def test_without_the_library(file, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard.compat.proto.event_pb2", None)
    refused(file(b"\x18" + bytes(20) + b"brain.Event:2" + bytes(30)), r"needs tensorboard: pip install 'bayescale\[ten")


class TestWithTheLibrary:
    @pytest.fixture(autouse=True)
    def library(self):
        pytest.importorskip("tensorboard")

    def test_a_row_for_each_step(self, file):
        settings = {"n_params": 1.3e9, "lr": 3e-4, "optimizer": "adamw", "mup": True}
        frame = read_table(file(event_file(curve(400), settings))).frame
        assert list(frame.columns) == ["step", *sorted(settings), "train/loss", "eval/loss", "tokens"]
        assert list(frame["step"]) == [100, 200, 300, 400] and list(frame["eval/loss"]) == ["", 3.9, "", 3.7]
        assert set(frame["optimizer"]) == {"adamw"} and set(frame["lr"]) == {3e-4}

    def test_the_content_says_what_it_is_not_the_name(self, file):
        runs = read_runs(file(event_file(curve(400), {"n_params": 1e8}), "runs.csv"), drop_missing=True)
        assert list(runs["loss"].values) == [3.9, 3.7] and list(runs["tokens"].values) == [2e8, 4e8]

    def test_numbers_have_the_digits_that_were_logged(self, file):
        frame = read_table(file(event_file([(1, {"lr": 3e-4, "loss": 2.7183})]))).frame
        assert frame["lr"][0] == 3e-4 and frame["loss"][0] == 2.7183

    def test_scalars_of_tensorflow_2_are_tensors(self, file):
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.util.tensor_util import make_tensor_proto

        values = {"loss": np.float32(2.5), "tokens": np.float64(1e9), "text": "a text", "many": np.ones(3, np.float32)}
        summary = Summary(value=[Summary.Value(tag=tag, tensor=make_tensor_proto(x)) for tag, x in values.items()])
        frame = read_table(file(event_file([], more=[Event(step=7, summary=summary).SerializeToString()]))).frame
        assert frame.to_dict("records") == [{"step": 7, "loss": 2.5, "tokens": 1e9}]

    def test_a_step_that_was_logged_again(self, file):
        frame = read_table(file(event_file([(2, {"loss": 3.0}), (1, {"loss": 4.0}), (2, {"loss": 2.9})]))).frame
        assert frame.to_dict("records") == [{"step": 1, "loss": 4.0}, {"step": 2, "loss": 2.9}]

    def test_a_tag_called_step(self, file):
        frame = read_table(file(event_file([(5, {"step": 50.0, "loss": 3.0})]))).frame
        assert list(frame.columns) == ["global_step", "step", "loss"]

    def test_a_folder_of_runs_has_their_names(self, file, tmp_path):
        for size in ("10M", "30M", "100M", "300M"):
            for part in (0, 1):  # each was resumed once
                steps = curve(1000, float(size[:-1]) ** -0.05)[5 * part : 5 * part + 5]
                file(event_file(steps), f"logs/gpt-{size}/version_0/{NAME}{part}")
        runs = read_runs(tmp_path / "logs", last_of="file")
        assert list(runs["params"].values) == [100e6, 10e6, 300e6, 30e6] and set(runs["tokens"].values) == {1e9}
        assert list(runs["file"].values) == ["gpt-100M", "gpt-10M", "gpt-300M", "gpt-30M"]
        assert "(guess)" in read_text(runs.attrs)

    def test_resumed_runs_in_one_folder_are_one_run(self, file, tmp_path):
        for part in (0, 1):
            file(event_file(curve(1000)[5 * part : 5 * part + 5], {"n_params": 1e8}), f"one/{NAME}{part}")
        assert set(read_table_of(tmp_path / "one")["file"]) == {"one"}

    @pytest.mark.parametrize("cut", [1, 4, 5, 30])
    def test_an_unfinished_last_record_is_passed_over(self, file, cut):
        whole = event_file(curve(400), {"n_params": 1e8})
        assert list(read_table(file(whole[:-cut])).frame["step"]) == [100, 200, 300]

    def test_large_records_are_passed_over(self, file):
        from tensorboard.compat.proto.event_pb2 import Event

        graph = Event(graph_def=bytes(events.EVENT_BYTES_MAX + 1)).SerializeToString()
        assert len(read_table(file(event_file(curve(400), more=[graph]))).frame) == 4

    def test_damage(self, file):
        whole = event_file(curve(400), {"n_params": 1e8})
        for place in (60, 200, len(whole) - 6):
            damaged = bytearray(whole)
            damaged[place] ^= 0x40
            refused(file(bytes(damaged)), "a damaged event file: record . .from 0. is not as it was written")
        refused(file(whole + struct.pack("<Q", 1 << 62) + bytes(40)), "a damaged event file: record 6")
        refused(file(event_file([])), "an event file without scalars")

    def test_checksums_are_those_of_the_library(self, rng):
        from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import CRC_TABLE, masked_crc32c

        records = [rng.bytes(n) for n in (0, 1, 7, 200, 3, 64)]
        found = events._checksums(records, np.array(CRC_TABLE, dtype=np.uint32))
        assert list(found) == [masked_crc32c(record) for record in records]


def read_table_of(path):
    from bayescale.runs.source import table_of

    return table_of(path).frame
