"""BibTeX of the papers that a law and the method come from."""

import functools
import re
from collections.abc import Iterable
from pathlib import Path

import bayescale
from bayescale.laws.law_file import Law

# NUTS, leave-one-out, the discrepancy of a model from reality, sensitivity to the prior
METHOD = (
    "1111.4246",
    "10.1007/s11222-016-9696-4",
    "1507.02646",
    "10.1111/1467-9868.00294",
    "10.1007/s11222-023-10366-5",
)


@functools.cache
def entries() -> dict[str, str]:
    """Every entry of ``references.bib``, by arXiv number or DOI."""
    text = (Path(__file__).parent / "references.bib").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.startswith("@")]
    return {line.partition("{")[2].partition(",")[0]: line for line in lines}


def cited(law: Law) -> list[str]:
    """The arXiv numbers that a law's ``cite`` names, in order."""
    return list(dict.fromkeys(re.findall(r"arXiv:(\d{4}\.\d{4,5})", law.cite)))


def bibtex(keys: Iterable[str]) -> str:
    """BibTeX of these arXiv numbers and DOIs, an entry a paragraph; one that is not known is a bare arXiv entry."""
    found = []
    for key in dict.fromkeys(keys):
        entry = entries().get(key) or f"@misc{{{key}, title = {{arXiv:{key}}}, eprint = {{{key}}}}}"
        kind, _, rest = entry.partition("{")
        fields = re.sub(r", (?=[a-zA-Z]+ = \{)", ",\n  ", rest[:-1].partition(", ")[2])
        author = re.sub(r"\W", "", re.split(r"[,\s]", _field(entry, "author").lstrip("{"))[0]).lower()
        name = f"{author}{_field(entry, 'year')}" if author else f"arxiv{key}"
        found.append(f"{kind}{{{name},\n  {fields}\n}}")
    return "\n\n".join(found)


def package_bibtex() -> str:
    """BibTeX of this version of the package."""
    version = bayescale.__version__
    return (
        f"@software{{bayescale,\n  author = {{{{The bayescale developers}}}},\n"
        f"  title = {{bayescale: Bayesian scaling laws}},\n  version = {{{version}}}\n}}"
    )


def _field(entry: str, name: str) -> str:
    found = re.search(rf"{name} = \{{(.*?)\}}(?:, |\}}$)", entry)
    return found[1] if found else ""
