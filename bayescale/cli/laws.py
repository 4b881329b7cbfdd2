"""The command laws: their list, their cards, their published values."""

from typing import Annotated

import typer

from bayescale.cli.arguments import Json, Quiet, named_numbers
from bayescale.display.terminal import card, print_answer, print_card, print_json, print_law_line, print_published
from bayescale.errors import InputError


def laws(
    name: Annotated[str | None, typer.Argument(help="Name or path of a law: print its whole card.")] = None,
    at: Annotated[
        str | None,
        typer.Option(
            help="Evaluate the published constants here: params=70e9,tokens=1.4e12; of a budget, compute=5.76e23, the "
            "best split."
        ),
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """List the laws, or print one law's card: formula, priors, derived quantities, published values, traps."""
    from bayescale.laws import law as law_module

    chosen = [law_module.load_law(one) for one in ([name] if name else law_module.law_names())]
    if at is not None:
        if name is None:
            raise InputError("--at goes with a law: bayescale laws chinchilla --at params=70e9,tokens=1.4e12")
        given = named_numbers("--at", at.split(","))
        if "compute" in given and {"N", "D"} <= set(chosen[0].inputs):
            from bayescale.budgets.published import published_split, read

            budget = given.pop("compute")
            return print_answer(read(published_split(chosen[0], budget, given=given)), as_json, quiet)
        values = law_module.published_values(chosen[0], given)
        if as_json:
            print_json({"law": chosen[0].name, "at": given, chosen[0].observed.column: values})
        elif not quiet:
            print_published(chosen[0], given, values)
    elif as_json:
        cards = [card(law) for law in chosen]
        print_json(cards[0] if name else {"laws": cards})
    elif not quiet:
        for law in chosen:
            print_card(law) if name else print_law_line(law)
