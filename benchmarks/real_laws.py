"""Laws with further inputs, and laws of one size, on published runs.

    python -m benchmarks.real_laws FOLDER [--part repeated|routed|one_size|vocabulary] [--table docs/one-size.csv]

FOLDER holds datablations.csv, routing_moe.csv, revisit_lang.csv and vocab_scaling.csv: columns as in the papers' data.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.optimize import least_squares

import bayescale
from bayescale.errors import FitError
from bayescale.fitting.diagnostics import diagnostics
from bayescale.jobs.files import write_table
from bayescale.laws.law import load_law

ONE_SIZE = ("floor_tokens", "m3", "m4")

# error of the authors' M4 on each task: arXiv:2209.06640, Tables 2 and 3
PUBLISHED_M4 = {
    "BB|('date', '1-shot')|262M": 0.015,
    "BB|('date', '2-shot')|262M": 0.018,
    "BB|('ling', '1-shot')|262M": 0.017,
    "BB|('ling', '2-shot')|262M": 0.0092,
    "BB|('mult', '1-shot')|262M": 0.013,
    "BB|('mult', '2-shot')|262M": 0.0062,
    "BB|('qa', '1-shot')|262M": 0.0044,
    "BB|('qa', '2-shot')|262M": 0.0049,
    "BB|('unit', '1-shot')|262M": 0.0023,
    "BB|('unit', '2-shot')|262M": 0.0029,
    "LM|val_loss|1.68e+07": 0.00031,
    "LM|val_loss|1.34e+08": 0.0019,
    "LM|val_loss|2.62e+08": 0.0018,
    "LM|val_loss|4.53e+08": 0.00075,
    "LM|val_loss|1.07e+09": 0.0013,
    "NMT|log_perplexity|6 Enc, 6 Dec": 0.010,  # the row repeats that of Dec-only: likely a misprint
    "NMT|log_perplexity|28 Enc, 6 Dec": 0.013,
    "NMT|log_perplexity|6 Enc, 28 Dec": 0.030,
    "NMT|log_perplexity|Dec-only": 0.010,
    "NMT|log_perplexity|TEnc-LSTM": 0.012,
}


def show(tree, published: dict[str, float]) -> None:
    posterior, report = tree["posterior"], diagnostics(tree)
    print(f"  {tree.attrs['law']}: converged {report['converged']}, not identified {report['not_identified']}")
    for name, value in published.items():
        low, middle, high = np.quantile(posterior[name], [0.05, 0.5, 0.95])
        print(f"  {name:8s} {middle:10.4g} [{low:.4g}, {high:.4g}]   published {value:g}")


def repeated(folder: Path) -> None:
    """Muennighoff et al. 2023: finished, not deduplicated, at most 100 epochs."""
    runs = pd.read_csv(folder / "datablations.csv")
    kept = runs[(~runs.dedup.astype(bool)) & (runs.epochs <= 100) & runs.loss.notna()]
    kept = kept[["params", "tokens", "unique_tokens", "loss"]]
    print(f"repeated data: {len(kept)} runs")
    tree = bayescale.fit(kept, "data_constrained", allow_unconverged=True)
    show(tree, {"R_D": 15.387756, "R_N": 5.309743, "alpha": 0.3526596, "beta": 0.3526596, "E": 1.8691})


def routed(folder: Path) -> None:
    """Clark et al. 2022: S-BASE with one expert a token in every second layer, and the dense models."""
    runs = pd.read_csv(folder / "routing_moe.csv")
    plain = (runs.family == "S-Base") & (runs.k == 1) & (runs.routing_frequency == 0.5)
    kept = runs[plain | (runs.family == "Dense")][["params", "experts", "loss"]].astype(float)
    print(f"routed models: {len(kept)} runs")
    tree = bayescale.fit(kept, "routed_moe", allow_unconverged=True)
    preset = load_law("routed_moe").presets["sbase"].values
    show(tree, dict(preset) | {"log10_N_cutoff": float(np.log10(937e9))})


def vocabulary(folder: Path) -> None:
    """Tao et al. 2024, every checkpoint."""
    runs = pd.read_csv(folder / "vocab_scaling.csv")
    kept = runs[["params_nonvocab", "vocab_params", "tokens", "loss"]]
    print(f"vocabulary: {len(kept)} runs")
    tree = bayescale.fit(kept, "vocabulary", allow_unconverged=True)
    show(tree, dict(load_law("vocabulary").presets["tao2024"].values))


def m4_by_least_squares(x: np.ndarray, loss: np.ndarray) -> np.ndarray:
    """Constants of the authors' M4 by least squares on log loss from several starts: the usual point fit."""
    from bayescale.laws.formula import FUNCTIONS

    saturation = FUNCTIONS["saturation"].numpy
    scale = np.exp(np.log(x).mean())

    def predicted(z, at):
        floor = loss.min() / (1 + np.exp(z[0]))
        top = loss.max() * (1 + np.exp(z[1]))
        log_z = z[2] - np.exp(z[3]) * np.log(at / scale)
        return floor + (top - floor) * saturation(log_z, np.exp(z[4]))

    best = None
    for start in ((0, 0, 0, -1, 0), (-1, -1, -1, -0.5, 0), (1, 1, -2, -1.5, -1), (-2, 0, -1, 0, 0.5)):
        found = least_squares(lambda z: np.log(predicted(z, x) / loss), start, max_nfev=4000)
        if best is None or found.cost < best.cost:
            best = found
    return lambda at: predicted(best.x, at)


