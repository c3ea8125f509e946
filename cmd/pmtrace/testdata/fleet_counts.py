"""Counts the rows of each table of a fleet, as one table: JSON on standard output.

    fleet_counts.py DIRECTORY        pyarrow and DuckDB, each by its own reading of the partitions
    fleet_counts.py BUCKET/PREFIX    DuckDB on what pyarrow reads over S3 (AWS_* in the environment)

Each partition's rows must also carry the partition's own session in the file's metadata.
"""
import json
import os
import sys

import duckdb
import pyarrow.dataset
import pyarrow.fs
import pyarrow.parquet

where = sys.argv[1]
if where.startswith("/"):
    store = pyarrow.fs.LocalFileSystem()
else:
    store = pyarrow.fs.S3FileSystem(
        endpoint_override=os.environ["AWS_ENDPOINT_URL"].removeprefix("http://"), scheme="http", region=os.environ["AWS_REGION"])

counts = {}
for entry in store.get_file_info(pyarrow.fs.FileSelector(where)):
    if entry.base_name.startswith("_"):
        continue
    files = pyarrow.dataset.dataset(entry.path, filesystem=store, format="parquet", partitioning="hive")
    assert {"host", "date", "session"} <= set(files.schema.names), files.schema.names
    rows = files.count_rows()
    if where.startswith("/"):
        # DuckDB has each row once, in a partition that the path names, and prunes by it.
        source = f"read_parquet('{entry.path}/*/*/*/*.parquet', hive_partitioning = true)"
        assert duckdb.sql(f"select count(*) from {source}").fetchone()[0] == rows
        by_host = duckdb.sql(f"select host, count(*) from {source} group by all").fetchall()
        assert sum(n for _, n in by_host) == rows
        for host, n in by_host:
            assert duckdb.sql(f"select count(*) from {source} where host = '{host}'").fetchone()[0] == n
    else:
        by_host = duckdb.sql("select host, count(*) from files group by all").fetchall()
        assert sum(n for _, n in by_host) == rows
    for file in files.files:
        partitions = dict(part.split("=", 1) for part in file.split("/") if "=" in part)
        metadata = pyarrow.parquet.read_metadata(file, filesystem=store).metadata or {}
        if entry.base_name != "sessions":
            assert metadata[b"session_id"].decode() == partitions["session"], file
            assert metadata[b"session_start"].decode().startswith(partitions["date"]), file
    counts[entry.base_name] = rows
print(json.dumps(counts))
