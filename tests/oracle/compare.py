#!/usr/bin/env python3
"""Compares what a run wrote with the recomputation.

    compare.py CONFIG [--set KEY=VALUE]... [--anomalies F] [--stats F] [--late F] [--dead F] [--summary F]

Each F is a file of JSON lines or a folder of such files; what is not given is not compared. Counts, keys, kinds, times,
offsets and extremes must be equal; means within 1e-9, scores within 1e-6; a detector may fire or not only where the
score is within 1e-9 of its threshold. Exits 0: equal, 1: the first differences are printed, 2: cannot be judged.
"""

import argparse
import json
import os
import sys
from collections import Counter

import oracle
from settings import Refused

SHOWN = 10
ANOMALY_FIELDS = {
    "id", "kind", "severity", "meter", "time", "channel", "observed", "expected", "deviation", "score", "threshold",
    "detector", "late", "source", "partition", "offset", "reading",
}
WINDOW_FIELDS = {
    "meter", "channel", "window_start", "window_end", "count", "mean", "stddev", "min", "max", "first", "last", "revision",
}
STATISTICS = ("mean", "stddev", "min", "max", "first", "last")


class Differences:
    """What differs: counts everything, keeps the first of each part to be shown."""

    def __init__(self):
        self.found = Counter()
        self.shown = []

    def add(self, part, key, what):
        self.found[part] += 1
        if self.found[part] <= SHOWN:
            self.shown.append(f"{part}: {key}: {what}")

    def expect(self, part, key, name, got, wanted):
        """Equal, and of the same type: true is not 1."""
        if got != wanted or isinstance(got, bool) != isinstance(wanted, bool):
            self.add(part, key, f"{name} is {got!r}, should be {wanted!r}")

    def expect_near(self, part, key, name, got, wanted, tolerance, scale=0.0):
        """Within `tolerance` of the value; `scale`: the size of what was added up, for sums that cancel out."""
        if not is_number(got) or not abs(got - wanted) <= tolerance * abs(wanted) + 1e-12 * scale:
            self.add(part, key, f"{name} is {got!r}, should be {wanted!r}")

    def report(self):
        for line in self.shown:
            print(line)
        for part, count in self.found.items():
            if count > SHOWN:
                print(f"{part}: {count - SHOWN} more differences")


def is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def files(path):
    """The files of a path: itself, or those of the folder. A sink without lines leaves an empty file."""
    if os.path.isdir(path):
        return sorted(entry.path for entry in os.scandir(path) if entry.is_file())
    if not os.path.isfile(path):
        raise Refused(f"{path}: no such file or folder; was it written?")
    return [path]


def refuse_constant(name):
    raise ValueError(f"{name} is not JSON")


def lines(path, differences, part):
    """(file, line) of all files; a line that is not one JSON object is a difference."""
    for file in files(path):
        with open(file, "rb") as opened:
            for number, raw in enumerate(opened, 1):
                try:
                    line = json.loads(raw.decode(), parse_constant=refuse_constant)
                except ValueError as error:
                    differences.add(part, f"{file}:{number}", f"not a JSON line ({error}): {raw[:120]!r}")
                    continue
                if not raw.endswith(b"\n"):
                    differences.add(part, f"{file}:{number}", "the last line has no line feed")
                yield file, line


def by_key(path, differences, part, key_of):
    """The lines by their key; a key that comes twice is a difference."""
    result = {}
    for file, line in lines(path, differences, part):
        try:
            key = key_of(line)
        except (KeyError, TypeError) as error:
            differences.add(part, file, f"a line without {error}: {json.dumps(line)[:200]}")
            continue
        if key in result:
            differences.add(part, key, "comes twice")
        result[key] = line
    return result


def match(got, wanted, differences, part, compare):
    """Compares the lines of two maps key by key."""
    for key in sorted(got.keys() - wanted.keys(), key=repr):
        differences.add(part, key, f"should not be there: {json.dumps(got[key])[:400]}")
    for key, value in wanted.items():
        if key in got:
            compare(key, got[key], value)
        elif not getattr(value, "near", False):
            differences.add(part, key, f"is missing: {value}")


def compare_reading(differences, part, key, line, reading):
    got = dict(line) if isinstance(line, dict) else {}
    if got.get("status", 0) is None:
        del got["status"]  # null and absent say the same
    differences.expect(part, key, "reading", got, oracle.reading_line(reading))


