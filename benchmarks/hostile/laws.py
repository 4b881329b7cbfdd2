"""Hostile formulas and law files, and what is asked of those that are accepted."""

import functools
import json
import random
from collections.abc import Callable
from typing import Any

import numpy as np

import bayescale
from bayescale.laws.law import models_folder
from benchmarks.hostile.inputs import TRICKS, as_bytes, borne, mixed, scratch, silent

NAMES = ["N", "D", "C", "N_ref", "D_ref", "alpha", "beta", "E", "A", "B", "q", "x", "floor", "x0", "d1", "exp", "i"]
NUMBERS = [
    "0",
    "1",
    "2",
    "3.0",
    "0.5",
    "1e-9",
    "1e9",
    "1e308",
    "-1",
    "64",
    "65",
    "406.4",
    "1e400",
    "007",
    "0x10",
    "1_0",
]


def grammatical(rng: random.Random, depth: int = 5) -> str:
    """A formula of the language, or nearly."""
    from bayescale.laws.formula import FUNCTIONS

    kind = rng.random()
    if depth <= 0 or kind < 0.25:
        return rng.choice(NAMES) if rng.random() < 0.7 else rng.choice(NUMBERS)
    if kind < 0.65:
        op = rng.choice(("+", "-", "*", "/", "**", "*", "/", "%", "//", "@", "^", "<"))
        return f"({grammatical(rng, depth - 1)} {op} {grammatical(rng, depth - 1)})"
    if kind < 0.75:
        return f"-{grammatical(rng, depth - 1)}"
    name = rng.choice(list(FUNCTIONS))
    count = FUNCTIONS[name].arity if rng.random() < 0.97 else rng.randrange(4)
    return f"{name}({', '.join(grammatical(rng, depth - 1) for _ in range(count))})"


def a_formula(rng: random.Random) -> str:
    kind = rng.random()
    if kind < 0.4:
        return grammatical(rng, rng.choice((2, 4, 6, 8)))
    if kind < 0.6:
        return rng.choice(law_formulas())
    part = rng.choice(("N+", "-", "N**", "exp(", "(N*", "1/", "minimum(N,", "--", "2**-", "saturation(D,", "a."))
    count = rng.choice((5, 50, 59, 60, 61, 200, 600, 1000, 3000))
    return part * count + "N" + ")" * (part.count("(") * count if rng.random() < 0.8 else rng.randrange(5))


@functools.cache
def law_formulas() -> list[str]:
    return [law.formula for law in map(bayescale.load_law, bayescale.law_names())]


def make_formula(rng: random.Random) -> bytes:
    text = mixed(0.5, a_formula, TRICKS)(rng)
    return text.encode("utf-8", "surrogatepass") if rng.random() < 0.97 else as_bytes(rng, text)


def bear_formula(raw: bytes) -> bool:
    from bayescale.laws import formula
    from bayescale.laws.javascript import javascript
    from bayescale.laws.law_file import parse_law
    from bayescale.laws.slope import value_and_slope

    def use() -> None:
        tree = formula.parse(raw.decode("utf-8", "surrogateescape"))
        used = sorted(set(formula.names(tree)))
        for values in (0.5, -3.0, np.array([[1e-9, 2.0, 1e12]])):
            formula.evaluate(tree, dict.fromkeys(used, values))
        value_and_slope(tree, dict.fromkeys(used, np.array([1.0, 7.0])), {used[0]: np.ones(2)} if used else {})
        formula.latex(tree)
        javascript(tree)
        if len(used) > 1:  # names with a meaning of their own are refused here
            borne(lambda: use_law_source(parse_law(law_around(raw.decode("utf-8"), used), "law")))

    return borne(use)


def law_around(text: str, used: list[str]) -> str:
    """A law file with this formula: its first name is a column of the runs, the others are parameters."""
    priors = "\n".join(f'{name} = {{ dist = "LogNormal", mu = 0, sigma = 1 }}' for name in used[1:])
    return f'title = "t"\ncite = "c"\nformula = {json.dumps(text)}\n[priors]\n{priors}\n'


def use_law_source(law: Any) -> str:
    """What would be compiled for a law: Python, and no word of it a stranger's."""
    from bayescale.engine.density import log_posterior
    from bayescale.engine.numba_density import source
    from bayescale.laws.noises import default_noise

    text = source(log_posterior(law, default_noise(law.observed.scale)))
    compile(text, "<source of a kernel>", "exec")
    return text


