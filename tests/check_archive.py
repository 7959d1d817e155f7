#!/usr/bin/env python3
"""Checks an archive with readers that share no code with the program: pyarrow and DuckDB.

    check_archive.py ROOT [--input FILE ...] [--used N] [--stats FILE ...] [--anomalies FILE ...]
                     [--meter FIELD] [--time FIELD] [--status FIELD] [--channel NAME[=FIELD] ...]

ROOT is the folder of the archive. Inputs are JSON lines, plain or gzip, as the program read them: every archived reading
must be the line at its offset, none twice. `--used` is how many there must be (default: each line of the inputs).
`--stats` and `--anomalies` are what the sinks of these names wrote: the archive must have the same rows.
Needs pyarrow and duckdb. Prints one line a check and ends with 1 at the first that fails.
"""

import argparse
import datetime
import gzip
import json
import math
import pathlib
import sys

import duckdb
import pyarrow.dataset as ds
import pyarrow.parquet as pq

EXPECTED = {
    "readings": (["meter", "time"], ["source", "partition", "offset", "status"]),
    "stats": (["meter", "window_start"], ["channel", "window_end", "count", "mean", "stddev", "min", "max", "revision"]),
    "anomalies": (["meter", "time"], ["id", "kind", "anomaly_kind", "severity", "score", "threshold", "detector", "late"]),
}


def check(condition, message):
    if not condition:
        sys.exit(f"FAILED: {message}")


def passed(message):
    print(f"ok: {message}")


def milliseconds(column):
    """Milliseconds since the epoch: what a TIMESTAMP(MILLIS, UTC) holds."""
    check(str(column.type) == "timestamp[ms, tz=UTC]", f"a time is of the type {column.type}")
    return column.cast("int64")


def files_of(root, kind):
    return sorted(root.glob(f"kind={kind}/date=*/*.parquet"))


def check_names(root):
    """Nothing but whole objects lies in the archive: no temporary file, no stranger."""
    for path in root.rglob("*"):
        if path.is_file():
            kind, date, name = path.relative_to(root).parts[-3:]
            check(kind.startswith("kind=") and kind[5:] in EXPECTED, f"{path} is of no known kind")
            datetime.date.fromisoformat(date.removeprefix("date="))
            check(name.endswith(".parquet") and not name.startswith("."), f"{path} is no object")
    passed("only Parquet files of known kinds below kind=.../date=...")


def check_file(path, keys, columns):
    """One file: its columns, the order of its rows, the truth of its bounds, and the date of its folder."""
    file = pq.ParquetFile(path)
    names = file.schema_arrow.names
    check(names[:2] == keys, f"{path} starts with {names[:2]}, not {keys}")
    check(set(columns) <= set(names), f"{path} lacks {set(columns) - set(names)}")
    day = datetime.date.fromisoformat(path.parent.name.removeprefix("date="))
    start = int(datetime.datetime(day.year, day.month, day.day, tzinfo=datetime.timezone.utc).timestamp() * 1000)
    before = None
    for number in range(file.metadata.num_row_groups):
        about = file.metadata.row_group(number)
        order = [column.column_index for column in about.sorting_columns]
        check(order == [0, 1], f"{path} declares the order {order}")
        table = file.read_row_group(number, columns=keys)
        check(table.num_rows == about.num_rows > 0, f"{path}, row group {number}: {table.num_rows} rows")
        meters, times = table[keys[0]].to_pylist(), milliseconds(table[keys[1]]).to_pylist()
        rows = list(zip((meter.encode() for meter in meters), times))
        check(all(a <= b for a, b in zip(rows, rows[1:])), f"{path}, row group {number} is not sorted")
        check(before is None or before <= rows[0], f"{path}, row group {number} starts below the one before")
        before = rows[-1]
        check(start <= min(times) and max(times) < start + 86_400_000, f"{path} has rows of another day")
        bounds = about.column(0).statistics
        check((bounds.min, bounds.max) == (meters[0], meters[-1]), f"{path}: bounds of meters are wrong")
        bounds = about.column(1).statistics
        seen = tuple(round(value.timestamp() * 1000) for value in (bounds.min, bounds.max))
        check(seen == (min(times), max(times)), f"{path}: bounds of times are wrong")
        for column in range(about.num_columns):
            chunk = about.column(column)
            check(chunk.compression == "ZSTD", f"{path}: {chunk.path_in_schema} is {chunk.compression}")
            check(chunk.has_offset_index, f"{path}: {chunk.path_in_schema} has no page index")
    return file.metadata.num_rows


