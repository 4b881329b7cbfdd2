"""A tree of numbers and texts -> NetCDF, and back: nothing else of a file is decoded, or larger than in the file.

HDF5 lets a file of a kilobyte unpack to a terabyte: by compression, by data that were never written, by many cells or
attributes that share one text, by texts that claim to be long, by numbers that unpack others (``scale_factor``). It
also takes data out of other files, and loads programs to do so. So only what stands in the file byte for byte is read,
and sizes come first, in one pass over the directory: all data together are at most the size of the file.
"""

import io
import math
import mmap
import os
import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from bayescale.errors import BayescaleError

BYTES_MAX = 600_000_000  # of a file, and so of its data
OBJECTS_MAX = 3000  # groups and variables
REFERENCES_MAX = 3 * OBJECTS_MAX  # of dimensions to variables
ATTRIBUTES_MAX = 100  # of one object, and names of them in a file
ITEMS_MAX = 1000  # numbers of one attribute
TEXT_BYTES_MAX = 20_000_000  # of all attributes
DIMENSIONS = "REFERENCE_LIST"  # an attribute of a dimension: the variables that have it
OF_NETCDF = {DIMENSIONS, "DIMENSION_LIST", "CLASS", "NAME", "_Netcdf4Dimid", "_Netcdf4Coordinates", "_NCProperties"}
UNPACKING = {"scale_factor", "add_offset", "missing_value", "_Unsigned", "_Encoding"}
CELL = np.dtype([("length", "<u4"), ("heap", "<u8"), ("entry", "<u4")])  # of a text, which stands in a "global heap"
ENTRY = struct.Struct("<H6xQ")  # of such a heap: its number, and how long its text is; the head of a heap is as long
NO_VARIABLE = "This is a netCDF dimension but not a netCDF variable."  # the words of NetCDF's own library
NOT_OURS = "not a fit saved by bayescale"
ELSEWHERE = "damaged: it refers to other places or files; a fit holds all its data itself"


class NetcdfError(BayescaleError):
    """A file that is not read, and why."""


def tree_bytes(tree: xr.DataTree) -> bytes:
    """The content of a NetCDF file that holds a tree as it is, as xarray would write it, in a tenth of its time.

    Raises ValueError or TypeError if a name or a value has no place in such a file.
    """
    import h5py

    buffer = io.BytesIO()
    with h5py.File(buffer, "w", track_order=True) as file:
        for path, node in (("/", tree), *tree.children.items()):
            group = file if path == "/" else file.create_group(path, track_order=True)
            _write_group(group, node.to_dataset(inherit=False))
    return buffer.getvalue()


def _write_group(group: Any, data: xr.Dataset) -> None:
    import h5py

    group.attrs.update(data.attrs)
    for dim in set(data.sizes) - set(data.variables):
        group.create_dataset(dim, (data.sizes[dim],), ">f4").make_scale(f"{NO_VARIABLE}{data.sizes[dim]:10}")
    made = {}
    for name, variable in data.variables.items():
        if "/" in str(name):
            raise ValueError(f"the name {str(name)[:60]!r} has a slash")
        values = variable.values
        text, truth = values.dtype.kind in "OU", values.dtype.kind == "b"
        values = values.astype(object) if text else values.astype(np.int8) if truth else values
        made[name] = group.create_dataset(name, data=values, dtype=h5py.string_dtype() if text else None)
        made[name].attrs.update(variable.attrs | ({"dtype": "bool"} if truth else {}))
    for name in made.keys() & data.sizes:
        made[name].make_scale(name)
    for name, variable in data.variables.items():
        for axis, dim in enumerate(variable.dims):
            if name != dim:
                made[name].dims[axis].attach_scale(group[dim])


@dataclass(frozen=True)
class _Source:
    """The bytes of a file, and where in them texts are kept."""

    content: Any
    heaps: frozenset[int]


