"""Detectors, recomputed: for every reading the readings of its baseline are gathered anew (contract, section 6)."""

import math
from collections import defaultdict
from dataclasses import dataclass

from windows import mean_and_stddev

SLICES = 30
SCORE_CAP = 1e6


@dataclass(slots=True)
class Anomaly:
    """One anomaly, or a near miss: `near` says that the score is within rounding of the threshold."""

    reading: object
    detector: str
    kind: str
    channel: str | None
    severities: frozenset
    observed: float | None
    expected: float | None
    score: float
    threshold: float
    late: bool
    near: bool = False

    def key(self):
        """What no two anomalies of a run have in common."""
        return (self.reading.partition, self.reading.offset, self.detector, self.kind, self.channel)


def near(score, limit):
    """Whether rounding may decide on which side of a limit a score lies."""
    return abs(score - limit) < 1e-9 * abs(limit)


def moving_average(settings, used):
    """Yields the anomalies of a moving average over readings in canonical order."""
    baseline_kind, length = settings.baseline
    history = defaultdict(lambda: BASELINES[baseline_kind](length))
    for reading in used:
        for channel in settings.channels:
            if channel not in reading.values:
                continue
            value = reading.values[channel]
            baseline = history[reading.meter, channel]
            count, mean, stddev = baseline.before(reading.time)
            baseline.add(reading.time, value)
            if count < settings.min_count or count == 0:
                continue
            spread = max(stddev, settings.stddev_floor, settings.stddev_floor_relative * abs(mean))
            if spread == 0:
                score = 0.0 if value == mean else SCORE_CAP
            else:
                score = min(abs(value - mean) / spread, SCORE_CAP)
            close = near(score, settings.threshold)
            if score > settings.threshold or close:
                kind = f"{channel}_spike" if value > mean else f"{channel}_drop"
                severities = severities_of(score, settings)
                yield Anomaly(
                    reading, "moving_average", kind, channel, severities, value, mean, score, settings.threshold, False, close
                )


def severities_of(score, settings):
    """WARNING, ERROR from one score, CRITICAL from another; both sides where rounding decides."""
    sides = {score, score * (1 - 1e-9), score * (1 + 1e-9)}
    return frozenset(
        "CRITICAL" if side >= settings.critical_score else "ERROR" if side >= settings.error_score else "WARNING"
        for side in sides
    )


class Last:
    """The baseline `last N`."""

    def __init__(self, length):
        self.length, self.values = length, []

    def before(self, _time):
        values = self.values[-self.length:]
        return (len(values), *mean_and_stddev(values)) if values else (0, 0.0, 0.0)

    def add(self, _time, value):
        self.values.append(value)


class All:
    """The baseline `all`: exact sums of rational numbers, since to gather all readings for every one is quadratic."""

    SHIFT = 1074  # every finite double is a whole number of 2^-1074

    def __init__(self, _length):
        self.count, self.sum, self.squares = 0, 0, 0

    def before(self, _time):
        if self.count == 0:
            return 0, 0.0, 0.0
        total = self.count << self.SHIFT
        stddev = root(self.count * self.squares - self.sum * self.sum, total * total)
        return self.count, self.sum / total, stddev  # a quotient of whole numbers is rounded once

    def add(self, _time, value):
        numerator, denominator = value.as_integer_ratio()
        whole = numerator * ((1 << self.SHIFT) // denominator)
        self.count += 1
        self.sum += whole
        self.squares += whole * whole


def root(numerator, denominator):
    """Square root of a fraction; scaled, since the fraction itself may be outside what a double holds."""
    half = (numerator.bit_length() - denominator.bit_length()) // 2
    if half >= 0:
        return math.ldexp(math.sqrt(numerator / (denominator << 2 * half)), half)
    return math.ldexp(math.sqrt((numerator << -2 * half) / denominator), half)


class Slices:
    """The baseline of a duration: the readings of the 30 slices that end with the reading's own."""

    def __init__(self, length):
        self.width, self.values = length // SLICES, defaultdict(list)

    def before(self, time):
        own = time // self.width
        values = [value for index in range(own - SLICES + 1, own + 1) for value in self.values.get(index, ())]
        return (len(values), *mean_and_stddev(values)) if values else (0, 0.0, 0.0)

    def add(self, time, value):
        self.values[time // self.width].append(value)


BASELINES = {"last": Last, "all": All, "slices": Slices}


def limits(settings, readings, late):
    """Yields the anomalies of fixed limits."""
    for reading in readings:
        for channel, (low, high) in settings.items():
            value = reading.values.get(channel)
            if value is None:
                continue
            if low is not None and value < low:
                yield beyond(reading, channel, "low", value, low, late)
            if high is not None and value > high:
                yield beyond(reading, channel, "high", value, high, late)


def beyond(reading, channel, side, value, limit, late):
    score = abs(value - limit) / max(abs(limit), 1)
    return Anomaly(reading, "limits", f"{channel}_{side}", channel, frozenset({"ERROR"}), value, limit, score, 0.0, late)


def status(failures, readings, late):
    """Yields a failure for every reading whose status has one of the substrings."""
    for reading in readings:
        if reading.status is not None and any(failure in reading.status for failure in failures):
            kind = "equipment_failure"
            yield Anomaly(reading, "status", kind, None, frozenset({"CRITICAL"}), None, None, 1.0, 1.0, late)