def check_kind(connection, root, kind):
    """All files of a kind, and what DuckDB makes of them."""
    keys, columns = EXPECTED[kind]
    files = files_of(root, kind)
    rows = sum(check_file(path, keys, columns) for path in files)
    if not files:
        passed(f"{kind}: no files")
        return 0
    source = f"read_parquet('{root}/kind={kind}/*/*.parquet', hive_partitioning = true)"
    count = connection.execute(f"SELECT count(*) FROM {source}").fetchall()[0][0]
    check(count == rows, f"DuckDB counts {count} {kind}, the files have {rows}")
    size = sum(path.stat().st_size for path in files)
    passed(f"{kind}: {rows} rows in {len(files)} sorted files, {size / rows:.2f} bytes a row")
    check_pruning(connection, root, kind, files, source)
    return rows


def check_pruning(connection, root, kind, files, source):
    """A date reads its own files only; a meter reads the row groups whose bounds hold it only."""
    key = EXPECTED[kind][0][0]
    date = files[len(files) // 2].parent.name.removeprefix("date=")
    of_date = [path for path in files if path.parent.name == f"date={date}"]
    plan = connection.execute(f"EXPLAIN SELECT max({key}) FROM {source} WHERE date = '{date}'").fetchall()[0][1]
    wanted = f"{len(of_date)}/{len(files)}"
    check(len(of_date) == len(files) or wanted in plan, f"date = {date} does not scan {wanted} files:\n{plan}")
    meter = pq.ParquetFile(of_date[0]).read_row_group(0, columns=[key])[key][0].as_py()
    dataset = ds.dataset(root / f"kind={kind}", partitioning="hive")
    chosen = ds.field(key) == meter
    groups = [group for part in dataset.get_fragments() for group in part.split_by_row_group(chosen)]
    # Not `count_rows`: of a part of a file it counts the whole file.
    whole = sum(group.num_rows for part in groups for group in part.row_groups)
    expected, total = 0, 0
    for path in files:
        about = pq.ParquetFile(path).metadata
        for number in range(about.num_row_groups):
            bounds = about.row_group(number).column(0).statistics
            total += 1
            if bounds.min <= meter <= bounds.max:
                expected += about.row_group(number).num_rows
    check(whole == expected, f"{meter} reads {whole} rows, the bounds ask for {expected}")
    ours = connection.execute(f"SELECT count(*) FROM {source} WHERE {key} = ?", [meter]).fetchall()[0][0]
    check(ours == dataset.count_rows(filter=chosen), f"DuckDB and pyarrow count different rows of {meter}")
    passed(f"{kind}: {date} scans {wanted} files, {meter} {len(groups)} of {total} row groups")


def read_input(path):
    data = pathlib.Path(path).read_bytes()
    return gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data


def check_readings(root, options, rows):
    """Every archived reading is the input's line at its offset."""
    inputs = {str(path): read_input(path) for path in options.input}
    lines = sum(1 for data in inputs.values() for line in data.split(b"\n") if line.strip())
    used = lines if options.used is None else options.used
    check(rows == used, f"{rows} readings are archived, {used} were used")
    channels = [channel.partition("=") for channel in options.channel]
    channels = [(name, field or name) for name, _, field in channels]
    seen, sums = set(), {name: [] for name, _ in channels}
    for path in files_of(root, "readings"):
        table = pq.ParquetFile(path).read()
        times = milliseconds(table["time"]).to_pylist()
        for row, time in zip(table.drop_columns(["time"]).to_pylist(), times):
            place = (row["partition"], row["offset"])
            check(place not in seen, f"{place} is archived twice")
            seen.add(place)
            found = [data for name, data in inputs.items() if name == place[0] or name.endswith("/" + place[0])]
            check(len(found) == 1, f"{len(found)} inputs are the partition {place[0]}")
            end = found[0].find(b"\n", place[1])
            record = json.loads(found[0][place[1] : None if end < 0 else end])
            check(str(record[options.meter]) == row["meter"], f"{place}: meter {row['meter']}")
            check(record[options.time] == time or isinstance(record[options.time], str), f"{place}: time {time}")
            check(record.get(options.status) == row["status"], f"{place}: status {row['status']}")
            for name, field in channels:
                value = record.get(field)
                check(row[name] == value, f"{place}: {name} is {row[name]}, not {value}")
                sums[name].extend([] if value is None else [value])
    return {name: (len(values), math.fsum(values)) for name, values in sums.items()}


def check_sums(connection, root, sums):
    for name, (count, total) in sums.items():
        source = f"read_parquet('{root}/kind=readings/*/*.parquet')"
        found = connection.execute(f'SELECT count("{name}"), fsum("{name}") FROM {source}').fetchall()[0]
        close = math.isclose(found[1] or 0.0, total, rel_tol=1e-9, abs_tol=1e-6)
        check(found[0] == count and close, f"{name}: DuckDB has {found}, the input {(count, total)}")
        passed(f"readings: {count} values of {name} with the sum {total:.6g}")


def read_lines(paths):
    for path in paths:
        path = pathlib.Path(path)
        for file in sorted(path.iterdir()) if path.is_dir() else [path]:
            yield from (json.loads(line) for line in file.read_text().splitlines() if line.strip())


def normal(row):
    """A row as text in which 300 and 300.0 are the same."""
    number = lambda value: float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else value
    return json.dumps({name: number(value) for name, value in row.items() if name != "reading"}, sort_keys=True)


def check_lines(root, kind, paths, times):
    """The rows of a kind are the lines that a sink wrote, field by field."""
    lines = {}
    for line in read_lines(paths):
        key = normal(line)
        lines[key] = lines.get(key, 0) + 1
    total = sum(lines.values())
    known = json.loads(next(iter(lines), "{}"))
    for path in files_of(root, kind):
        table = pq.ParquetFile(path).read()
        for name in times:
            table = table.set_column(table.schema.get_field_index(name), name, milliseconds(table[name]))
        for row in table.to_pylist():
            key = normal({name: row[name] for name in known})
            check(lines.get(key, 0) > 0, f"{path} has a row that no line has: {key}")
            lines[key] -= 1
    missing = [key for key, count in lines.items() if count]
    check(not missing, f"{len(missing)} lines of {kind} are not archived, as {missing[:1]}")
    passed(f"{kind}: the {total} lines of the sink, value by value")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=pathlib.Path)
    parser.add_argument("--input", nargs="*", default=[])
    parser.add_argument("--used", type=int)
    parser.add_argument("--stats", nargs="*", default=[])
    parser.add_argument("--anomalies", nargs="*", default=[])
    parser.add_argument("--meter", default="meter_id")
    parser.add_argument("--time", default="timestamp")
    parser.add_argument("--status", default="status")
    parser.add_argument("--channel", nargs="*", default=["voltage", "current"])
    options = parser.parse_args()
    connection = duckdb.connect()
    check(options.root.is_dir(), f"{options.root} is no folder")
    check_names(options.root)
    rows = {kind: check_kind(connection, options.root, kind) for kind in EXPECTED}
    check(sum(rows.values()) > 0, f"{options.root} holds no rows")
    if options.input:
        sums = check_readings(options.root, options, rows["readings"])
        check_sums(connection, options.root, sums)
    if options.stats:
        check_lines(options.root, "stats", options.stats, ["window_start", "window_end"])
    if options.anomalies:
        check_lines(options.root, "anomalies", options.anomalies, ["time"])


if __name__ == "__main__":
    main()
