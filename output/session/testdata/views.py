"""views.py: run views.sql in the current directory, a session, and print how many rows each view has, as JSON."""
import json
import sys

import duckdb

connection = duckdb.connect()
with open("views.sql") as file:
    connection.execute(file.read())
names = [name for (name,) in connection.execute("select view_name from duckdb_views() where not internal").fetchall()]
json.dump({name: len(connection.execute(f"select * from {name}").fetchall()) for name in names}, sys.stdout)
