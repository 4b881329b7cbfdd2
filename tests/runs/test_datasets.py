import contextlib
import dataclasses
import gc
import gzip
import hashlib
import http.server
import re
import threading

import numpy as np
import pytest

from bayescale.errors import RunsError
from bayescale.laws.law import column, load_law
from bayescale.runs import datasets
from bayescale.runs.datasets import DATASETS, fetch_file, load_dataset

PACKED = gzip.compress(bytes(50_000_000), 9)
# of each file the headings and some rows of its kind, with invented numbers; and the losses that are read from them
SHAPES = {
    "chinchilla": (b"C,N,D,loss\n6e18,100000000,10000000000,3.1\n6e19,1000000000,10000000000,2.8\n", [3.1, 2.8]),
    "datablations": (
        b"index,data,epochs,token_num,openLM_loss,num_params,model_args,tokens_per_epoch,flops,checkpoint\n"
        b"0,c4,1.0,1000000000.0,4.5,100000000.0,{'name': '100m1b1b'},1500000000.0,6e+17,missing? but should exist\n"
        b"1,c4,2.0,2000000000.0,4.2,100000000.0,{'name': '100m2b1b'},1500000000.0,1.2e+18,missing? but should exist\n"
        b"2,c4,1.0,2000000000.0,4.1,200000000.0,{'name': '200m2b2b'},1500000000.0,2.4e+18,missing? but should exist\n",
        [4.5, 4.1],
    ),
    "greek": (
        b"n_params,n_tokens,flops,val_loss\r\n1000000,5000000,30000000000000,8.2\r\n"
        b"2000000,5000000,60000000000000,7.9\r\n",
        [8.2, 7.9],
    ),
    "insurance": (
        b"config_name,model_type,threshold,rep,seed,n_train,exposure_train,claims_train,base_rate,params,"
        b"train_poisson_deviance,test_poisson_deviance,epochs_trained\n"
        b"glm,glm,0.05,1,1,30000,16000.5,1200.0,0.07,110,0.243,0.245,30\n"
        b"ffn_small,ffn,0.05,1,1,30000,16000.5,1200.0,0.07,1300,0.239,0.244,28\n",
        [0.245, 0.244],
    ),
    "translation": (
        b'Domain,Task,Model,Seen Examples,Loss,Training\nNMT,log_perplexity,"6 Enc, 6 Dec",500000.0,0.93,1\n'
        b'NMT,log_perplexity,"Dec-only",1000000.0,0.74,0\nLM,val_loss,1.68e+07,2600000000.0,0.99,1\n',
        [0.93, 0.74],
    ),
    "lamda": (
        b'Domain,Task,Model,Seen Examples,Loss,Training\nNMT,log_perplexity,"6 Enc, 6 Dec",500000.0,0.93,1\n'
        b"LM,val_loss,1.68e+07,2600000000.0,0.99,1\nLM,val_loss,1.34e+08,2600000000.0,0.95,1\n"
        b"LM,val_loss,1.68e+07,2600000000.0,0.99,1\nLM,val_loss,1.34e+08,2600000000.0,0.95,1\n",
        [0.99, 0.95],
    ),
    "bigbench": (
        b"Domain,Task,Model,Seen Examples,Loss,Training\nBB,\"('qa', '1-shot')\",262M,2600000000.0,0.95,1\n"
        b"BB,\"('date', '1-shot')\",262M,2600000000.0,0.85,1\nBB,\"('qa', '1-shot')\",262M,5100000000.0,0.93,1\n"
        b"BB,\"('qa', '2-shot')\",262M,2600000000.0,0.75,1\n",
        [0.95, 0.93],
    ),
    "opt": (
        b"model_name,model_size,steps,num_token,flops,ppl\nOPT,125m,2000,9.0,17.9,67.5\nOPT,6.7b,2000,10.0,20.6,30.5\n",
        [np.log(67.5), np.log(30.5)],
    ),
    "convnets": (b"x,y,model\r\n600.5,14.25,F1\r\n1200.5,13.25,F3_wide", [14.25, 13.25]),
}
CONTENT = b"C,N,D,loss\n6e18,1e8,1e10,3.1\n6e19,1e9,1e10,2.8\n"


