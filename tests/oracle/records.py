"""Input files to records: partitions, lines with their offsets, and what each decodes to (contract, sections 2 and 3)."""

import datetime
import decimal
import glob
import gzip
import io
import json
import os
import re
import subprocess
import sys
import zoneinfo
from dataclasses import dataclass

from settings import Refused

RAW_LIMIT = 64 << 10
DEPTH_LIMIT = 32
FIRST_TIME = 946_684_800_000  # 2000-01-01
END_TIME = 4_102_444_800_000  # 2100-01-01
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
RFC_3339 = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.(\d+))?(?:([Zz])|([+-])(\d\d):(\d\d))?", re.ASCII
)
CELL = re.compile(r'[ \t]*"((?:[^"]|"")*)"[ \t]*(?=,|\Z)|([^",]*)(?=,|\Z)')
SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(slots=True)
class Reading:
    """A decoded record. `values` holds the channels that are present, in the order of the source's channels."""

    partition: str
    offset: int
    meter: str
    time: int
    values: dict
    status: str | None


@dataclass(slots=True)
class Dead:
    """A dead letter. `reasons` holds every reason that the contract allows: more than one when a record has several faults."""

    partition: str
    offset: int
    reasons: frozenset
    raw: bytes


class Number(str):
    """A JSON number, as it is written."""


class Fault(Exception):
    """A record is dead for one of these reasons."""

    def __init__(self, *reasons):
        super().__init__(*reasons)
        self.reasons = frozenset(reasons)


# --- files and lines


def partitions(path):
    """The partitions of a path or pattern: (name, path), sorted by name."""
    if path == "-":
        return [("-", "-")]
    if not glob.has_magic(path):
        if not os.path.isfile(path):
            raise Refused(f"{path}: no such file")
        return [(os.path.basename(path), path)]
    fixed = []
    for part in path.split("/")[:-1]:
        if glob.has_magic(part):
            break
        fixed.append(part)
    root = "/".join(fixed) + "/" if fixed else ""
    found = [file for file in glob.glob(path, recursive=True) if os.path.isfile(file)]
    if not found:
        raise Refused(f"{path}: no such file")
    return sorted((file[len(root):], file) for file in found)


def content(path):
    """All bytes of a file, decompressed by what it holds."""
    if path == "-":
        data = sys.stdin.buffer.read()
    else:
        with open(path, "rb") as file:
            data = file.read()
    if data.startswith(b"\x1f\x8b"):
        return gzip.decompress(data)
    if data.startswith(b"\x28\xb5\x2f\xfd"):
        return unzstd(data)
    return data


def unzstd(data):
    try:
        import zstandard
    except ImportError:
        try:
            return subprocess.run(["zstd", "-dc"], input=data, stdout=subprocess.PIPE, check=True).stdout
        except FileNotFoundError:
            raise Refused("the input is zstd: install the Python package zstandard or the program zstd") from None
    return zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data), read_across_frames=True).read()


def lines(data):
    """The records of a partition: (offset, bytes without line end), blank lines left out."""
    at = 3 if data.startswith(b"\xef\xbb\xbf") else 0
    while at < len(data):
        end = data.find(b"\n", at)
        if end < 0:
            line, after = data[at:], len(data)
        else:
            line, after = data[at:end], end + 1
            if line.endswith(b"\r"):
                line = line[:-1]
        if line.strip(b" \t\r"):
            yield at, line
        at = after


def read(source):
    """Every record of the source, partition by partition in the order of the names: Reading or Dead."""
    for name, path in partitions(source.path):
        decode, header = decoder(source), None
        for offset, line in lines(content(path)):
            if source.format == "csv" and header is None:
                header = [cell or "" for cell in cells(line.decode())]
                continue
            try:
                yield decode(name, offset, line, header)
            except Fault as fault:
                yield Dead(name, offset, fault.reasons, line)


# --- one record


def decoder(source):
    """A function from (partition, offset, bytes, CSV header) to a reading; raises Fault."""
    fields_of = csv_fields if source.format == "csv" else json_fields
    zone = zoneinfo.ZoneInfo(source.time_zone) if source.time_zone else None
    unit = 1000 if source.time_unit == "s" else 1

    def decode(partition, offset, line, header):
        if len(line) > source.max_record:
            raise Fault("too_long")
        fields = fields_of(line, header)
        faults = set()

        def judge(check, *arguments):
            try:
                return check(*arguments)
            except Fault as fault:
                faults.update(fault.reasons)

        meter = judge(meter_of, pick(fields, source.meter))
        time = judge(time_of, pick(fields, source.time), unit, zone)
        status = judge(status_of, pick(fields, source.status))
        values = {}
        for channel, alternatives in source.channels.items():
            value = judge(value_of, pick(fields, alternatives))
            if value is not None:
                values[channel] = value
        if faults:
            raise Fault(*faults)
        return Reading(partition, offset, meter, time, values, status)

    return decode


def pick(fields, alternatives):
    """The value of the first name that the record has; null counts as absent."""
    for name in alternatives:
        value = fields.get(name)
        if value is not None:
            return value
    return None


def json_fields(line, _header):
    try:
        text = line.decode()
    except UnicodeDecodeError:
        raise Fault("not_utf8") from None
    # Depth first: a parser that stops at the 33rd level has not seen whether the rest is sound.
    deep = depth(text) > DEPTH_LIMIT
    try:
        fields = json.loads(text, parse_int=Number, parse_float=Number, parse_constant=constant)
    except (ValueError, RecursionError):
        raise Fault(*({"not_json", "too_deep"} if deep else {"not_json"})) from None
    if deep:
        raise Fault("too_deep")
    if not isinstance(fields, dict):
        raise Fault("not_json")
    # A key that comes twice hides its first value, so this look is at all pairs.
    if "\\u" in text and lone_surrogate(json.loads(text, object_pairs_hook=list)):
        raise Fault("not_json")
    return fields


