"""Hostile options of the command line: costs, their values, limits, menus, columns and units."""

import json
import random
from collections.abc import Callable
from typing import Any

from bayescale.errors import FitError, InputError
from bayescale.study import Study
from benchmarks.hostile.fits import a_fit
from benchmarks.hostile.inputs import TRICKS, borne, mixed, mutated, scratch
from benchmarks.hostile.laws import a_formula

QUANTITIES = [
    *(
        "2T",
        "1e12",
        "0.35..0.5",
        "..",
        "0.5..",
        "..0.5",
        "0.5..0.2",
        "0.1..0.2..0.3",
        "." * 4000,
        "Beta(alpha=40, beta=60)",
    ),
    *(
        "Beta(alpha=40)",
        "Beta(40, 60)",
        "Normal(mu=0, sigma=1)",
        "Uniform(lower=2, upper=1)",
        "Gamma(alpha=1e300, beta=1e-300)",
    ),
    *(
        "TruncatedNormal(mu=1, sigma=1, lower=5, upper=1)",
        "Beta(**{})",
        "Beta(alpha=" + "9" * 500 + ", beta=1)",
        "f(x)",
        "(" * 300,
    ),
    *(
        "Beta(alpha=1, alpha=2)",
        "LogNormal(mu=800, sigma=1)",
        "HalfNormal(sigma=1if)",
        "Beta(alpha=" + "-" * 2000 + "1, beta=1)",
    ),
    *(
        "os.system('x')",
        "Exponential(lam=1e-320)",
        "LogNormal(mu=0, sigma=True)",
        "LogNormal(mu=0, sigma='1')",
        "0",
        "-1",
        "1e400",
    ),
]
COSTS = [
    *(
        "6*N*D",
        "6*N*D + 2*N*T",
        "6*N*D/(mfu*989e12*3600)*price",
        "N",
        "N*D**2",
        "N*D + exp(D)",
        "6*N*D*0",
        "-N*D",
        "N**N*D",
    ),
    *(
        "6*N*D + minimum(N, D)",
        "N*D*price**price",
        "log(N)*D",
        "N*D/0",
        "N*D*q",
        "6*N*D" + "*1" * 400,
        "N+D",
        "sqrt(N*D)",
    ),
]
LIMITS = ["7B..70B", "..70B", "7B..", "70B", "..", "70B..7B", "x", "1e400", "-1", "0", "5" * 500, "1..2..3", "nan"]
MENUS = [
    "1B,3B,7B",
    "",
    ",",
    "x",
    "1B,,3B",
    "0",
    "1e9," * 300,
    "nowhere.csv",
    "http://127.0.0.1:9/x.csv",
    "MENU",
    "/",
    "\x00",
]
MENU_TEXTS = [
    *(
        "params,price\n1e9,1\n2e9,2\n",
        "params\n",
        "",
        "a,b\n1,2\n",
        "params,params\n1,2\n",
        "params\nx\n",
        "params\n-1\n",
    ),
    *(
        "params,layers\n1e9\n",
        "\x00",
        '"',
        "params\n" + "1e9\n" * 3000,
        "params" + ",x" * 500 + "\n",
        "params\n1e400\n",
    ),
]
PAIRS = [
    "",
    "=",
    "a=",
    "=b",
    "a=b=c",
    "loss=loss",
    "params=tokens",
    "x" * 3000 + "=1",
    "loss=\x1b[2J",
    "params=M",
    "loss=bits",
]


def make_options(rng: random.Random) -> bytes:
    def some(values: list[str], odd: float = 0.1) -> str:
        value = rng.choice(values)
        return mutated(rng, value, TRICKS)[:6000] if rng.random() < odd else value

    names = ["T", "mfu", "price", "q", "unique_tokens", "N", "D", "C", "x"]
    cost = (
        some(COSTS[:3] if rng.random() < 0.6 else COSTS) if rng.random() < 0.9 else mixed(0.5, a_formula, TRICKS)(rng)
    )
    wanted = [name for name in names if name in cost and name not in "NDC"] if rng.random() < 0.8 else []
    wanted += rng.sample(names, rng.choice((0, 0, 0, 0, 1, 2)))
    given = [f"{name}={some(QUANTITIES[:3] if rng.random() < 0.6 else QUANTITIES)}" for name in wanted]
    options = {"cost": cost, "given": given, "menu_text": some(MENU_TEXTS)}
    for name in ("params", "tokens", "ratio", "unique_tokens"):
        options[name] = some(LIMITS) if rng.random() < 0.1 else None
    options["menu"] = some(MENUS) if rng.random() < 0.2 else None
    options["column"] = [some(PAIRS) for _ in range(rng.choice((0, 0, 0, 0, 1, 2)))]
    options["unit"] = [some(PAIRS) for _ in range(rng.choice((0, 0, 0, 0, 1, 2)))]
    return json.dumps(options).encode()


def bear_options(raw: bytes) -> bool:
    """The options as the command line gives them, through to the problem that is then solved."""
    from bayescale.budgets.problem import problem_of
    from bayescale.cli.arguments import source_given
    from bayescale.cli.options import SplitOptions, Stock, TableOptions

    options = json.loads(raw)
    runs = scratch("few.csv")
    runs.write_text("params,tokens,loss,C\n1e7,1e9,3,1\n2e7,3e9,2,2\n")
    menu = scratch("menu.csv")
    menu.write_text(options.pop("menu_text"), encoding="utf-8", errors="surrogatepass")
    options["menu"] = str(menu) if options["menu"] == "MENU" else options["menu"]
    table = TableOptions(options.pop("column"), options.pop("unit"))
    stock = Stock(options.pop("unique_tokens"), options.pop("menu"))
    used = borne(lambda: _told(lambda: table.read(source_given([str(runs)]), None)))
    split = SplitOptions(**options)
    return borne(lambda: _told(lambda: problem_of(Study.opened(a_fit()), **split.options, **stock.options))) and used


def _told(use: Callable[[], Any]) -> None:
    """A mistake as the command line tells it."""
    try:
        use()
    except InputError as error:
        raise FitError(str(error)) from error
