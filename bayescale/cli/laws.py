"""The command laws: their list, their cards, their published values."""

from typing import Annotated

import typer

import bayescale
from bayescale.cli import options as opt
from bayescale.cli.arguments import named_numbers
from bayescale.display.terminal import card, print_card, print_json, print_law_line, print_published
from bayescale.errors import InputError


def laws(
    name: Annotated[str | None, typer.Argument(help="Name or path of a law: print its whole card.")] = None,
    *,
    at: Annotated[
        str | None,
        typer.Option(
            help="Evaluate the published constants here: params=70e9,tokens=1.4e12; of a budget, compute=5.76e23, the "
            "best split."
        ),
    ] = None,
    said: opt.Said,
) -> None:
    """List the laws, or print one law's card: formula, priors, derived quantities, published values, traps."""
    from bayescale.laws.law import published_values

    chosen = [bayescale.load_law(one) for one in ([name] if name else bayescale.law_names())]
    if at is not None:
        if name is None:
            raise InputError("--at goes with a law: bayescale laws chinchilla --at params=70e9,tokens=1.4e12")
        law, given = chosen[0], named_numbers("--at", at.split(","))
        if "compute" in given and {"N", "D"} <= set(law.inputs):
            budget = given.pop("compute")
            return said.answer(bayescale.read(bayescale.published_split(law, budget, given=given)))
        values = published_values(law, given)
        if said.as_json:
            print_json({"law": law.name, "at": given, law.observed.column: values})
        elif not said.quiet:
            print_published(law, given, values)
    elif said.as_json:
        cards = [card(law) for law in chosen]
        print_json(cards[0] if name else {"laws": cards})
    elif not said.quiet:
        for law in chosen:
            print_card(law) if name else print_law_line(law)
