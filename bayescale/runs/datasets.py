"""The embedded data set, and public ones downloaded on request and verified by checksum."""

import difflib
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import xarray as xr

from bayescale.errors import RunsError
from bayescale.runs.read import read_runs


@dataclass(frozen=True)
class DataSource:
    """Where runs come from; ``url`` is None for the ones inside the package."""

    about: str
    cite: str
    file: str
    url: str | None = None
    sha256: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)


DATASETS = {
    "pile": DataSource(
        about="30 models trained on the Pile with their test loss: Cerebras-GPT, its muP variant, Pythia, "
        "Pythia-deduped, GPT-J and GPT-NeoX; one published loss (Pythia-deduped 1.4B) looks wrong and is kept",
        cite="Dey et al. 2023, Cerebras-GPT, arXiv:2304.03208, zero-shot table",
        file="pile.csv",
    ),
    "chinchilla": DataSource(
        about="234 runs of Hoffmann et al. 2022 (fig. 4) as digitised by Besiroglu et al. 2024: noise about 0.5 %, "
        "heavy tails",
        cite="Besiroglu et al. 2024, arXiv:2404.10102, of Hoffmann et al. 2022, arXiv:2203.15556; "
        "copy in the repository kyo-takano/chinchilla",
        file="chinchilla.csv",
        url="https://raw.githubusercontent.com/kyo-takano/chinchilla/6e34bdd639e66ed2a987be7a59fb597087a86c1a/"
        "examples/llm/df.csv",
        sha256="2ed2c412c6b408cb26896b92c0721fe9afa6515726b0db78c33db37cbf2816f9",
        columns={"params": "N", "tokens": "D", "compute": "C", "loss": "loss"},
    ),
}
TIMEOUT_SECONDS = 60  # without data
DOWNLOAD_SECONDS_MAX = 600
DOWNLOAD_BYTES_MAX = 10_000_000  # the data sets above have about ten thousand


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
    """
    path = fetch_file(name, folder)
    source = _source(name)
    return _described(read_runs(path, columns=source.columns or None), name, source)


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


def _described(runs: xr.Dataset, name: str, source: DataSource) -> xr.Dataset:
    return runs.assign_attrs(source=name, cite=source.cite, about=source.about)
