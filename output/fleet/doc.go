// Package fleet puts the tables of many sessions, of many hosts, into one store, so that
// they can be queried as one table each:
//
//	TABLE/host=HOST/date=YYYY-MM-DD/session=SESSION/part-NNNNN.parquet
//
// The table comes first: then DuckDB, Spark, Trino and ClickHouse take a folder for a table
// and the rest of the path for its partitions, and leave out hosts and days that a question
// is not about. Table sessions has a row a session. What is no table begins with _, which
// those readers pass over:
//
//	_manifests/host=HOST/date=YYYY-MM-DD/session=SESSION.json   what was shipped of a session
//	_raw/host=HOST/date=YYYY-MM-DD/session=SESSION/…            its journal, where asked for
package fleet
