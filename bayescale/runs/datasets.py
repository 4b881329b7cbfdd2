"""The embedded data set, and public ones downloaded on request and verified by checksum."""

import difflib
import os
import time
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


RAW = "https://raw.githubusercontent.com"
BENCHMARK = (
    f"{RAW}/google-research/google-research/9853680c781781bd8d3de20aa61c7373ce059913/revisiting_neural_scaling_laws/"
    "data/benchmark.lang.csv"
)
BENCHMARK_SHA256 = "63c346db00a66b692e1ea9a0f71a2f2b267e55f74be5b863a92e199dffbf0983"
DATASETS = {
    "pile": DataSource(
        about="30 models trained on the Pile with their test loss: Cerebras-GPT, its muP variant, Pythia, "
        "Pythia-deduped, GPT-J and GPT-NeoX; one published loss (Pythia-deduped 1.4B) looks wrong and is kept",
        cite="Dey et al. 2023, Cerebras-GPT, arXiv:2304.03208, zero-shot table",
        licence="numbers of a table, inside the package",
        file="pile.csv",
    ),
    "chinchilla": DataSource(
        about="234 runs of Hoffmann et al. 2022 (fig. 4) as digitised by Besiroglu et al. 2024: noise about 0.5 %, "
        "heavy tails",
        cite="Besiroglu et al. 2024, arXiv:2404.10102, of Hoffmann et al. 2022, arXiv:2203.15556; "
        "copy in the repository kyo-takano/chinchilla",
        licence="MIT",
        file="chinchilla.csv",
        url=f"{RAW}/kyo-takano/chinchilla/6e34bdd639e66ed2a987be7a59fb597087a86c1a/examples/llm/df.csv",
        sha256="2ed2c412c6b408cb26896b92c0721fe9afa6515726b0db78c33db37cbf2816f9",
        reading={"columns": {"params": "N", "tokens": "D", "compute": "C", "loss": "loss"}},
    ),
    "datablations": DataSource(
        about="33 runs of 7M to 8.7B parameters on C4 without repeated tokens; the file has 196 more that repeat "
        "theirs up to 9000 times",
        cite="Muennighoff et al. 2023, arXiv:2305.16264; copy in the repository IBM/ColPret, arXiv:2410.11840",
        licence="MIT (IBM/ColPret), Apache-2.0 (huggingface/datablations)",
        file="datablations.csv",
        url=f"{RAW}/IBM/ColPret/16f23bbe054277ddc4afd07a972dd7cfbe3f48c3/aggregated_eval/"
        "datablations_contour_losses.csv",
        sha256="1241bdf3732b4f65d455c796951dce7b18b898d64709f86013914573035f8a5b",
        reading={
            "columns": {"params": "num_params", "tokens": "token_num", "loss": "openLM_loss", "compute": "flops"},
            "where": "epochs == 1",
        },
    ),
    "greek": DataSource(
        about="12 small transformers (1.2M to 34M) on Greek text, each of four sizes on 5M, 20M and 80M tokens",
        cite="Fourlis 2026, repository fourlhs/greek-scaling-laws",
        licence="MIT",
        file="greek.csv",
        url=f"{RAW}/fourlhs/greek-scaling-laws/d98c04c169c817e366a95d585f55bbd32fa18e35/results.csv",
        sha256="b9b90a6b742bc795d4a1ebbd6007800c2ea89aa9f56b01f38b74efdf6e890b81",
    ),
    "insurance": DataSource(
        about="90 fits of claim frequencies (freMTPL2): five kinds of models of 110 to 14385 parameters, six amounts "
        "of policies as tokens, three seeds; the loss is a Poisson deviance",
        cite="Richman 2026, repository RonRichman/frmtpl-scaling-laws",
        licence="GPL-2.0-or-later",
        file="insurance.csv",
        url=f"{RAW}/RonRichman/frmtpl-scaling-laws/554956532276ae7548c968ac3508b634d68b491f/results/run_scores.csv",
        sha256="c1222756301a9f68cffd8bf13fc61394879414dfa6654cbf94593a8dd3fb9d5d",
        reading={"columns": {"tokens": "n_train", "loss": "test_poisson_deviance"}, "units": {"loss": "error"}},
    ),
    "translation": DataSource(
        about="53 translation models of 300M parameters, five architectures: log-perplexity against sentence pairs",
        cite="Bansal et al. 2022, arXiv:2202.01994, in the benchmark of Alabdulmohsin et al. 2022, arXiv:2209.06640",
        licence="CC-BY-4.0 (data of google-research/google-research)",
        file="benchmark.lang.csv",
        url=BENCHMARK,
        sha256=BENCHMARK_SHA256,
        reading={"columns": {"tokens": "Seen Examples"}, "units": {"loss": "error"}, "where": 'Domain == "NMT"'},
        law="floor_tokens",
    ),
    "lamda": DataSource(
        about="229 evaluations on the way of five decoder-only models of 17M to 1.1B parameters; the file has each "
        "four times",
        cite="Thoppilan et al. 2022, arXiv:2201.08239, in the benchmark of Alabdulmohsin et al. 2022, arXiv:2209.06640",
        licence="CC-BY-4.0 (data of google-research/google-research)",
        file="benchmark.lang.csv",
        url=BENCHMARK,
        sha256=BENCHMARK_SHA256,
        reading={
            "columns": {"params": "Model", "tokens": "Seen Examples"},
            "units": {"loss": "error"},
            "where": 'Domain == "LM"',
            "best_of": ("params", "tokens"),
        },
    ),
    "bigbench": DataSource(
        about="43 evaluations on the way of a model of 262M parameters: error of one-shot answers of BIG-Bench's task "
        "qa_wikidata; the file has four more tasks, each with one and two shots",
        cite="Srivastava et al. 2022, arXiv:2206.04615, in the benchmark of Alabdulmohsin et al. 2022, "
        "arXiv:2209.06640",
        licence="CC-BY-4.0 (data of google-research/google-research)",
        file="benchmark.lang.csv",
        url=BENCHMARK,
        sha256=BENCHMARK_SHA256,
        reading={
            "columns": {"tokens": "Seen Examples"},
            "units": {"loss": "error"},
            "where": """Domain == "BB" and Task == "('qa', '1-shot')\"""",
        },
        law="floor_tokens",
    ),
    "opt": DataSource(
        about="142 evaluations on the way of OPT models of 125M to 175B parameters: perplexity",
        cite="Zhang et al. 2022, OPT, arXiv:2205.01068, as evaluated by Xia et al. 2023, arXiv:2212.09803; copy in "
        "the repository IBM/ColPret, arXiv:2410.11840",
        licence="MIT (IBM/ColPret)",
        file="opt_trajectories.csv",
        url=f"{RAW}/IBM/ColPret/7b37633d9f74b976ef54234d12f8a10d66861d56/aggregated_eval/opt_trajectories.csv",
        sha256="c3a53ccc7a412f0caff4179ce484acf1c2aab36b25677473658f094362449ff5",
        reading={
            "columns": {"params": "model_size", "tokens": "num_token", "compute": "flops", "loss": "ppl"},
            "units": {"tokens": "log10", "compute": "log10", "loss": "perplexity"},
        },
    ),
    "convnets": DataSource(
        about="26 NFNets pretrained on JFT-4B, six models: loss of held-out images, read off a figure, against hours "
        "of TPU-v4 cores",
        cite="Smith et al. 2023, ConvNets match vision transformers at scale, arXiv:2310.16764; copy in the repository "
        "IBM/ColPret, arXiv:2410.11840",
        licence="MIT (IBM/ColPret)",
        file="convnets.csv",
        url=f"{RAW}/IBM/ColPret/7b37633d9f74b976ef54234d12f8a10d66861d56/aggregated_eval/graph_extracted/"
        "2310.16764_ConvNets_match.csv",
        sha256="c77cd509a539b6c9b5e65f824f52eb5b9d45d9b974959cc471583c7bafc11283",
        reading={"columns": {"loss": "y"}, "units": {"loss": "error"}},
        law="broken",
    ),
}
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
    return _described(read_runs(path, law, **source.reading), name, source)


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


def _described(runs: xr.Dataset, name: str, source: DataSource) -> xr.Dataset:
    return runs.assign_attrs(source=name, cite=source.cite, about=source.about)
