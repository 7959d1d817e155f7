"""Compares the archive of a job that was killed with that of an undisturbed run: the same rows, each once."""

import os
import re
from collections import Counter

import pyarrow.parquet as parquet

# What a store begins the name of a file with that is not whole yet; a kill may leave it behind, and readers skip it.
UNFINISHED = ".tmp-"
OBJECT = re.compile(r"kind=([a-z]+)/date=\d{4}-\d\d-\d\d/[^./][^/]*\.parquet")


def rows(folder):
    """The rows of each kind, as tuples of all columns; and files that are no objects."""
    found, strangers = {}, []
    for at, _, names in os.walk(os.path.join(folder, "archive")):
        for name in (name for name in names if not name.startswith(UNFINISHED)):
            path = os.path.join(at, name)
            relative = os.path.relpath(path, os.path.join(folder, "archive"))
            kind = OBJECT.fullmatch(relative)
            if kind is None:
                strangers.append(relative)
                continue
            table = parquet.ParquetFile(path).read()
            columns = sorted(table.column_names)
            lists = [table.column(column).to_pylist() for column in columns]
            found.setdefault(kind[1], Counter()).update(zip(*lists))
    return found, strangers


def differences(undisturbed, disturbed, used):
    """What is wrong with an archive, in words; `used` readings were used."""
    expected, _ = rows(undisturbed)
    found, strangers = rows(disturbed)
    problems = [f"archive: {name} is no object" for name in strangers]
    readings = len(found.get("readings", ()))
    if readings != used:
        problems.append(f"archive of readings: {readings} different rows, {used} readings were used")
    for kind in sorted({*expected, *found}):
        wanted, got = expected.get(kind, Counter()), found.get(kind, Counter())
        lost, more = wanted - got, got - wanted
        doubled = sum(count for row, count in more.items() if row in wanted)
        if lost or more:
            counts = f"{lost.total()} lost, {doubled} doubled, {more.total() - doubled} wrong"
            problems.append(f"archive of {kind}: {wanted.total()} rows expected, {got.total()} got: {counts}")
    return problems