def one_size(folder: Path, table: Path | None) -> None:
    """Alabdulmohsin et al. 2022: fitted to the authors' smaller sizes, judged on their larger ones."""
    runs = pd.read_csv(folder / "revisit_lang.csv").drop_duplicates()
    rows = []
    for task, part in runs.groupby("family"):
        train, test = part[part.training == 1], part[part.training == 0]
        row = {"task": task, "fitted": len(train), "held_out": len(test)}
        point = m4_by_least_squares(train.tokens.to_numpy(), train.loss.to_numpy())
        row["m4_published"] = PUBLISHED_M4.get(str(task), np.nan)
        row["m4_point"] = _error(point(test.tokens.to_numpy()), test.loss)
        columns = pd.DataFrame({"tokens": train.tokens, "x": train.tokens, "loss": train.loss})
        for name in ONE_SIZE:
            inputs = {"tokens" if name.endswith("tokens") else "x": test.tokens.to_numpy()}
            try:
                tree = bayescale.fit(columns, name, allow_unconverged=True)
                forecast = bayescale.forecast(tree, covariates=inputs)["predictions"]
            except FitError as error:
                print(f"  {task}: {name}: {error}")
                continue
            row[name] = _error(forecast["loss"].median(("chain", "draw")).values, test.loss)
            row[f"{name}_law"] = _error(forecast["law_loss"].median(("chain", "draw")).values, test.loss)
            low, high = forecast["loss"].quantile([0.05, 0.95], ("chain", "draw")).values
            row[f"{name}_held"] = float(((low <= test.loss) & (test.loss <= high)).mean())
        rows.append(row)
        print("  " + ", ".join(f"{k} {v:.4f}" if isinstance(v, float) else f"{v}" for k, v in row.items()), flush=True)
    found = pd.DataFrame(rows)
    print("median over tasks\n" + found.median(numeric_only=True).round(4).to_string())
    if table is not None:
        write_table(found.round(5), table)


def _error(predicted: np.ndarray, measured: pd.Series) -> float:
    """Root mean square of the difference of log losses, the authors' measure."""
    return float(np.sqrt(np.mean((np.log(predicted) - np.log(measured.to_numpy())) ** 2)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--part", choices=("repeated", "routed", "one_size", "vocabulary"))
    parser.add_argument("--table", type=Path)
    given = parser.parse_args()
    for name in (given.part,) if given.part else ("repeated", "routed", "vocabulary", "one_size"):
        if name == "one_size":
            one_size(given.folder, given.table)
        else:
            {"repeated": repeated, "routed": routed, "vocabulary": vocabulary}[name](given.folder)


if __name__ == "__main__":
    main()
