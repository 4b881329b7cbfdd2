import os
import stat

import pandas as pd
import pytest

from bayescale.files import FileError, write_table, write_whole


def test_writes_and_returns_the_path(tmp_path):
    target = write_whole(tmp_path / "a.txt", lambda path: path.write_text("new"))
    assert target == tmp_path / "a.txt" and target.read_text() == "new"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_replaces_an_older_file(tmp_path):
    target = tmp_path / "a.txt"
    target.write_text("old")
    write_whole(str(target), lambda path: path.write_text("new"))
    assert target.read_text() == "new" and os.listdir(tmp_path) == ["a.txt"]


def test_the_target_is_untouched_until_all_is_written(tmp_path):
    target = tmp_path / "a.txt"
    target.write_text("old")

    def write(path):
        path.write_text("half")
        assert target.read_text() == "old" and path.parent == target.parent
        path.write_text("whole")

    write_whole(target, write)
    assert target.read_text() == "whole"


@pytest.mark.parametrize("error", [RuntimeError, OSError, KeyboardInterrupt])
def test_a_failing_writer_leaves_all_as_it_was(tmp_path, error):
    target = tmp_path / "a.txt"
    target.write_text("old")

    def write(path):
        path.write_text("half")
        raise error("disk full")

    with pytest.raises(error, match="disk full"):
        write_whole(target, write)
    assert target.read_text() == "old" and os.listdir(tmp_path) == ["a.txt"]


def test_a_writer_may_replace_the_temporary_file(tmp_path):
    def write(path):
        path.unlink()
        path.write_text("new")

    assert write_whole(tmp_path / "a.txt", write).read_text() == "new"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_folder_as_target(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError, match="is a folder, a file name is expected"):
        write_whole(tmp_path / "folder", lambda path: path.write_text("new"))
    assert os.listdir(tmp_path) == ["folder"] and not os.listdir(tmp_path / "folder")


def test_missing_folder(tmp_path):
    with pytest.raises(FileNotFoundError):
        write_whole(tmp_path / "absent" / "a.txt", lambda path: path.write_text("new"))
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_permissions_follow_the_umask(tmp_path, mask, mode):
    before = os.umask(mask)
    try:
        target = write_whole(tmp_path / "a.txt", lambda path: path.write_text("new"))
        assert os.umask(mask) == mask, "the umask of the process is left as it was"
    finally:
        os.umask(before)
    assert stat.S_IMODE(target.stat().st_mode) == mode


def test_a_table_is_written_as_csv(tmp_path):
    table = pd.DataFrame({"N": [1.5], "name": ["a, b"]})
    path = write_table(table, tmp_path / "table.csv")
    pd.testing.assert_frame_equal(pd.read_csv(path), table)


def test_a_table_that_cannot_be_written(tmp_path):
    table = pd.DataFrame({"N": [1.5]})
    with pytest.raises(FileError, match=r"absent/table\.csv: cannot be written: No such file or directory"):
        write_table(table, tmp_path / "absent" / "table.csv")
    with pytest.raises(FileError, match="cannot be written: is a folder"):
        write_table(table, tmp_path)