def compare_anomalies(path, results, differences):
    part = "anomalies"
    got = by_key(path, differences, part, lambda l: (l["partition"], l["offset"], l["detector"], l["kind"], l["channel"]))
    wanted = {anomaly.key(): anomaly for anomaly in results.anomalies}
    assert len(wanted) == len(results.anomalies)

    def compare(key, line, anomaly):
        reading = anomaly.reading
        differences.expect(part, key, "fields", set(line), ANOMALY_FIELDS)
        exact = {
            "meter": reading.meter, "time": reading.time, "observed": anomaly.observed, "threshold": anomaly.threshold,
            "late": anomaly.late, "source": "readings",
        }
        for name, value in exact.items():
            differences.expect(part, key, name, line.get(name), value)
        if line.get("severity") not in anomaly.severities:
            differences.expect(part, key, "severity", line.get("severity"), " or ".join(sorted(anomaly.severities)))
        differences.expect_near(part, key, "score", line.get("score"), anomaly.score, 1e-6)
        if anomaly.channel is None:
            differences.expect(part, key, "expected", line.get("expected"), None)
            differences.expect(part, key, "deviation", line.get("deviation"), None)
        else:
            differences.expect_near(part, key, "expected", line.get("expected"), anomaly.expected, 1e-9, abs(anomaly.observed))
            if is_number(line.get("observed")) and is_number(line.get("expected")):
                deviation = line["observed"] - line["expected"]
                differences.expect(part, key, "deviation", line.get("deviation"), deviation)
        compare_reading(differences, part, key, line.get("reading"), reading)

    match(got, wanted, differences, part, compare)
    ids = Counter()
    for key, line in got.items():
        ids[line.get("id")] += 1
        if not isinstance(line.get("id"), str) or len(line["id"]) != 32 or set(line["id"]) - set("0123456789abcdef"):
            differences.add(part, key, f"id is {line.get('id')!r}, should be 32 hex digits")
    for id, count in ids.items():
        if count > 1:
            differences.add(part, id, f"is the id of {count} anomalies")
    return len(got)


def final_windows(path, results, differences):
    """The lines of highest revision by (meter, channel, start), and the number of all lines."""
    part = "stats"
    total, final, last_of = 0, {}, {}
    revised = results.settings.windows.allowed_lateness > 0
    for file, line in lines(path, differences, part):
        total += 1
        differences.expect(part, file, "fields", set(line), WINDOW_FIELDS)
        key = (line.get("meter"), line.get("channel"), line.get("window_start"))
        revision = line.get("revision")
        if not isinstance(revision, int) or revision < 0:
            differences.add(part, key, f"revision is {revision!r}")
            continue
        before = last_of.get(key)
        last_of[key] = revision
        if before is None:
            aligned = results.settings.windows.kind != "session"
            if revision > 0 and (aligned or not revised):
                differences.add(part, key, f"is first published as revision {revision}")
        elif not revised:
            differences.add(part, key, "is published twice although allowed_lateness is 0")
        elif revision <= before:
            differences.add(part, key, f"revision {revision} comes after {before}")
        if key not in final or revision > final[key]["revision"]:
            final[key] = line
    return final, total


def compare_stats(path, results, differences):
    part = "stats"
    final, total = final_windows(path, results, differences)
    for key in [key for key, line in final.items() if line.get("count") == 0]:
        line = final.pop(key)
        if results.settings.windows.kind != "session":
            differences.add(part, key, "is withdrawn: only sessions can be")
        for name in STATISTICS:
            differences.expect(part, key, name, line.get(name), None)

    def compare(key, line, window):
        differences.expect(part, key, "window_end", line.get("window_end"), window.end)
        differences.expect(part, key, "count", line.get("count"), window.count)
        scale = max(abs(window.min), abs(window.max))
        differences.expect_near(part, key, "mean", line.get("mean"), window.mean, 1e-9, scale)
        differences.expect_near(part, key, "stddev", line.get("stddev"), window.stddev, 1e-9, scale)
        differences.expect(part, key, "min", line.get("min"), window.min)
        differences.expect(part, key, "max", line.get("max"), window.max)
        for name, allowed in (("first", window.first), ("last", window.last)):
            if line.get(name) not in allowed:
                differences.expect(part, key, name, line.get(name), min(allowed))

    match(final, results.windows, differences, part, compare)
    return total


def compare_late(path, results, differences):
    part = "late"
    got = by_key(path, differences, part, lambda l: (l["partition"], l["offset"]))
    wanted = {(late.reading.partition, late.reading.offset): late for late in results.judged.late}

    def compare(key, line, late):
        for name in ("source", "watermark", "lateness_ms"):
            differences.expect(part, key, name, line.get(name), oracle.late_line(late)[name])
        compare_reading(differences, part, key, line.get("reading"), late.reading)

    match(got, wanted, differences, part, compare)
    return len(got)