@pytest.fixture
def server():
    """A server on this machine that sends CONTENT as /runs.csv and SHAPES, and counts what it was asked for."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            found = self.path in ("/runs.csv", "/half.csv")
            shape = SHAPES.get(self.path.removeprefix("/shapes/"), [b""])[0]
            if self.path in ("/endless.csv", "/packed.csv"):
                self.send_response(200)
                if self.path == "/packed.csv":
                    self.send_header("Content-Encoding", "gzip")
                self.end_headers()
                with contextlib.suppress(OSError):
                    for _ in range(1 if self.path == "/packed.csv" else 1000):
                        self.wfile.write(PACKED if self.path == "/packed.csv" else b"x" * 1_000_000)
                return
            self.send_response(200 if found or shape else 404)
            self.send_header("Content-Length", str(len(shape or CONTENT) if found or shape else 0))
            self.end_headers()
            self.wfile.write(CONTENT[: 20 if self.path == "/half.csv" else None] if found else shape)

        def log_message(self, *args):
            pass

    asked = []
    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()

    def stop():
        running.shutdown()
        thread.join()
        running.server_close()

    running.asked, running.stop = asked, stop
    running.url = f"http://127.0.0.1:{running.server_address[1]}"
    yield running
    if thread.is_alive():
        stop()


@pytest.fixture
def source(monkeypatch):
    """A data set, at another address and with another checksum."""

    def change(url, content=CONTENT, name="chinchilla"):
        changed = dataclasses.replace(DATASETS[name], url=url, sha256=hashlib.sha256(content).hexdigest())
        monkeypatch.setitem(DATASETS, name, changed)

    return change


# ---- the embedded runs ----------------------------------------------------------------------------------------------


def test_pile():
    runs = load_dataset("pile")
    assert runs.sizes["run"] == 30 and len(np.unique(runs["family"])) == 6
    odd = runs.isel(run=(runs["model"] == "Pythia-deduped 1.4B").values)
    assert odd["loss"].item() == 1.889 and odd["remark"].item().startswith("published value looks wrong")
    assert (runs["remark"] != "").sum() == 1
    assert "arXiv:2304.03208" in runs.attrs["cite"] and runs.attrs["source"] == "pile"
    np.testing.assert_allclose(runs["compute"], 6 * runs["params"] * runs["tokens"])
    assert runs["loss"].min() == 1.519 and runs["params"].max() > 2e10


def test_pile_is_the_default_and_needs_no_network(monkeypatch):
    monkeypatch.setattr("socket.socket", None)
    assert load_dataset().identical(load_dataset("pile")) and load_dataset().sizes["run"] == 30
    assert fetch_file("pile").is_file()


def test_every_data_set_says_where_it_is_from():
    for name, source in DATASETS.items():
        assert re.search(r"arXiv:\d{4}\.\d{5}|repository [\w-]+/[\w-]+", source.cite) and source.about, name
        assert source.licence, name
        assert (source.url is None) == (source.sha256 is None)
        if source.url:
            assert re.search(r"^https://[^?]*/[0-9a-f]{40}/", source.url), "the address is that of one commit"
            assert re.fullmatch("[0-9a-f]{64}", source.sha256)
    files = {source.file: source.sha256 for source in DATASETS.values()}
    assert all(files[source.file] == source.sha256 for source in DATASETS.values()), "a file is one download"


@pytest.mark.parametrize("name", [name for name, source in DATASETS.items() if source.url])
def test_each_is_read_to_the_end(server, source, tmp_path, name):
    content, losses = SHAPES[name]
    source(f"{server.url}/shapes/{name}", content, name)
    runs = load_dataset(name, tmp_path)
    np.testing.assert_allclose(runs["loss"], losses)
    assert runs.attrs["source"] == name and runs.attrs["cite"] == DATASETS[name].cite
    law = DATASETS[name].law
    assert {"params", "tokens", "compute"} <= set(runs) or (set(map(column, load_law(law).inputs)) <= set(runs))
    assert load_dataset(name, tmp_path).identical(runs) and server.asked == [f"/shapes/{name}"]


@pytest.mark.parametrize("get", [load_dataset, fetch_file])
def test_no_such_data_set(get):
    with pytest.raises(RunsError, match=r"no data set 'pyle'; there are pile, chinchilla, .*; did you mean 'pile'\?"):
        get("pyle")


# ---- downloads ------------------------------------------------------------------------------------------------------


def test_download_is_verified_and_kept(server, source, tmp_path):
    source(f"{server.url}/runs.csv")
    runs = load_dataset("chinchilla", tmp_path)
    assert list(runs["loss"].values) == [3.1, 2.8] and runs.attrs["source"] == "chinchilla"
    server.stop()
    assert load_dataset("chinchilla", tmp_path).identical(runs), "the second time needs no server"
    assert server.asked == ["/runs.csv"]
    assert fetch_file("chinchilla", tmp_path).read_bytes() == CONTENT


def test_file_that_was_changed_on_disk_is_fetched_again(server, source, tmp_path):
    source(f"{server.url}/runs.csv")
    fetch_file("chinchilla", tmp_path).write_bytes(b"changed")
    assert fetch_file("chinchilla", tmp_path).read_bytes() == CONTENT and len(server.asked) == 2


@pytest.mark.parametrize("damage", [b"", CONTENT[:20], CONTENT[:-1], CONTENT.replace(b"3.1", b"3.2"), b"\xff" * 100])
def test_damaged_file_in_the_cache(server, source, tmp_path, damage):
    source(f"{server.url}/runs.csv")
    (tmp_path / "chinchilla.csv").write_bytes(damage)
    assert list(load_dataset("chinchilla", tmp_path)["loss"].values) == [3.1, 2.8] and len(server.asked) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["chinchilla.csv"]


def test_interrupted_download(server, source, tmp_path):
    """What is already there, damaged as it may be, stays; half a file is never put in its place."""
    source(f"{server.url}/half.csv")
    refused("data set 'chinchilla': .* cannot be downloaded: ", tmp_path)
    assert not list(tmp_path.iterdir())
    (tmp_path / "chinchilla.csv").write_bytes(b"older")
    refused("data set 'chinchilla': .* cannot be downloaded: ", tmp_path)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"older"]


def test_folder_in_the_place_of_the_file(server, source, tmp_path):
    source(f"{server.url}/runs.csv")
    (tmp_path / "chinchilla.csv").mkdir()
    refused("data set 'chinchilla': cannot be kept in .*: Is a directory", tmp_path)


def test_disk_that_is_full(server, source, full_disk):
    source(f"{server.url}/runs.csv")
    (full_disk / "more").write_bytes(bytes(4096))
    refused("data set 'chinchilla': cannot be kept in .*: No space left on device", full_disk)
    assert sorted(path.name for path in full_disk.iterdir()) == ["more", "others"]


def test_read_only_folder_with_and_without_the_file(server, source, tmp_path, read_only):
    source(f"{server.url}/runs.csv")
    for name, content in (("good", CONTENT), ("bad", b"damaged"), ("empty", None)):
        (tmp_path / name).mkdir()
        if content is not None:
            (tmp_path / name / "chinchilla.csv").write_bytes(content)
        read_only(tmp_path / name)
    assert load_dataset("chinchilla", tmp_path / "good").sizes["run"] == 2 and not server.asked
    for name in ("bad", "empty"):
        refused(
            "data set 'chinchilla': cannot be kept in .*: (Read-only file system|Permission denied)", tmp_path / name
        )


def refused(message, folder):
    with pytest.raises(RunsError, match=message) as error:
        load_dataset("chinchilla", folder)
    assert "\n" not in str(error.value)


def test_wrong_checksum(server, source, tmp_path):
    source(f"{server.url}/runs.csv", content=b"something else")
    refused(
        r"data set 'chinchilla': what http://127.* sent is not the published file \(its SHA-256 differs\)", tmp_path
    )
    assert not list(tmp_path.iterdir()), "nothing is kept"


def test_not_found(server, source, tmp_path):
    source(f"{server.url}/absent.csv")
    refused(r"data set 'chinchilla': .*absent\.csv cannot be downloaded: the server answered 404", tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_no_server(server, source, tmp_path):
    server.stop()
    source(f"{server.url}/runs.csv")
    refused("data set 'chinchilla': .* cannot be downloaded: ConnectionError", tmp_path)
    gc.collect()  # the exception holds the socket that was refused; here it may warn, in a later test it may not
    assert not list(tmp_path.iterdir())


def test_folder_that_cannot_be_made(server, source, tmp_path):
    (tmp_path / "file").write_text("")
    source(f"{server.url}/runs.csv")
    refused("data set 'chinchilla': cannot be kept in .*file", tmp_path / "file" / "inside")


def test_downloads_do_not_wait_for_ever(server, source, tmp_path, monkeypatch):
    assert 0 < datasets.TIMEOUT_SECONDS <= 120
    monkeypatch.setattr(datasets, "DOWNLOAD_SECONDS_MAX", -1)
    source(f"{server.url}/endless.csv")
    refused(r"data set 'chinchilla': .*endless\.csv has not sent all of it within -1 s; nothing was kept", tmp_path)
    assert not list(tmp_path.iterdir())


def test_downloads_do_not_grow_for_ever(server, source, tmp_path):
    source(f"{server.url}/endless.csv")
    refused(r"data set 'chinchilla': .*endless\.csv sends more than 10 MB; nothing was kept", tmp_path)
    assert not list(tmp_path.iterdir())


def test_what_is_packed_is_not_unpacked(server, source, tmp_path):
    """50 MB out of 50 kB: the bytes that were sent are not the file."""
    source(f"{server.url}/packed.csv", content=bytes(10))
    refused("data set 'chinchilla': what .* sent is not the published file", tmp_path)
    source(f"{server.url}/packed.csv", content=PACKED)
    assert fetch_file("chinchilla", tmp_path).stat().st_size == len(PACKED) < 100_000
