"""A law whose parameters vary over groups of runs: families, corpora, recipes. Groups borrow from each other.

A parameter that varies has, for the runs of group k of K, the value x + sigma spread d_k on the real line of its prior
(the logarithm of a LogNormal, the logit of a LogitNormal). x is that of the mean group, with the prior of the law,
sigma the sd of that prior, and d_k are deviates ~ Normal(0, 1) less their mean. They are made of K - 1 orthogonal
contrasts ~ Normal(0, 1), which runs see almost apart, so that chains mix. One group more, ``new``, has no runs: its
deviate is sqrt(1 + 1/K) Normal(0, 1). The scale of the noise, sigma, may vary in the same way. Spreads are stated, not
learnt: of so few groups runs hardly tell them.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from bayescale.errors import LawError
from bayescale.field import clipped, listed, names_text
from bayescale.laws.formula import NAME_CHARACTERS_MAX, Binary, Call, Name, Node, Number, substitute
from bayescale.laws.law_tables import Derived
from bayescale.laws.limits import finite
from bayescale.laws.priors import DISTRIBUTIONS, Prior

GROUP = "group"  # the input of a grouped law: the code of a run's group
NEW = "new"  # a group that has no runs
# sd of a parameter over groups, in units of the sd of its prior: by default level and slope vary
GROUP_SPREADS = {"level": 1.0, "slope": 0.25}
OTHER_SPREAD = 0.5
NOISE_SCALE = "sigma"  # the parameter of the noise that may vary too
VARYING_GROUPS_MAX = 30  # each adds a parameter for every one that varies


@dataclass(frozen=True)
class Groups:
    """The groups of a law, and which parameters vary over them, how far, in units of the sd of their prior."""

    names: tuple[str, ...]
    by: Mapping[str, float]

    @property
    def unseen(self) -> str:
        """What the group without runs is called: ``new``, or ``another new`` where a group of the runs is called so."""
        called = NEW
        while called in map(str.casefold, self.names):
            called = f"another {called}"
        return called

    @property
    def codes(self) -> dict[str, float]:
        """Name -> the number that stands for it in runs: itself where all names are whole numbers; ``unseen`` too."""
        numbers = all(name.isdecimal() for name in self.names)
        found = {name: float(name) if numbers else float(k) for k, name in enumerate(self.names, start=1)}
        return found | {self.unseen: max(found.values()) + 1}

    @property
    def deviates(self) -> np.ndarray:
        """How contrasts make the deviate of each group [group, contrast]; the last of both is the new group's."""
        count = len(self.names)
        found = np.zeros((count + 1, count))
        for j in range(1, count):
            found[: j + 1, j - 1] = np.array([*[1.0] * j, -j]) / np.sqrt(j * (j + 1))
        found[count, count - 1] = np.sqrt(1 + 1 / count)
        return found

    def contrasts(self, parameter: str) -> list[str]:
        """Names of the contrasts of a parameter, the last that of the new group."""
        return [f"{parameter}_contrast{j}" for j in range(1, len(self.names))] + [f"{parameter}_contrast_{NEW}"]

    def own(self, parameter: str) -> list[str]:
        """Names of a parameter's value of each group."""
        plain = [re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_") for name in self.names]
        clear = len({*plain, NEW}) == len(plain) + 1 and all(plain)
        return [f"{parameter}_{end if clear else f'{GROUP}{k}'}" for k, end in enumerate(plain, start=1)]

    @property
    def of_law(self) -> list[str]:
        """Parameters of the law that vary."""
        return [name for name in self.by if name != NOISE_SCALE]

    @property
    def parameters(self) -> frozenset[str]:
        """Names of all contrasts."""
        return frozenset(name for one in self.by for name in self.contrasts(one))

    def code_of(self, group: Any) -> float:
        """The code of a group that is given by name or by code.

        Raises LawError if there is no such group.
        """
        codes = self.codes
        if isinstance(group, str) and group.strip() in codes:
            return codes[group.strip()]
        if not isinstance(group, str | bool) and group in codes.values():
            return float(group)
        raise LawError(
            f"no group {clipped(group)!r}; they are {listed(list(codes))} ('{self.unseen}' is one without runs)"
        )

    @property
    def question(self) -> str:
        """What to ask of whoever names no group."""
        return (
            f"the fit's law varies over groups; say for which group: {listed(list(self.codes))} ('{self.unseen}' is "
            "one without runs), as group=NAME (--at or --given; in Python in covariates or given)"
        )

    def name_of(self, code: float) -> str:
        return next(name for name, one in self.codes.items() if one == code)


def read_groups(table: Any, priors: Mapping[str, Prior], taken: Collection[str], place: str) -> Groups | None:
    """[groups]: ``names`` of the groups, and the spread of each parameter that varies, ``by``."""
    if table is None:
        return None
    here = f"{place}, [groups]"
    if not isinstance(table, dict) or set(table) != {"names", "by"}:
        raise LawError(f"{here}: a table with 'names' and 'by' is expected")
    names, by = table["names"], table["by"]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise LawError(f"{here}: 'names' must be a list of texts")
    check_names(names, here)
    if not isinstance(by, dict) or not by:
        raise LawError(f"{here}: 'by' must be a table, of spreads by parameter: {{ level = 1.0 }}")
    for name, spread in by.items():
        if name not in (*priors, NOISE_SCALE):
            known = names_text([*priors, NOISE_SCALE])
            raise LawError(f"{here}: '{clipped(name)}' is no parameter of the law or the noise; they are {known}")
        if not 0 < finite(spread, f"{here}: the spread of {name}") <= 10:
            raise LawError(f"{here}: the spread of {name} must be above 0 and at most 10")
    groups = Groups(tuple(names), {name: float(spread) for name, spread in by.items()})
    if not groups.of_law:
        raise LawError(f"{here}: {NOISE_SCALE} varies along with parameters of the law; name one of them in 'by' too")
    made = {
        GROUP,
        *groups.parameters,
        *(f"{one}_here" for one in by),
        *(name for one in by for name in groups.own(one)),
    }
    if clash := made & set(taken):
        raise LawError(f"{here}: the law has names of its own that groups need: {names_text(clash)}")
    return groups


def check_names(found: Collection[str], place: str) -> None:
    """Refuse names of groups that are none, too many or not to be told apart."""
    if not 2 <= len(set(found)) == len(found) <= VARYING_GROUPS_MAX:
        raise LawError(
            f"{place}: {len(set(found))} group(s); 2 to {VARYING_GROUPS_MAX} different ones can vary together"
        )
    for name in found:
        if not (0 < len(name) <= NAME_CHARACTERS_MAX and name.isprintable() and name == name.strip()):
            raise LawError(f"{place}: {clipped(name)!r} is no name of a group: 1 to {NAME_CHARACTERS_MAX} characters")


def grouped_priors(groups: Groups, priors: Mapping[str, Prior]) -> dict[str, Prior]:
    """Those of the law, then of the contrasts of each of its parameters that varies."""
    return dict(priors) | {name: prior for one in groups.of_law for name, prior in contrast_priors(groups, one).items()}


def contrast_priors(groups: Groups, one: str) -> dict[str, Prior]:
    """Priors of the contrasts of a parameter that varies."""
    about = f"contrast of groups in {one}, which differ by {groups.by[one]:g} of its prior's sd"
    return {name: Prior("Normal", {"mu": 0.0, "sigma": 1.0}, about) for name in groups.contrasts(one)}


def moved(groups: Groups, parameter: str, prior: Prior, group: int | None = None) -> Node:
    """A parameter for one group, by its place, or for the group of a run, as a formula."""
    shift: Node = Number(0.0)
    for name, weights in zip(groups.contrasts(parameter), groups.deviates.T, strict=True):
        weight = Number(float(weights[group])) if group is not None else _by_run(groups, weights)
        shift = Binary("+", shift, Binary("*", Name(name), weight))
    unit = prior.params["sigma"] if prior.dist in ("Normal", "LogNormal", "LogitNormal") else 1.0
    known = {key: Number(value) for key, value in prior.params.items()}
    distribution = DISTRIBUTIONS[prior.dist]
    real = substitute(distribution.real, known | {"x": Name(parameter)})
    at = Binary("+", real, Binary("*", Number(unit * groups.by[parameter]), shift))
    return substitute(distribution.value, known | {"u": at})


def _by_run(groups: Groups, weights: np.ndarray) -> Node:
    """The weight of the group of a run, as a formula of its code."""
    found: Node = Number(0.0)
    for code, weight in zip(groups.codes.values(), weights, strict=True):
        if weight:
            apart = Binary("**", Binary("-", Name(GROUP), Number(code)), Number(2.0))
            same = Call("maximum", (Number(0.0), Binary("-", Number(1.0), apart)))
            found = Binary("+", found, Binary("*", Number(float(weight)), same))
    return found


def grouped_trees(
    groups: Groups, where: Mapping[str, Node], trees: Mapping[str, Node], priors: Mapping[str, Prior]
) -> tuple[dict[str, Node], dict[str, Node]]:
    """Sub-expressions and other trees of a law, with the parameter of a run's group in the place of the typical one."""
    here = {one: Name(f"{one}_here") for one in groups.of_law}
    first = {f"{one}_here": moved(groups, one, priors[one]) for one in groups.of_law}
    moved_where, moved_trees = ({key: substitute(tree, here) for key, tree in some.items()} for some in (where, trees))
    return first | moved_where, moved_trees


def grouped_derived(
    groups: Groups, where: Mapping[str, Node], derived: Mapping[str, Derived], priors: Mapping[str, Prior]
) -> dict[str, Derived]:
    """Derived quantities by parameters alone: those of the mean group, and parameters that vary, of each group."""
    known: dict[str, Node] = {}
    for key, tree in where.items():
        known[key] = substitute(tree, known)
    found = {key: Derived(one.formula, substitute(one.tree, known), one.about) for key, one in derived.items()}
    return found | {
        name: value for one in groups.of_law for name, value in own_values(groups, one, priors[one]).items()
    }


def own_values(groups: Groups, one: str, prior: Prior) -> dict[str, Derived]:
    """The value that a parameter has for each group, as derived quantities."""
    return {
        name: Derived(name, moved(groups, one, prior, k), f"{one} of {group}")
        for k, (group, name) in enumerate(zip(groups.names, groups.own(one), strict=True))
    }


def words_of(groups: Groups) -> dict[str, str]:
    """What is said of the parameters that vary, where the sub-expressions of a law are listed."""
    return {
        f"{one}_here": f"{one} of the group of a run ({listed(list(groups.names))}); {one} is that of their mean"
        for one in groups.of_law
    }


def with_codes(groups: Groups | None, given: Mapping[str, Any]) -> dict[str, Any]:
    """Values of inputs, with the code of a group in the place of its name."""
    given = dict(given)
    if groups is None or GROUP not in given:
        return given
    value = given[GROUP]
    several = not isinstance(value, str) and hasattr(value, "__len__")
    return given | {GROUP: [groups.code_of(one) for one in value] if several else groups.code_of(value)}


def group_of(law: Any, inputs: Mapping[str, float]) -> dict[str, str]:
    """The name of the group among the inputs of a question, where there is one: its code is that of one law only."""
    return {GROUP: law.groups.name_of(inputs[GROUP])} if law.groups and GROUP in inputs else {}