def compare_dead(path, results, differences):
    part = "dead"
    got = by_key(path, differences, part, lambda l: (l["partition"], l["offset"]))
    wanted = {(dead.partition, dead.offset): dead for dead in results.judged.dead}

    def compare(key, line, dead):
        differences.expect(part, key, "source", line.get("source"), "readings")
        if line.get("reason") not in dead.reasons:
            differences.expect(part, key, "reason", line.get("reason"), " or ".join(sorted(dead.reasons)))
        if not isinstance(line.get("message"), str) or not line["message"]:
            differences.add(part, key, f"message is {line.get('message')!r}")
        if dead.raw is not None:
            for name in ("raw", "raw_encoding", "raw_bytes"):
                differences.expect(part, key, name, line.get(name), oracle.dead_line(dead)[name])

    match(got, wanted, differences, part, compare)
    return len(got)


def compare_summary(path, results, differences, stats_lines):
    part = "summary"
    with open(files(path)[0], encoding="utf-8") as file:
        got = json.load(file)
    wanted = oracle.summary(results)
    source, right = got.get("sources", {}).get("readings", {}), wanted["sources"]["readings"]
    for name in ("read", "used", "late", "duplicate", "dead"):
        differences.expect(part, "sources.readings", name, source.get(name), right[name])
    compare_reasons(source.get("dead_by_reason", {}), results.judged.dead, differences)
    sinks = results.settings.sinks
    if "stats" in sinks and results.settings.windows.allowed_lateness == 0:
        for name in ("windows", "revisions"):
            differences.expect(part, name, "count", got.get(name), wanted[name])
    elif stats_lines is not None:
        # The contract does not say whether a revision is a window, too.
        windows, revisions = got.get("windows", 0), got.get("revisions", 0)
        if stats_lines not in (windows, windows + revisions):
            differences.add(part, "windows", f"{windows}, and {revisions} revisions, but {stats_lines} lines")
    if "anomalies" in sinks:
        compare_kinds(got.get("anomalies", {}), results.anomalies, differences)
    compare_event_time(got.get("event_time", {}), results.judged, differences)


def compare_reasons(got, dead, differences):
    """Each reason between the letters that can only have it and those that can have it."""
    reasons = set(got) | {reason for letter in dead for reason in letter.reasons}
    for reason in sorted(reasons):
        least = sum(letter.reasons == {reason} for letter in dead)
        most = sum(reason in letter.reasons for letter in dead)
        if not least <= got.get(reason, 0) <= most:
            differences.add("summary", "dead_by_reason", f"{reason} is {got.get(reason, 0)}, should be {least} to {most}")
    differences.expect("summary", "dead_by_reason", "sum", sum(got.values()), len(dead))


def compare_kinds(got, anomalies, differences):
    by_kind = got.get("by_kind", {})
    for kind in sorted(set(by_kind) | {anomaly.kind for anomaly in anomalies}):
        least = sum(anomaly.kind == kind and not anomaly.near for anomaly in anomalies)
        most = sum(anomaly.kind == kind for anomaly in anomalies)
        if not least <= by_kind.get(kind, 0) <= most:
            differences.add("summary", "by_kind", f"{kind} is {by_kind.get(kind, 0)}, should be {least} to {most}")
    differences.expect("summary", "anomalies", "total", got.get("total"), sum(by_kind.values()))


def compare_event_time(got, judged, differences):
    """The contract does not say whether late readings count here: either is right."""
    used = [reading.time for reading in judged.used]
    decoded = used + [late.reading.time for late in judged.late] + [reading.time for reading in judged.duplicate]
    for name, of in (("first", min), ("last", max)):
        allowed = {of(used, default=None), of(decoded, default=None)}
        if got.get(name) not in allowed:
            differences.add("summary", "event_time", f"{name} is {got.get(name)!r}, should be one of {allowed}")


COMPARISONS = {"anomalies": compare_anomalies, "stats": compare_stats, "late": compare_late, "dead": compare_dead}


def compare_all(results, paths):
    """Compares the outputs at `paths` (by part); returns the differences and the lines of each part."""
    differences, counts = Differences(), {}
    for part, comparison in COMPARISONS.items():
        if paths.get(part):
            counts[part] = comparison(paths[part], results, differences)
    if paths.get("summary"):
        compare_summary(paths["summary"], results, differences, counts.get("stats"))
    return differences, counts


def main():
    parser = argparse.ArgumentParser(description="Compares what a run wrote with the recomputation.")
    oracle.add_arguments(parser)
    for part in (*COMPARISONS, "summary"):
        parser.add_argument(f"--{part}", metavar="F")
    arguments = parser.parse_args()
    try:
        results = oracle.from_arguments(arguments)
        differences, counts = compare_all(results, vars(arguments))
    except Refused as refused:
        print(f"oracle: {refused}", file=sys.stderr)
        sys.exit(2)
    if differences.found:
        differences.report()
        sys.exit(1)
    print(json.dumps({**results.judged.counts(), **{f"{part} lines": count for part, count in counts.items()}}))


if __name__ == "__main__":
    main()