def constant(name):
    raise ValueError(f"{name} is not JSON")


def depth(text):
    """How deep brackets nest outside texts."""
    if text.count("{") + text.count("[") <= DEPTH_LIMIT:
        return 0
    deepest = level = 0
    for token in re.finditer(r'"(?:[^"\\]|\\.)*"?|[\[\]{}]', text, re.DOTALL):
        if token[0] in "[{":
            level += 1
            deepest = max(deepest, level)
        elif token[0] in "]}":
            level -= 1
    return deepest


def lone_surrogate(value):
    """Whether an escape stands for half a character: no UTF-8 text has that."""
    if isinstance(value, (list, tuple)):
        return any(map(lone_surrogate, value))
    return isinstance(value, str) and bool(SURROGATE.search(value))


def csv_fields(line, header):
    row = cells(line)
    if len(row) != len(header):  # RFC 4180: each line has the same number of fields
        raise Fault("not_json")
    return {name: cell for name, cell in zip(header, row) if cell is not None}


class Cell(str):
    """A CSV cell: a number and a text at once."""


def cells(line):
    """The cells of a CSV row, trimmed; None where empty or null."""
    if isinstance(line, bytes):
        try:
            line = line.decode()
        except UnicodeDecodeError:
            raise Fault("not_utf8") from None
    found, at = [], 0
    while True:
        match = CELL.match(line, at)
        if not match:
            raise Fault("not_json")
        quoted, plain = match.groups()
        cell = Cell((plain if quoted is None else quoted.replace('""', '"')).strip(" \t"))
        found.append(None if cell == "" or cell.lower() == "null" else cell)
        if match.end() == len(line):
            return found
        at = match.end() + 1


# --- one field


def meter_of(value):
    if value is None:
        raise Fault("missing_field")
    if isinstance(value, Number):
        if not re.fullmatch(r"-?[0-9]+", value):
            raise Fault("wrong_type")
    elif not isinstance(value, str):
        raise Fault("wrong_type")
    bytes_long = len(value.encode())
    if not 1 <= bytes_long <= 64 or re.search("[\x00-\x1f\x7f-\x9f]", value):
        raise Fault("out_of_range")
    return str(value)


def time_of(value, unit, zone):
    if value is None:
        raise Fault("missing_field")
    if isinstance(value, Number) or (isinstance(value, Cell) and NUMBER.fullmatch(value)):
        time = milliseconds(value, unit)
    elif isinstance(value, str):
        time = instant(value, zone)
    else:
        raise Fault("wrong_type")
    if not FIRST_TIME <= time < END_TIME:
        raise Fault("out_of_range")
    return time


def milliseconds(text, unit):
    """A numeric time; a fraction of a millisecond is cut off."""
    try:
        time = decimal.Decimal(str(text))
    except decimal.InvalidOperation:  # an exponent beyond what Decimal holds: 0, or far outside
        raise Fault("out_of_range") from None
    if not -decimal.Decimal(10**15) < time < decimal.Decimal(10**15):
        raise Fault("out_of_range")
    with decimal.localcontext(prec=len(text) + 32):
        return int(time * unit)


def instant(text, zone):
    """RFC 3339 text, ms since the epoch."""
    match = RFC_3339.fullmatch(text)
    if not match:
        raise Fault("wrong_type", "out_of_range")
    year, month, day, hour, minute, second = (int(part) for part in match.groups()[:6])
    leap = second == 60
    try:
        local = datetime.datetime(year, month, day, hour, minute, second - leap)
    except ValueError:
        raise Fault("wrong_type", "out_of_range") from None
    if match[8]:
        aware = local.replace(tzinfo=datetime.timezone.utc)
        shift = 0
    elif match[9]:
        hours, minutes = int(match[10]), int(match[11])
        if hours > 23 or minutes > 59:
            raise Fault("wrong_type", "out_of_range")
        aware = local.replace(tzinfo=datetime.timezone.utc)
        shift = (hours * 60 + minutes) * 60_000 * (1 if match[9] == "+" else -1)
    elif zone:
        # fold=0 is the first of a repeated hour, and moves a missing one forward.
        aware = local.replace(tzinfo=zone, fold=0)
        shift = 0
    else:
        raise Fault("wrong_type", "out_of_range", "missing_field")
    fraction = int((match[7] or "0")[:3].ljust(3, "0"))
    time = round((aware - EPOCH) / datetime.timedelta(milliseconds=1)) - shift + 1000 * leap
    if leap and time % 86_400_000:  # a leap second ends a day of UTC
        raise Fault("wrong_type", "out_of_range")
    return time + fraction


def value_of(value):
    if value is None:
        return None
    if isinstance(value, Cell) and not NUMBER.fullmatch(value):
        raise Fault("wrong_type")
    if not isinstance(value, (Number, Cell)):
        raise Fault("wrong_type")
    number = float(value)
    if number in (float("inf"), float("-inf")):
        raise Fault("out_of_range")
    return number + 0.0  # -0 becomes 0


def status_of(value):
    if value is None:
        return None
    if isinstance(value, Number) or not isinstance(value, str):
        raise Fault("wrong_type")
    return str(value)
