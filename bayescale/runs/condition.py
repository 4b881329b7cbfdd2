"""Conditions on the columns of a table: ``state == "finished" and lr > 1e-4``, parsed and looked up, never executed."""

import ast
import operator
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from bayescale.errors import RunsError
from bayescale.field import SUFFIXES, clipped
from bayescale.runs.cells import as_numbers, counted, texts_of
from bayescale.runs.spellings import RENAMED_COLUMNS, plainly
from bayescale.runs.tables.formats import Table
from bayescale.runs.tables.limits import heading

MAX_LENGTH = 2000
MAX_DEPTH = 40
COLUMNS_SHOWN_MAX = 20
QUOTED = re.compile(r"('[^']*'|\"[^\"]*\"|`[^`]*`)")
SIZE = re.compile(r"(?<![\w.])([0-9]+\.?[0-9]*|\.[0-9]+)([KMBT])(?!\w)")  # 1.5B
EQUAL = {ast.Eq: operator.eq, ast.NotEq: operator.ne}
ORDER = {ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge}
OPERATIONS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}
ALLOWED = "columns, numbers, texts in quotes, + - * /, == != < <= > >=, in, and, or, not"


@dataclass(frozen=True)
class Rows:
    """For which rows a condition holds, and for which it does not [row]; neither where a number is missing."""

    yes: np.ndarray
    no: np.ndarray


