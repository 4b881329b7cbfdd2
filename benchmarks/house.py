"""The size of the package: lines by room, and what is longer or takes more than it should.

    python -m benchmarks.house

Exit status 1 if a module has more than LINES_MAX lines, a function more than FUNCTION_LINES_MAX (docstring counted) or
more than PARAMETERS_MAX parameters. Public functions and commands may take more parameters: their callers name them.
"""

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import bayescale
from bayescale.cli.main import app

PACKAGE = Path(__file__).resolve().parent.parent / "bayescale"
LINES_MAX = 350
FUNCTION_LINES_MAX = 80
PARAMETERS_MAX = 8


def modules() -> dict[str, str]:
    """Text of every module, by its path in the package."""
    return {str(path.relative_to(PACKAGE)): path.read_text(encoding="utf-8") for path in sorted(PACKAGE.rglob("*.py"))}


def functions(text: str) -> Iterator[ast.FunctionDef]:
    """Every function and method of a module, also those inside others."""
    return (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def parameters(function: ast.FunctionDef) -> int:
    """How many parameters a function takes, self not counted."""
    given = function.args
    names = [one.arg for one in (*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg) if one]
    return len([name for name in names if name not in ("self", "cls")])


def too_large() -> dict[str, int]:
    """What breaks a limit, with its number: a module, or module:function, and what it has too many of."""
    commands = {command.callback.__name__ for command in app.registered_commands}
    found = {}
    for module, text in modules().items():
        lines = len(text.splitlines())
        if lines > LINES_MAX:
            found[f"{module}, lines"] = lines
        for function in functions(text):
            lines = function.end_lineno - function.lineno + 1
            if lines > FUNCTION_LINES_MAX:
                found[f"{module}:{function.name}, lines"] = lines
            public = function.name in (commands if module.startswith("cli/") else bayescale.__all__)
            if parameters(function) > PARAMETERS_MAX and not public:
                found[f"{module}:{function.name}, parameters"] = parameters(function)
    return found


def main() -> None:
    rooms = Counter()
    for module, text in modules().items():
        rooms[module.split("/")[0] if "/" in module else "ground floor"] += len(text.splitlines())
    for room, lines in sorted(rooms.items()):
        print(f"{lines:7,} {room}")
    print(f"{rooms.total():7,} lines in all\n")
    print(f"above {LINES_MAX} lines a module, {FUNCTION_LINES_MAX} lines or {PARAMETERS_MAX} parameters a function:")
    found = too_large()
    for what, number in sorted(found.items()):
        print(f"{number:7,} {what}")
    print(f"{len(found):7,} in all")
    raise SystemExit(int(bool(found)))


if __name__ == "__main__":
    main()