VALUES = [
    *('""', '"x"', "1", "-1", "0", "1e308", "1e400", "inf", "nan", "true", "1979-05-27", "[]", "[1]", "[[1]]", "{}"),
    *(
        '"N"',
        '["N"]',
        "[1, 2]",
        "[2, 1]",
        "[nan, 1]",
        "{ a = 1 }",
        '{ dist = "Normal" }',
        "0x" + "f" * 4000,
        "9" * 5000,
    ),
    *('{ dist = "Uniform", lower = 1, upper = 0 }', '{ dist = "Gamma", alpha = 1e300, beta = 1e-300 }'),
    *(
        '{ dist = "Beta", alpha = 1e-300, beta = 1e300 }',
        '{ dist = "TruncatedNormal", mu = 1e9, sigma = 1, lower = 0, upper = 1 }',
    ),
    *('{ dist = "Normal", mu = 0, sigma = 0 }', "[" * 300 + "]" * 300, "[" * 3000 + "]" * 3000, "{ a.b.c.d = 1 }"),
    *('["a", 1, []]', "[[" + "9" * 4500 + "]]", '"\\u0000"', '"[/]"', '"</script>"', '"\\u001b[2J"'),
]
KEYS = [
    *(
        "title",
        "cite",
        "about",
        "formula",
        "traps",
        "falls_with",
        "rises_with",
        "size",
        "no_split",
        "observed",
        "where",
    ),
    *(
        "priors",
        "derived",
        "range",
        "exponents",
        "optimum",
        "published",
        "N",
        "D",
        "column",
        "symbol",
        "scale",
        "count",
    ),
    *("dist", "mu", "sigma", "presets", "values", "answers", "source", "at", "value", "within", "quantity", "alpha"),
    *("chain", "draw", "run", "posterior", "loss", "__class__", "x", "log_loss"),
]
SMALL_LAW = """\
title = "t"
cite = "c"
formula = "E + a*(N/N_ref)**(-alpha)"
[priors]
E = { dist = "LogNormal", mu = 0, sigma = 1 }
a = { dist = "LogNormal", mu = 0, sigma = 1 }
alpha = { dist = "LogNormal", mu = -1, sigma = 1 }
"""


FIT_LAW = """\
title = "t"
cite = "c"
formula = "L_ref*level*(N/N_ref)**(-alpha)*(D/D_ref)**(-beta)"
[priors]
level = { dist = "LogNormal", mu = 0, sigma = 1 }
alpha = { dist = "LogNormal", mu = -2, sigma = 1 }
beta = { dist = "LogNormal", mu = -2, sigma = 1 }
[derived]
A = { formula = "L_ref*level*N_ref**alpha", about = "amplitude" }
"""


@functools.cache
def law_texts() -> list[str]:
    return [path.read_text(encoding="utf-8") for path in sorted(models_folder().glob("*.toml"))]


def a_law(rng: random.Random) -> str:
    text = rng.choice(law_texts()) if rng.random() < 0.7 else SMALL_LAW
    lines = text.splitlines()
    for _ in range(rng.choice((0, 1, 1, 2, 4))):
        i = rng.randrange(len(lines))
        kind, key = rng.randrange(8), rng.choice(KEYS)
        if kind == 0:
            del lines[i]
        elif kind == 1:
            lines.insert(rng.randrange(len(lines)), lines[i])
        elif kind == 2:
            lines.insert(i, f"{key} = {rng.choice(VALUES)}")
        elif kind == 3:
            lines[i] = f"{lines[i].partition('=')[0]}= {rng.choice(VALUES)}"
        elif kind == 4:
            lines.insert(i, rng.choice((f"[{key}]", f"[[{key}]]", f"[{key}.{rng.choice(KEYS)}]")))
        elif kind == 5:
            lines[i] = lines[i].replace(rng.choice(("alpha", "E", "N", "floor", "slope")), rng.choice(KEYS))
        elif kind == 6:
            lines[i] = lines[i].partition("=")[0] + f'= "{a_formula(rng)}"'
        else:
            lines.insert(i, rng.choice(bombs())())
    return "\n".join(lines)


def bombs() -> list[Callable[[], str]]:
    return [
        lambda: ".".join("a" * 1 for _ in range(8000)) + " = 1",
        lambda: "\n".join(f'w{i} = "{" + ".join([f"w{i - 1}"] * 200) if i else "N"}"' for i in range(60)),
        lambda: "\n".join(f'p{i} = {{ dist = "Normal", mu = 0, sigma = 1 }}' for i in range(150)),
        lambda: "[where]\n" + "\n".join(f'w{i} = "w{i - 1}*w{i - 1}"' if i else 'w0 = "N"' for i in range(99)),
        lambda: "traps = [" + '"x",' * 15000 + "]",
        lambda: "x = [" + "[" * 20000 + "]" * 20000 + "]",
        lambda: "x = " + "{a=" * 5000 + "1" + "}" * 5000,
        lambda: "\n".join("[" + ".".join("ab"[i >> k & 1] for k in range(12)) + "]" for i in range(2000)),
        lambda: 'x = """' + "\\" * 9000 + '"""',
        lambda: "# " + "x" * 70000,
    ]


def make_law(rng: random.Random) -> bytes:
    return as_bytes(rng, mixed(0.6, a_law, TRICKS + VALUES + KEYS)(rng))


def bear_law(raw: bytes) -> bool:
    path = scratch("law.toml")
    path.write_bytes(raw)
    return borne(lambda: use_law(bayescale.load_law(str(path))))


def use_law(law: Any) -> None:
    """What is asked of a law before any runs: its card, its table, its constants, its priors, its page's script."""
    from bayescale.display.terminal import card, print_card, print_law_line
    from bayescale.laws.javascript import law_script
    from bayescale.laws.law import column, law_derived, law_loss, reference_constants, sample_priors

    with silent():
        print_card(law)
        print_law_line(law)
    card(law)
    str(bayescale.show(law))
    points = np.array([1e8, 1e9, 1e10])
    seen = {column(symbol): points for symbol in law.inputs} | {law.observed.column: np.array([3.0, 2.5, 2.2])}
    constants = reference_constants(law, seen)
    drawn = {name: value[:, None] for name, value in sample_priors(law, 20, np.random.default_rng(0)).items()}
    inputs = {symbol: points for symbol in law.inputs}
    law_loss(law, drawn | constants | inputs)
    law_derived(law, drawn | constants)
    law_script(law, constants)
    use_law_source(law)