@dataclass(frozen=True)
class Condition:
    """A condition on the rows of a table.

    Attributes
    ----------
    text : as the user writes it; a column of any name stands in backticks
    table : whose rows are asked
    roles : role -> column, so that ``params`` may be written for the column read as params
    factors : role -> what its column is multiplied by
    """

    text: str
    table: Table
    roles: Mapping[str, Any]
    factors: Mapping[str, float]

    def rows(self) -> Rows:
        """The answer for every row.

        Raises
        ------
        RunsError
            If the text is no condition, or names no column.
        """
        if len(self.text) > MAX_LENGTH:
            raise RunsError(f"a condition of {len(self.text)} characters; at most {MAX_LENGTH} are allowed")
        quoted: dict[str, str] = {}
        pieces = QUOTED.split(self.text)
        for position, piece in enumerate(pieces):
            if piece.startswith("`"):
                quoted[f"column_in_backticks_{position}"] = piece[1:-1]
                pieces[position] = f" column_in_backticks_{position} "
            elif not piece.startswith(("'", '"')):
                pieces[position] = SIZE.sub(lambda found: f"{found[1]}e{dict(SUFFIXES)[found[2]]}", piece)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # SyntaxWarning of odd literals
                tree = ast.parse("".join(pieces).strip(), mode="eval").body
        except (SyntaxError, ValueError, MemoryError, RecursionError):
            raise RunsError(f"{self._shown()} is not a condition; allowed are {ALLOWED}") from None
        with np.errstate(all="ignore"):
            return self._rows(tree, quoted, 0)

    def _shown(self) -> str:
        return f"where {clipped(self.text, 100)!r}"

    def _refused(self, node: ast.AST) -> RunsError:
        part = clipped(type(node).__name__)
        return RunsError(f"{self._shown()}: {part} is not allowed in a condition; allowed are {ALLOWED}")

    def _rows(self, node: ast.expr, quoted: Mapping[str, str], depth: int) -> Rows:
        if depth > MAX_DEPTH:
            raise RunsError(f"{self._shown()}: nested more than {MAX_DEPTH} deep")
        match node:
            case ast.BoolOp(op=op, values=parts):
                found = [self._rows(part, quoted, depth + 1) for part in parts]
                yes, no = [one.yes for one in found], [one.no for one in found]
                if isinstance(op, ast.And):
                    return Rows(np.logical_and.reduce(yes), np.logical_or.reduce(no))
                return Rows(np.logical_or.reduce(yes), np.logical_and.reduce(no))
            case ast.UnaryOp(op=ast.Not(), operand=part):
                inner = self._rows(part, quoted, depth + 1)
                return Rows(inner.no, inner.yes)
            case ast.Compare(left=left, ops=ops, comparators=others):
                sides = [left, *others]
                found = [
                    self._compared(op, *pair, quoted)
                    for op, pair in zip(ops, zip(sides, others, strict=False), strict=True)
                ]
                return Rows(
                    np.logical_and.reduce([one.yes for one in found]), np.logical_or.reduce([one.no for one in found])
                )
        raise self._refused(node)

    def _compared(self, op: ast.cmpop, left: ast.expr, right: ast.expr, quoted: Mapping[str, str]) -> Rows:
        if isinstance(op, ast.In | ast.NotIn):
            if not isinstance(right, ast.List | ast.Tuple | ast.Set) or not right.elts:
                raise RunsError(f"{self._shown()}: after 'in' a list is expected, such as ['finished', 'done']")
            found = [self._compared(ast.Eq(), left, one, quoted) for one in right.elts]
            yes, no = np.logical_or.reduce([one.yes for one in found]), np.logical_and.reduce([one.no for one in found])
            return Rows(yes, no) if isinstance(op, ast.In) else Rows(no, yes)
        if type(op) in EQUAL and (_is_text(left) or _is_text(right)):
            yes = EQUAL[type(op)](self._texts(left, quoted), self._texts(right, quoted))
        elif type(op) in EQUAL | ORDER:
            if _is_text(left) or _is_text(right):
                raise RunsError(f"{self._shown()}: < and > compare numbers; of a text only == and != are asked")
            a, b = self._numbers(left, quoted, 0), self._numbers(right, quoted, 0)
            known = np.broadcast_to(~(np.isnan(a) | np.isnan(b)), len(self.table.frame))
            yes = np.broadcast_to((EQUAL | ORDER)[type(op)](a, b), len(known))
            return Rows(yes & known, ~yes & known)
        else:
            raise self._refused(op)
        yes = np.broadcast_to(yes, len(self.table.frame))
        return Rows(yes, ~yes)

    def _texts(self, node: ast.expr, quoted: Mapping[str, str]) -> Any:
        """A text, or the cells of a column as texts [row]."""
        if isinstance(node, ast.Constant) and isinstance(node.value, str | bool):
            return str(node.value)
        name = self._column(node, quoted)
        return np.array(texts_of(self.table.frame[self.roles.get(name, name)]), dtype=object)

    def _numbers(self, node: ast.expr, quoted: Mapping[str, str], depth: int) -> np.ndarray:
        """A number, or those of a column, NaN where there is none [row]."""
        if depth > MAX_DEPTH:
            raise RunsError(f"{self._shown()}: nested more than {MAX_DEPTH} deep")
        match node:
            case ast.Constant(value=value) if isinstance(value, int | float):
                try:
                    return np.asarray(float(value))
                except OverflowError:
                    return np.asarray(np.inf)
            case ast.UnaryOp(op=ast.USub(), operand=part):
                return -self._numbers(part, quoted, depth + 1)
            case ast.BinOp(left=left, op=op, right=right) if type(op) in OPERATIONS:
                sides = (self._numbers(side, quoted, depth + 1) for side in (left, right))
                return OPERATIONS[type(op)](*sides)
        name = self._column(node, quoted)
        if name in self.roles:
            return counted(self.table.frame[self.roles[name]], self.factors[name])
        numbers = as_numbers(self.table.frame[name])
        if len(numbers) and np.isnan(numbers).all():
            raise RunsError(f"{self._shown()}: the column {heading(name)} has no numbers; put a text in quotes")
        return numbers

    def _column(self, node: ast.expr, quoted: Mapping[str, str]) -> Any:
        """The column, or the role, that a name or a path such as optim.lr means."""
        path, part = [], node
        while isinstance(part, ast.Attribute):
            path.append(part.attr)
            part = part.value
        if not isinstance(part, ast.Name):
            raise self._refused(node)
        name = quoted.get(part.id, ".".join([part.id, *reversed(path)]))
        found = columns_called(name, self.table, self.roles)
        if len(found) == 1:
            return found[0]
        problem = "could be several columns" if found else "is no column"
        shown = f"the columns are {columns_text(self.table)} (a name with other signs in `)"
        raise RunsError(f"{self._shown()}: {clipped(name)} {problem}; {shown}")


def columns_called(name: Any, table: Table, roles: Mapping[str, Any]) -> list[Any]:
    """The column, or else the role, of this name; else columns whose names differ from it in capitals and signs alone.

    A column that runs call by another name has both.
    """
    columns = list(table.frame.columns)
    alike = [one for one in columns if plainly(name) in (plainly(one), plainly(RENAMED_COLUMNS.get(one, one)))]
    return [one for one in columns if one == name] or [one for one in roles if one == name] or alike


def columns_text(table: Table) -> str:
    return ", ".join(clipped(one, 40) for one in table.frame.columns[:COLUMNS_SHOWN_MAX])


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str | bool)
