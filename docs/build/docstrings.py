"""Docstrings, written for a terminal, as Markdown: references become links, the star of N* does not start italics."""

import re
from typing import Any

import griffe

ROLE = re.compile(r":(?:func|class|mod):`~?([\w.]+)`")
CODE = re.compile(r"(``.+?``|`.+?`|\[`.+?`\]\[.+?\]|>>> .*)", re.DOTALL)


class Docstrings(griffe.Extension):
    """Called by mkdocstrings for everything that it documents."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = markdown(obj.docstring.value)


def markdown(text: str) -> str:
    """``:func:`bayescale.fit``` as a link to where it is documented, stars and brackets outside code as they stand."""
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
