"""The configuration as the contract has it: TOML over defaults, durations in milliseconds, sizes in bytes."""

import re
import tomllib
from dataclasses import dataclass, field


class Refused(Exception):
    """The oracle cannot or must not judge this; the message says why and what to do."""


DURATION_UNITS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
SIZE_UNITS = {
    "": 1, "B": 1,
    "kB": 1000, "KB": 1000, "MB": 1000**2, "GB": 1000**3,
    "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30,
}
DEFAULT_CHANNELS = ["voltage", "current", "temperature"]


def duration(text):
    """Milliseconds of `250ms`, `30s`, `5m`, `1h`, `1d`."""
    match = re.fullmatch(r"(\d+)(ms|s|m|h|d)", str(text).strip())
    if not match:
        raise Refused(f"{text!r} is not a duration such as 250ms, 30s, 5m, 1h or 1d")
    return int(match[1]) * DURATION_UNITS[match[2]]


def duration_or_off(text):
    """Like `duration`; None for `off`."""
    return None if text == "off" else duration(text)


def size(text):
    """Bytes of `64KiB`, `128MB`, `4096`."""
    match = re.fullmatch(r"(\d+)\s*([A-Za-z]*)", str(text).strip())
    if not match or match[2] not in SIZE_UNITS:
        raise Refused(f"{text!r} is not a size such as 64KiB, 128MB or 4096")
    return int(match[1]) * SIZE_UNITS[match[2]]


@dataclass
class Source:
    """`[sources.readings]`."""

    path: str
    format: str = "json"
    out_of_orderness: int = 30_000
    future_limit: int | None = None
    max_jump: int | None = 86_400_000
    drop_duplicates: bool = False
    time_unit: str = "ms"
    time_zone: str | None = None
    max_record: int = 1 << 20
    meter: list = field(default_factory=lambda: ["meter_id", "meterId"])
    time: list = field(default_factory=lambda: ["timestamp"])
    status: list = field(default_factory=lambda: ["status"])
    channels: dict = field(default_factory=lambda: {name: [name] for name in DEFAULT_CHANNELS})


@dataclass
class Windows:
    """`[windows]`; `slide` is `size` for tumbling windows."""

    kind: str = "sliding"
    size: int = 60_000
    slide: int = 10_000
    gap: int = 300_000
    allowed_lateness: int = 0


@dataclass
class MovingAverage:
    """`[detectors.moving_average]`; `baseline` is ("last", N), ("all", None) or ("slices", ms)."""

    channels: list
    baseline: tuple = ("last", 60)
    min_count: int = 10
    threshold: float = 2.5
    stddev_floor: float = 0.0
    stddev_floor_relative: float = 0.001
    error_score: float = 4.0
    critical_score: float = 8.0


@dataclass
class Settings:
    """All that decides results."""

    source: Source
    windows: Windows
    moving_average: MovingAverage | None
    limits: dict | None
    status: list | None
    sinks: set


def assign(tree, dotted, value):
    """`--set dotted=value`: the value is TOML where it parses as TOML, else text."""
    try:
        value = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        pass
    *tables, key = dotted.split(".")
    for table in tables:
        tree = tree.setdefault(table, {})
    tree[key] = value


def read(path, overrides=()):
    """The settings of a file, with `--set` texts over it."""
    with open(path, "rb") as file:
        tree = tomllib.load(file)
    for text in overrides:
        dotted, separator, value = text.partition("=")
        if not separator:
            raise Refused(f"--set {text}: KEY=VALUE expected")
        assign(tree, dotted, value)
    return from_tree(tree)


def from_tree(tree):
    """The settings of a parsed configuration."""
    table = tree.get("sources", {}).get("readings")
    if not table:
        raise Refused("the configuration has no [sources.readings]")
    source = source_of(table)
    detectors = tree.get("detectors", {})
    average = detectors.get("moving_average")
    limits = detectors.get("limits")
    status = detectors.get("status")
    return Settings(
        source=source,
        windows=windows_of(tree.get("windows", {})),
        moving_average=None if average is None else moving_average_of(average, list(source.channels)),
        limits=None if limits is None else limits_of(limits),
        status=None if status is None else list(status.get("failure", ["FAILURE"])),
        sinks=set(tree.get("sinks", {})),
    )


def source_of(table):
    if table.get("kind", "file") != "file":
        raise Refused(f"sources.readings.kind = {table['kind']!r}: the oracle reads files only")
    if "path" not in table:
        raise Refused("sources.readings.path is missing")
    source = Source(path=table["path"])
    source.format = table.get("format", "json")
    source.out_of_orderness = duration(table.get("out_of_orderness", "30s"))
    source.future_limit = duration_or_off(table.get("future_limit", "off"))
    source.max_jump = duration_or_off(table.get("max_jump", "1d"))
    source.drop_duplicates = table.get("duplicates", "keep") == "drop"
    source.time_unit = table.get("time_unit", "ms")
    source.time_zone = table.get("time_zone")
    source.max_record = size(table.get("max_record", "1MiB"))
    fields = table.get("fields", {})
    source.meter = names(fields.get("meter", source.meter))
    source.time = names(fields.get("time", source.time))
    source.status = names(fields.get("status", source.status))
    channels = fields.get("channels", DEFAULT_CHANNELS)
    if isinstance(channels, dict):
        source.channels = {channel: names(of) for channel, of in channels.items()}
    else:
        source.channels = {channel: [channel] for channel in channels}
    if not 0 <= len(source.channels) <= 8:
        raise Refused(f"{len(source.channels)} channels: at most 8")
    return source


def names(value):
    return [value] if isinstance(value, str) else list(value)


def windows_of(table):
    windows = Windows(kind=table.get("kind", "sliding"))
    windows.size = duration(table.get("size", "1m"))
    windows.slide = duration(table.get("slide", "10s")) if windows.kind == "sliding" else windows.size
    windows.gap = duration(table.get("gap", "5m"))
    windows.allowed_lateness = duration(table.get("allowed_lateness", "0s"))
    if windows.kind == "sliding" and windows.size % windows.slide:
        raise Refused("windows.slide must divide windows.size")
    return windows


def moving_average_of(table, channels):
    average = MovingAverage(channels=list(table.get("channels", channels)))
    average.baseline = baseline_of(table.get("baseline", "last 60"))
    for key in ("min_count", "threshold", "stddev_floor", "stddev_floor_relative", "error_score", "critical_score"):
        setattr(average, key, table.get(key, getattr(average, key)))
    return average


def baseline_of(text):
    if text == "all":
        return ("all", None)
    match = re.fullmatch(r"last\s+(\d+)", text)
    if match:
        return ("last", int(match[1]))
    length = duration(text)
    if length == 0 or length % 30:
        raise Refused(f"baseline {text!r}: a duration must be a multiple of 30 ms")
    return ("slices", length)


def limits_of(table):
    """By channel: (low, high), None where there is no limit. An empty table has the limits that the contract prints."""
    if not table:
        return {"voltage": (207.0, 253.0)}
    return {channel: (of.get("low"), of.get("high")) for channel, of in table.items()}
