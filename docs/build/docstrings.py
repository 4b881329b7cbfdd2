"""Docstrings, written for a terminal, as Markdown that mkdocstrings reads."""

import re
from typing import Any

import griffe

ROLE = re.compile(r":(?:func|class|mod):`~?([\w.]+)`")
CODE = re.compile(r"(``.+?``|`.+?`|\[`.+?`\]\[.+?\]|>>> .*)", re.DOTALL)
SECTION = re.compile(r"^(\w+)\n-+\n(.*?)(?=^\w+\n-+\n|\Z)", re.DOTALL | re.MULTILINE)


class Docstrings(griffe.Extension):
    """Called by mkdocstrings for everything that it documents."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring is not None:
            returns = str(getattr(obj, "returns", None) or "")
            obj.docstring.value = with_sections(markdown(obj.docstring.value), returns)


def with_sections(text: str, returns: str = "") -> str:
    """Sections as the parser of numpydoc wants them.

    Ours have what a parameter means where numpydoc has its type, which the signature tells, and say what is returned in
    running text.
    """

    def rewritten(match: re.Match) -> str:
        title, body = match[1], match[2].rstrip()
        if title in ("Parameters", "Attributes"):
            body = re.sub(r"^(\S[\w, *]*?) : ", r"\1\n    ", body, flags=re.MULTILINE)
        elif title == "Returns" and returns:
            body = f"{returns}\n" + "\n".join(f"    {line}".rstrip() for line in body.splitlines())
        return f"{title}\n{'-' * len(title)}\n{body}\n\n"

    return SECTION.sub(rewritten, text)


def markdown(text: str) -> str:
    """``:func:`bayescale.fit``` as a link to where it is documented, stars outside code as they stand."""
    parts = CODE.split(ROLE.sub(lambda match: reference(match[1]), text))
    return "".join(part if i % 2 else re.sub(r"(?<=[\w)])\*", r"\*", part) for i, part in enumerate(parts))


def reference(path: str) -> str:
    """A link if it is documented, code otherwise."""
    import bayescale

    name = path.rpartition(".")[2]
    if path.startswith("bayescale.") and name in bayescale.__all__:
        # the module's name first: bayescale.forecast is a module and a function
        return f"[`{name}`][{getattr(bayescale, name).__module__}.{name}]"
    return f"`{path}`"