def read_tree(path: "str | os.PathLike[str]") -> xr.DataTree:
    """A file in memory: its groups, variables, dimensions and attributes, as xarray reads them but for unpacking.

    Raises NetcdfError if it is too large, packed, refers to other files, or holds something else than numbers and
    texts. Where HDF5 makes no sense of it, exceptions of whatever kind.
    """
    import h5py

    if os.path.getsize(path) > BYTES_MAX:
        raise NetcdfError(f"larger than {BYTES_MAX // 1_000_000} MB: {NOT_OURS}")
    with open(path, "rb") as raw:
        head = raw.read(16)
        sizes = head[13:15] if head[8:9] < b"\x02" else head[9:11]
        if not head.startswith(b"\x89HDF\r\n\x1a\n") or sizes != b"\x08\x08":  # bytes of an address, and of a length
            raise ValueError("not an HDF5 file as NetCDF has them")
        with mmap.mmap(raw.fileno(), 0, access=mmap.ACCESS_READ) as content, h5py.File(path, "r") as file:
            source = _Source(content, _heaps(content))
            groups = _directory(file)
            _check_sizes(groups, source)
            dims = _dims(groups)
            return xr.DataTree.from_dict({group.name: _dataset(group, dims) for group in groups})


def _heaps(content: Any) -> frozenset[int]:
    """Where texts are kept. HDF5 walks from entry to entry, too, and where one says that it has no length for ever."""
    if any(found[1] != b"\0\0" for found in re.finditer(rb"FRHP\0.\0(..)", content, re.DOTALL)):
        raise NetcdfError(f"its attributes are packed: {NOT_OURS}")
    heaps, at = [], content.find(b"GCOL\x01")
    while at >= 0:
        end, here = at + _whole(content, at + 8, 8), at + ENTRY.size
        while ENTRY.size <= end - here and end <= len(content):
            entry, size = ENTRY.unpack_from(content, here)
            here += ENTRY.size + -(-size // 8) * 8 if entry else size or len(content)
        if not here <= end <= len(content):
            raise ValueError("a place where texts are kept makes no sense, or ends after the file")
        heaps.append(at)
        at = content.find(b"GCOL\x01", end)  # they lie apart: no byte is walked over twice
    return frozenset(heaps)


def _whole(content: Any, start: int, size: int) -> int:
    return int.from_bytes(content[start : start + size], "little")


# ---- the directory: what there is, and how large --------------------------------------------------------------------


def _directory(file: Any) -> list[Any]:
    """The file and its groups; links that do not stay in the file are refused, and groups within groups."""
    import h5py

    groups = [file, *(child for child in _children(file) if isinstance(child, h5py.Group))]
    if any(isinstance(child, h5py.Group) for group in groups[1:] for child in _children(group)):
        raise NetcdfError("damaged: groups within its groups")
    if sum(map(len, groups)) > OBJECTS_MAX:
        raise NetcdfError(f"more than {OBJECTS_MAX} groups and variables: {NOT_OURS}")
    return groups


def _children(group: Any) -> list[Any]:
    import h5py

    if len(group) > OBJECTS_MAX:
        raise NetcdfError(f"more than {OBJECTS_MAX} groups and variables: {NOT_OURS}")
    if not all(isinstance(group.get(name, getlink=True), h5py.HardLink) for name in group):
        raise NetcdfError(ELSEWHERE)
    return [group[name] for name in group]


def _variables(group: Any, bare: bool = False) -> list[Any]:
    """Those of a group; only if ``bare`` with the empty ones that NetCDF writes for dimensions without coordinates."""
    import h5py

    found = [child for child in _children(group) if isinstance(child, h5py.Dataset)]
    return [one for one in found if bare or one.id.get_storage_size() or "CLASS" not in one.attrs]


def _check_sizes(groups: list[Any], source: _Source) -> None:
    """Add up what would be read; refuse what comes to more than the file has, and what is neither number nor text."""
    variables = [variable for group in groups for variable in _variables(group)]
    if sum(_size(variable, source) for variable in variables) > len(source.content):
        raise NetcdfError(f"its data would be larger than the file that they are in: {NOT_OURS}")
    attributes = [one for place in (*groups, *variables) for one in _attribute_sizes(place)]
    names = {name for name, size in attributes if size is None}
    if len(names) > ATTRIBUTES_MAX:
        raise NetcdfError(f"attributes of more than {ATTRIBUTES_MAX} names: {NOT_OURS}")
    claims = {name: _claim(name, source) for name in names}
    if sum(claims[name] if size is None else size for name, size in attributes) > TEXT_BYTES_MAX:
        raise NetcdfError(f"its attributes come to more than {TEXT_BYTES_MAX // 1_000_000} MB: {NOT_OURS}")


def _size(variable: Any, source: _Source) -> int:
    """Bytes of the numbers, or of the texts, of a variable."""
    import h5py

    kind, how = variable.id.get_type(), variable.id.get_create_plist()
    text = kind.get_class() == h5py.h5t.STRING and kind.is_variable_str()
    if not text and (kind.get_class() not in (h5py.h5t.INTEGER, h5py.h5t.FLOAT) or kind.get_size() > 8):
        raise NetcdfError(f"the variable {variable.name[:60]!r} holds neither numbers nor text: {NOT_OURS}")
    if how.get_layout() == h5py.h5d.VIRTUAL or how.get_external_count():
        raise NetcdfError(ELSEWHERE)
    size = math.prod(variable.shape) * (CELL.itemsize if text else kind.get_size())
    if size and (how.get_layout() == h5py.h5d.CHUNKED or variable.id.get_storage_size() != size):
        raise NetcdfError(
            f"the variable {variable.name[:60]!r} is packed; a fit is saved as it is, without compression"
        )
    if not text or not size:
        return size
    start = variable.id.get_offset() or 0
    return _length(np.frombuffer(source.content[start : start + size], CELL), source)


def _length(cells: np.ndarray, source: _Source) -> int:
    """Of all texts together that cells say to have."""
    places = set(np.unique(cells["heap"]).tolist()) - source.heaps
    if any(source.content[place : place + 4] == b"GCOL" for place in places):  # which has not been walked over
        raise ValueError("a text that stands where none can")
    return int(cells["length"].sum(dtype=np.int64))


def _attribute_sizes(place: Any) -> Iterator[tuple[str, int | None]]:
    """Attributes with their bytes; None for a text that stands elsewhere in the file."""
    import h5py

    if len(place.attrs) > ATTRIBUTES_MAX:
        raise NetcdfError(f"more than {ATTRIBUTES_MAX} attributes at one place: {NOT_OURS}")
    for name in sorted(set(place.attrs) - OF_NETCDF):
        about = place.attrs.get_id(name)
        kind, count = about.get_type(), math.prod(about.shape or ())
        text = kind.get_class() == h5py.h5t.STRING
        if name in UNPACKING:
            raise NetcdfError(f"{place.name[:60]!r} is packed ({name}); a fit is saved as it is")
        if not text and kind.get_class() not in (h5py.h5t.INTEGER, h5py.h5t.FLOAT):
            raise NetcdfError(f"the attribute {name[:60]!r} holds neither numbers nor text: {NOT_OURS}")
        if count > ITEMS_MAX:
            raise NetcdfError(f"the attribute {name[:60]!r} is larger than any of a fit saved by bayescale")
        yield name, None if text and kind.is_variable_str() else count * kind.get_size()


def _claim(name: str, source: _Source) -> int:
    """The largest length that an attribute of this name claims for its texts, wherever in the file it may stand.

    HDF5 makes room for what is claimed before it looks for the text, and tells nobody how much that is. Before its name
    an attribute has the sizes of name, type and shape; behind these stands the claim, as in the cells of a variable.
    """
    content, own, most = source.content, name.encode("utf-8", "surrogateescape") + b"\0", 0
    at = content.find(own, ENTRY.size)
    while at >= 0:
        for head, step, known in ((8, 8, 1), (8, 1, 2), (9, 1, 3)):  # each part ends at a multiple of the step
            version, flags, *parts = struct.unpack_from("<BBHHH", content, at - head)
            if version == known and parts[0] == len(own):
                shape, start = (at + sum(-(-part // step) * step for part in parts[:i]) for i in (2, 3))
                cells = np.frombuffer(content[start : start + _count(content, shape) * CELL.itemsize], CELL)
                most = max(most, _length(cells, source))
                if flags and version > 1:  # type or shape somewhere else
                    raise ValueError("an attribute that is not as NetCDF has it")
        at = content.find(own, at + 1)
    return most


def _count(content: Any, start: int) -> int:
    """How many there are by a shape that is written there."""
    version, rank, _, kind = content[start : start + 4]
    if version == 2 and kind == 2:  # none at all
        return 0
    dims = struct.unpack_from(f"<{min(rank, 8)}Q", content, start + (8 if version == 1 else 4))
    return min(math.prod(dims), ITEMS_MAX)


# ---- what it says ---------------------------------------------------------------------------------------------------


def _dims(groups: list[Any]) -> dict[tuple[int, int], str]:
    """{(address of a variable, axis): dimension}: each dimension has a list of the variables that have it."""
    import h5py

    dims: dict[tuple[int, int], str] = {}
    left = REFERENCES_MAX
    for variable in (variable for group in groups for variable in _variables(group, bare=True)):
        if DIMENSIONS in variable.attrs:
            about = variable.attrs.get_id(DIMENSIONS)
            left -= math.prod(about.shape or ())
            if about.get_type().get_class() != h5py.h5t.COMPOUND or left < 0:
                raise NetcdfError("damaged: its dimensions make no sense")
            for reference, axis in variable.attrs[DIMENSIONS]:
                try:
                    key = _address(h5py.h5r.dereference(reference, about)), int(axis)
                except (KeyError, OSError, RuntimeError, ValueError):  # of a variable that has been removed
                    continue
                if dims.setdefault(key, _name(variable)) != _name(variable):
                    raise NetcdfError("damaged: its dimensions make no sense")
    return dims


def _address(place: Any) -> int:
    import h5py

    return h5py.h5o.get_info(place).addr


def _name(variable: Any) -> str:
    return variable.name.rpartition("/")[2]


def _dataset(group: Any, dims: Mapping[tuple[int, int], str]) -> xr.Dataset:
    found = {_name(variable): _variable(variable, dims) for variable in _variables(group)}
    return xr.Dataset(found, attrs=_attributes(group))


def _variable(variable: Any, dims: Mapping[tuple[int, int], str]) -> xr.Variable:
    own = [dims.get((_address(variable.id), axis)) for axis in range(variable.ndim)]
    own = [_name(variable)] if own == [None] else own  # a dimension itself
    if None in own:
        raise NetcdfError(f"damaged: the variable {variable.name[:60]!r} has no dimensions")
    values, attrs = _values(variable), _attributes(variable)
    fill = attrs.pop("_FillValue", math.nan)
    if not (isinstance(fill, float) and math.isnan(fill)):  # stands for numbers that are missing
        raise NetcdfError(f"{variable.name[:60]!r} is packed (_FillValue); a fit is saved as it is")
    if attrs.get("dtype") == "bool" and values.dtype.kind in "iu":
        del attrs["dtype"]
        values = values.astype(bool)
    return xr.Variable(own, values, attrs)


def _values(variable: Any) -> np.ndarray:
    if variable.dtype.kind == "O":
        return np.asarray(variable.asstr()[...], dtype=object)
    values = variable[...]
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def _attributes(place: Any) -> dict[str, Any]:
    """Texts and numbers as those of Python; lists of texts, arrays of numbers."""
    return {name: _plain(place.attrs[name]) for name in place.attrs if name not in OF_NETCDF}


def _plain(value: Any) -> Any:
    import h5py

    if isinstance(value, h5py.Empty | bytes | str):
        return "" if isinstance(value, h5py.Empty) else _text(value)
    values = np.asarray(value)
    if values.dtype.kind in "OS":
        return [_text(one) for one in values.ravel()]
    return values.item() if values.size == 1 else values


def _text(raw: bytes | str) -> str:
    return raw if isinstance(raw, str) else raw.split(b"\0")[0].decode("utf-8")
