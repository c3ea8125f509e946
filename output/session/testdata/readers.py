"""Load every table of a session with DuckDB, pandas and pyarrow.

readers.py SESSION ROWS SCHEMAS: each table has ROWS rows (as fill makes them in
tables_test.go) and the columns and types that the golden file says.
"""
import re
import sys

import duckdb
import pandas
import pyarrow.parquet as pq

session, rows, golden = sys.argv[1], int(sys.argv[2]), sys.argv[3]

ARROW = {"int32": "int32", "int64": "int64", "uint64": "uint64", "float": "float", "double": "double", "boolean": "bool", "binary": "string"}
DUCKDB = {"int32": "INTEGER", "int64": "BIGINT", "uint64": "UBIGINT", "float": "FLOAT", "double": "DOUBLE", "boolean": "BOOLEAN", "binary": "VARCHAR"}

failures = []


def expect(what, got, want):
    if got != want:
        failures.append(f"{what}: got {got!r}, want {want!r}")


def value(kind, n, i):
    """The value of column i of row n."""
    x = n * 100 + i
    return {
        "int32": x, "int64": -(x << 33), "uint64": 2**64 - 1 - x, "float": x + 0.5, "double": x + 0.5,
        "boolean": x % 2 == 0, "binary": f"text {x} é",
    }[kind]


tables = {}
for table, body in re.findall(r"^(\w+): \w+ \{\n(.*?)^\}", open(golden).read(), re.M | re.S):
    columns = re.findall(r"^\t(required|optional) (\w+) (\w+)(?: \((.*)\))?;", body, re.M)
    tables[table] = [(rep, "u" + kind if note.endswith(",false)") else kind, name) for rep, kind, name, note in columns]
expect("tables", len(tables), 26)

for table, columns in tables.items():
    glob = f"{session}/parquet/{table}/*.parquet"
    names = [name for _, _, name in columns]

    schema = pq.read_schema(f"{session}/parquet/{table}/part-00000.parquet")
    expect(f"{table} pyarrow names", schema.names, names)
    expect(f"{table} pyarrow types", [str(t) for t in schema.types], [ARROW[kind] for _, kind, _ in columns])
    expect(f"{table} nullable", [f.nullable for f in schema], [rep == "optional" for rep, _, _ in columns])
    for key in (b"schema_version", b"session_id", b"session_start"):
        expect(f"{table} {key}", key in schema.metadata, True)

    arrow = pq.read_table(f"{session}/parquet/{table}").to_pydict()
    frame = pandas.read_parquet(f"{session}/parquet/{table}")
    expect(f"{table} pandas shape", frame.shape, (rows, len(columns)))
    relation = duckdb.sql(f"select * from '{glob}'")
    expect(f"{table} duckdb names", relation.columns, names)
    expect(f"{table} duckdb types", [str(t) for t in relation.types], [DUCKDB[kind] for _, kind, _ in columns])
    duck = relation.fetchall()
    expect(f"{table} duckdb rows", len(duck), rows)

    for n in range(rows):
        want = [None if rep == "optional" and n % 3 == 2 else value(kind, n, i) for i, (rep, kind, _) in enumerate(columns)]
        expect(f"{table} duckdb row {n}", list(duck[n]), want)
        expect(f"{table} pyarrow row {n}", [arrow[name][n] for name in names], want)
    for i, (rep, kind, name) in enumerate(columns):
        if rows:
            expect(f"{table}.{name} pandas nulls", int(frame[name].isna().sum()), rows // 3 if rep == "optional" else 0)
            expect(f"{table}.{name} pandas value", frame[name][0], value(kind, 0, i))

for line in failures[:20]:
    print(line)
print(f"{len(tables)} tables of {rows} rows, {len(failures)} differences")
sys.exit(bool(failures))
