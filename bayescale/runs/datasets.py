"""The embedded data set, and public ones downloaded on request and verified by checksum."""

import difflib
import os
import time
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import xarray as xr

from bayescale.errors import RunsError
from bayescale.laws.law import load_law
from bayescale.runs.read import read_runs
from bayescale.runs.source import read_once


@dataclass(frozen=True)
class DataSource:
    """Where runs come from, and how they are read.

    Attributes
    ----------
    about, cite : what the runs are, and whose
    licence : of the file, by the repository that it is in
    file : its name in the folder of downloads, or in the package
    url, sha256 : the file at one commit, and the checksum of its bytes; None for runs inside the package
    reading : options of :func:`bayescale.read_runs`
    law : name of the law that the runs are for, where they have no two sizes
    """

    about: str
    cite: str
    licence: str
    file: str
    url: str | None = None
    sha256: str | None = None
    reading: Mapping[str, Any] = field(default_factory=dict)
    law: str | None = None


with open(Path(__file__).parent / "datasets.toml", "rb") as _file:
    DATASETS = {name: DataSource(**about) for name, about in tomllib.load(_file).items()}
TIMEOUT_SECONDS = 60  # without data
DOWNLOAD_SECONDS_MAX = 600
DOWNLOAD_BYTES_MAX = 10_000_000  # the data sets above have at most eighty thousand


def load_dataset(name: str = "pile", folder: "str | Path | None" = None) -> xr.Dataset:
    """Runs of a public data set, downloaded once and verified by its checksum; embedded ones need no network.

    Parameters
    ----------
    name : of a data set, as ``bayescale datasets`` lists them; "pile" is inside the package
    folder : where the file is kept; the user's cache folder by default

    Returns
    -------
    The runs, as :func:`bayescale.read_runs` gives them.

    Raises
    ------
    RunsError
        If there is no such data set, it cannot be downloaded, or what came is not what was published.

    Examples
    --------
    >>> bayescale.load_dataset("pile").sizes["run"]
    30
    """
    path = fetch_file(name, folder)
    source = _source(name)
    law = None if source.law is None else load_law(source.law)
    return read_runs(path, law, **source.reading).assign_attrs(source=name, cite=source.cite, about=source.about)


def runs_given(source: Any) -> Any:
    """The runs of the data set of that name; else what is given, as a table or Dataset that may be read several times.

    A name without folder or extension may be that of a data set, where no file is called so.

    Raises
    ------
    RunsError
        As :func:`load_dataset` and :func:`bayescale.read_runs`.
    """
    plain = isinstance(source, str) and source.replace("-", "_").isidentifier() and not os.path.exists(source)
    named = plain and difflib.get_close_matches(source, DATASETS, n=1)
    return load_dataset(source) if named else read_once(source)


def fetch_file(name: str, folder: "str | Path | None" = None) -> Path:
    """The file of a data set on this machine, downloaded and verified if need be."""
    source = _source(name)
    if source.url is None:
        return Path(__file__).parent / source.file
    import pooch
    import requests

    try:
        cache = Path(folder) if folder is not None else pooch.os_cache("bayescale")
    except RuntimeError:
        raise RunsError(f"data set '{name}': this user has no home folder to keep it in; give a folder") from None
    pooch.get_logger().setLevel("ERROR")
    try:
        return Path(
            pooch.retrieve(source.url, f"sha256:{source.sha256}", source.file, path=cache, downloader=_download)
        )
    except requests.RequestException as error:
        raise RunsError(f"data set '{name}': {source.url} cannot be downloaded: {_plain(error)}") from None
    except RunsError as error:
        raise RunsError(f"data set '{name}': {error}") from None
    except ValueError:
        raise RunsError(
            f"data set '{name}': what {source.url} sent is not the published file (its SHA-256 differs); "
            "nothing was kept"
        ) from None
    except OSError as error:
        raise RunsError(f"data set '{name}': cannot be kept in {cache}: {error.strerror or error}") from None


def _download(url: str, path: "str | Path", _: object) -> None:
    """Download without unpacking, as a checksum is of the published bytes."""
    import requests
    from urllib3.exceptions import HTTPError

    end, size = time.monotonic() + DOWNLOAD_SECONDS_MAX, 0
    headers = {"Accept-Encoding": "identity"}
    with requests.get(url, stream=True, timeout=TIMEOUT_SECONDS, headers=headers) as answer, open(path, "wb") as file:
        answer.raise_for_status()
        try:
            for part in answer.raw.stream(1 << 16, decode_content=False):
                size += file.write(part)
                if size > DOWNLOAD_BYTES_MAX:
                    raise RunsError(f"{url} sends more than {DOWNLOAD_BYTES_MAX // 1_000_000} MB; nothing was kept")
                if time.monotonic() > end:
                    raise RunsError(f"{url} has not sent all of it within {DOWNLOAD_SECONDS_MAX} s; nothing was kept")
        except HTTPError as error:  # of urllib3: broken off, or too slow
            raise requests.ConnectionError(error) from None


def _plain(error: Exception) -> str:
    status = getattr(getattr(error, "response", None), "status_code", None)
    return f"the server answered {status}" if status else type(error).__name__


def _source(name: str) -> DataSource:
    if not isinstance(name, str):
        raise RunsError(
            f"a data set is named by a text, not by a {type(name).__name__}; there are {', '.join(DATASETS)}"
        )
    if name not in DATASETS:
        near = difflib.get_close_matches(str(name), DATASETS, n=1)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        raise RunsError(f"no data set '{name}'; there are {', '.join(DATASETS)}{hint}")
    return DATASETS[name]
