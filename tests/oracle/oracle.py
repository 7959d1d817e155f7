#!/usr/bin/env python3
"""Recomputes all results of a configuration from the contract alone, the slow and plain way.

    oracle.py CONFIG [--set KEY=VALUE]... [--out FOLDER]

Prints the counts; with --out writes what a run should write, as JSON lines (ids and messages are the engine's own).
Shares no code and no method with the engine: no slices or panes, no running statistics, no ticks.
"""

import argparse
import base64
import json
import os
import sys
from collections import Counter
from dataclasses import dataclass

import detectors
import settings
import windows
from judge import Judged, judge, refuse_order
from records import RAW_LIMIT
from settings import Refused


@dataclass
class Results:
    """All that a run should come to."""

    settings: settings.Settings
    judged: Judged
    windows: dict
    anomalies: list


def recompute(config, now=None, name_order=False):
    """The results of a configuration."""
    judged, several = judge(config.source, config.windows.allowed_lateness, now, name_order)
    if config.moving_average and several and not name_order:
        refuse_order(several, "the baseline of moving_average")
    late = [late.reading for late in judged.late]
    anomalies = []
    if config.moving_average:
        anomalies += detectors.moving_average(config.moving_average, judged.used)
    for readings, is_late in ((judged.used, False), (late, True)):
        if config.limits is not None:
            anomalies += detectors.limits(config.limits, readings, is_late)
        if config.status is not None:
            anomalies += detectors.status(config.status, readings, is_late)
    return Results(config, judged, windows.truth(config.windows, judged.used), anomalies)


def reading_line(reading):
    line = {"meter_id": reading.meter, "timestamp": reading.time, **reading.values}
    return line if reading.status is None else {**line, "status": reading.status}


def anomaly_line(anomaly, number):
    reading = anomaly.reading
    return {
        "id": f"{number:032x}", "kind": anomaly.kind, "severity": min(anomaly.severities), "meter": reading.meter,
        "time": reading.time, "channel": anomaly.channel, "observed": anomaly.observed, "expected": anomaly.expected,
        "deviation": None if anomaly.channel is None else anomaly.observed - anomaly.expected,
        "score": anomaly.score, "threshold": anomaly.threshold, "detector": anomaly.detector, "late": anomaly.late,
        "source": "readings", "partition": reading.partition, "offset": reading.offset, "reading": reading_line(reading),
    }


def window_line(key, window):
    meter, channel, start = key
    return {
        "meter": meter, "channel": channel, "window_start": start, "window_end": window.end, "count": window.count,
        "mean": window.mean, "stddev": window.stddev, "min": window.min, "max": window.max,
        "first": min(window.first), "last": min(window.last), "revision": 0,
    }


def late_line(late):
    reading = late.reading
    return {
        "source": "readings", "partition": reading.partition, "offset": reading.offset, "watermark": late.watermark,
        "lateness_ms": late.watermark - reading.time, "reading": reading_line(reading),
    }


def dead_line(dead):
    raw = (dead.raw or b"")[:RAW_LIMIT]
    try:
        text, encoding = raw.decode(), "utf8"
    except UnicodeDecodeError:
        text, encoding = base64.b64encode(raw).decode(), "base64"
    return {
        "source": "readings", "partition": dead.partition, "offset": dead.offset, "reason": min(dead.reasons),
        "message": "as the oracle has it", "raw": text, "raw_encoding": encoding, "raw_bytes": len(dead.raw or b""),
    }


def summary(results):
    """What `--summary` should say, as far as it follows from the contract."""
    judged = results.judged
    times = [reading.time for reading in judged.used]
    return {
        "sources": {
            "readings": {
                **judged.counts(),
                "dead_by_reason": dict(Counter(min(dead.reasons) for dead in judged.dead)),
            }
        },
        "windows": len(results.windows),
        "revisions": 0,
        "anomalies": {"total": len(results.anomalies), "by_kind": dict(Counter(a.kind for a in results.anomalies))},
        "event_time": {"first": min(times, default=None), "last": max(times, default=None)},
    }


def write(results, folder):
    """Writes the lines of all sinks and the summary."""
    os.makedirs(folder, exist_ok=True)
    sinks = {
        "anomalies": (anomaly_line(anomaly, number) for number, anomaly in enumerate(results.anomalies)),
        "stats": (window_line(key, window) for key, window in results.windows.items()),
        "late": map(late_line, results.judged.late),
        "dead": map(dead_line, results.judged.dead),
        "summary": [summary(results)],
    }
    for name, lines in sinks.items():
        with open(os.path.join(folder, name + ".jsonl"), "w", encoding="utf-8") as file:
            for line in lines:
                file.write(json.dumps(line, ensure_ascii=False) + "\n")


def add_arguments(parser):
    """The arguments that say what is recomputed."""
    parser.add_argument("config", help="the configuration that the run had")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="as the run had it")
    parser.add_argument("--now", type=int, metavar="MS", help="when the run started, for future_limit")
    parser.add_argument("--name-order", action="store_true", help="partitions follow each other in time as their names do")


def from_arguments(arguments):
    config = settings.read(arguments.config, arguments.set)
    return recompute(config, arguments.now, arguments.name_order)


def main():
    parser = argparse.ArgumentParser(description="Recomputes the results of a configuration.")
    add_arguments(parser)
    parser.add_argument("--out", metavar="FOLDER", help="writes the lines there")
    arguments = parser.parse_args()
    try:
        results = from_arguments(arguments)
    except Refused as refused:
        sys.exit(f"oracle: {refused}")
    if arguments.out:
        write(results, arguments.out)
    print(json.dumps(summary(results)))


if __name__ == "__main__":
    main()
