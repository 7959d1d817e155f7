"""Windows, recomputed: every used reading is put in every window that contains it (contract, section 5)."""

import math
from collections import defaultdict
from dataclasses import dataclass


@dataclass(slots=True)
class Window:
    """The truth of one window. `first` and `last` hold the values that are right: several only where equal times of
    different partitions leave the order open."""

    end: int
    count: int
    mean: float
    stddev: float
    min: float
    max: float
    first: set
    last: set


def mean_and_stddev(values):
    """Mean and standard deviation of the population, in two passes of exact sums."""
    mean = math.fsum(values) / len(values)
    return mean, math.sqrt(math.fsum([(value - mean) * (value - mean) for value in values]) / len(values))


def truth(windows, used):
    """By (meter, channel, start): Window, for readings in canonical order."""
    by_series = defaultdict(list)
    for reading in used:
        for channel, value in reading.values.items():
            by_series[reading.meter, channel].append((reading.time, value, reading.partition))
    members = sessions if windows.kind == "session" else aligned
    result = {}
    for (meter, channel), series in by_series.items():
        for start, end, inside in members(windows, series):
            result[meter, channel, start] = summary(end, inside)
    return result


def aligned(windows, series):
    """Tumbling and sliding windows: (start, end, members)."""
    inside = defaultdict(list)
    for entry in series:
        start = entry[0] // windows.slide * windows.slide
        while start + windows.size > entry[0]:
            inside[start].append(entry)
            start -= windows.slide
    return [(start, start + windows.size, entries) for start, entries in inside.items()]


def sessions(windows, series):
    """Maximal runs with gaps below `gap`: (start, end, members)."""
    runs = []
    for entry in sorted(series, key=lambda entry: entry[0]):  # stable: equal times keep canonical order
        if runs and entry[0] - runs[-1][-1][0] < windows.gap:
            runs[-1].append(entry)
        else:
            runs.append([entry])
    return [(run[0][0], run[-1][0] + windows.gap, run) for run in runs]


def summary(end, inside):
    values = [value for _, value, _ in inside]
    mean, stddev = mean_and_stddev(values)
    earliest = min(time for time, _, _ in inside)
    latest = max(time for time, _, _ in inside)
    first, last = {}, {}
    for time, value, partition in inside:
        if time == earliest:
            first.setdefault(partition, value)
        if time == latest:
            last[partition] = value
    return Window(end, len(inside), mean, stddev, min(values), max(values), set(first.values()), set(last.values()))
