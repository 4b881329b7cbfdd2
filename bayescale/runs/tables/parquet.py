"""Parquet: sizes are looked at first, texts stay in their dictionaries; lists and records are no columns of runs."""

import pandas as pd

from bayescale.errors import RunsError, needed
from bayescale.runs.tables.limits import UNPACKED_TIMES_MAX, check_headings, check_size, check_unpacked

FIRST_BYTES = b"PAR1"  # the first bytes of every such file


def read_parquet(content: bytes, where: str) -> pd.DataFrame:
    """The flat columns of a parquet file.

    Raises
    ------
    RunsError
        If it is damaged or too large, or pyarrow is not installed.
    """
    with needed("pyarrow", f"{where}: reading parquet", "parquet"):
        import pyarrow as pa
        import pyarrow.parquet as pq
    try:
        with pq.ParquetFile(pa.BufferReader(content)) as file:
            about, schema = file.metadata, file.schema_arrow
            check_size(about.num_rows, len(schema), where)
            size = sum(about.row_group(i).total_byte_size for i in range(about.num_row_groups))
            check_unpacked(size, where, UNPACKED_TIMES_MAX)
        flat = [field.name for field in schema if not pa.types.is_nested(field.type)]
        texts = [name for name in flat if pa.types.is_string(schema.types[schema.names.index(name)])]
        flat = [name for name in flat if not name.startswith("__index_level_")]
        batches, size = [], 0
        with pq.ParquetFile(pa.BufferReader(content), read_dictionary=texts) as file:
            for batch in file.iter_batches(batch_size=10_000, columns=flat):
                batches.append(batch)
                size += batch.nbytes
                check_unpacked(size, where, UNPACKED_TIMES_MAX)
        frame = pd.DataFrame({name: [] for name in flat})
        if batches:
            table = pa.Table.from_batches(batches)
            table.validate(full=True)  # else a text that is no UTF-8 fails where it is first looked at
            frame = table.to_pandas(ignore_metadata=True)
    except RunsError:
        raise
    except Exception:  # pyarrow and pandas each raise their own kinds on a damaged file
        raise RunsError(f"{where}: not a readable parquet file; it may be truncated or of another format") from None
    check_headings(list(frame.columns), where)
    return frame.reset_index(drop=True)
