"""Inputs of the end-to-end cases: hostile readings, awkward records, and what can be done to a file before it is read."""

import datetime
import gzip
import json
import os
import random
import zlib

MINUTE = 60_000
START = 1_704_067_200_000  # 2024-01-01
HOUSEHOLD = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "fixtures", "household.jsonl.gz")
METERS = ["a", "meter-000002", "0123456789abcdef", "0123456789abcdefg", "a-meter-of-22-characte", "Zähler 7", "x" * 64, 17, -4, "0"]


def hostile(readings=20_000, meters=10, seed=1, gap_share=0.001):
    """Lines with all that a fleet does wrong: disorder up to and just beyond the limit of 30 s, equal times, repeats,
    flipped digits, silence, missing channels, constants, outliers, tiny noise, and numbers written in every way."""
    rng = random.Random(seed)
    ids = [METERS[index] if index < len(METERS) else f"meter-{index:06}" for index in range(meters)]
    clock, newest, recent = START, START, []
    for _ in range(readings):
        clock += rng.choice([0, 0, 1, 137, 1000]) if rng.random() > gap_share else rng.randrange(30 * MINUTE)
        meter = rng.randrange(meters)
        time = hostile_time(rng, clock, newest)
        if START <= time < clock + 86_400_000:
            newest = max(newest, time)
        line = {"meter_id": ids[meter], "timestamp": time, **hostile_channels(rng, meter, time)}
        if recent and rng.random() < 0.02:
            line = rng.choice(recent)
        recent = [*recent[-50:], line]
        yield written(rng, line)


def hostile_time(rng, clock, newest):
    """The event time of the next reading."""
    draw = rng.random()
    if draw < 0.90:
        return clock
    if draw < 0.95:
        return clock - rng.randrange(25_000)
    if draw < 0.98:
        return newest - 30_000 + rng.choice([0, 1, -1, -1000, -60_000, -600_000])
    if draw < 0.982:
        return clock + (1 << rng.randrange(27, 38))  # a flipped bit: 1.5 days to 4 years ahead
    return clock // MINUTE * MINUTE


def hostile_channels(rng, meter, time):
    """The channels and the status of a reading."""
    line = {}
    regime = (time // (10 * MINUTE) + meter) % 4
    if rng.random() < 0.95:
        line["voltage"] = [230.0, rng.gauss(230, 1), 1000 + rng.random() * 1e-3, rng.choice([229.5, 230.5])][regime]
    if rng.random() < 0.02:
        line["voltage"] = rng.choice([0, -1e9, 1e12, 253.0000001, 253, 207, 206.9, None, -0.0])
    if rng.random() < 0.5:
        line["current"] = rng.choice([0, 0.1, rng.expovariate(0.2), 1e-300, -5])
    if rng.random() < 0.3:
        line["temperature"] = round(rng.gauss(-3, 4), 1)
    status = rng.choice(["OK", None, "x", "FAILURE" if rng.random() < 0.05 else "OK", "µ-FAILURE-\n" if rng.random() < 0.02 else "ok"])
    if rng.random() < 0.8:
        line["status"] = status
    return line


def written(rng, line):
    """A line of JSON, written in one of many ways that mean the same."""
    line = dict(line)
    draw = rng.random()
    if draw < 0.1:
        line["meterId"] = line.pop("meter_id")
    if draw > 0.9:
        items = list(line.items())
        rng.shuffle(items)
        line = dict(items)
    if 0.1 < draw < 0.15:
        line = {"extra": {"a": [1, {"b": None}], "voltage": "x"}, **line, "more": [True, "}\\\""]}
    if 0.15 < draw < 0.2:
        seconds, ms = divmod(line["timestamp"], 1000)
        moment = datetime.datetime(1970, 1, 1) + datetime.timedelta(seconds=seconds + 5400)
        line["timestamp"] = f"{moment:%Y-%m-%dT%H:%M:%S}.{ms:03}+01:30"
    text = json.dumps(line, ensure_ascii=draw < 0.5, separators=(",", ":") if draw < 0.6 else None)
    if 0.2 < draw < 0.25 and '"timestamp":' in text:
        text = text.replace(f'"timestamp":{line["timestamp"]}', f'"timestamp":{line["timestamp"]}.75')
    return text.encode()


def awkward():
    """Records at the edges of the contract: dead letters of every reason, and living ones that look dead."""
    def line(rest="", meter='"m"', time=str(START)):
        return f'{{"meter_id":{meter},"timestamp":{time}{rest}}}'.encode()

    yield line(',"voltage":230')
    for rest in [
        ',"voltage":"230"', ',"voltage":true', ',"voltage":{}', ',"voltage":[]', ',"voltage":1e999', ',"voltage":-1e999',
        ',"voltage":null', ',"voltage":-0', ',"voltage":1e-999', ',"voltage":1,"voltage":2', ',"voltage":1,"voltage":null',
        ',"voltage":"x","voltage":2', ',"voltage":123456789012345678901234567890', ',"voltage":0.1e+2', ',"voltage":01',
        ',"voltage":1.', ',"voltage":.5', ',"voltage":+1', ',"voltage":NaN', ',"voltage":Infinity', ',"voltage":0x1',
        ',"status":1', ',"status":null', ',"status":"\\u0046AILURE"', ',"status":"\\ud83d\\ude00"', ',"status":"\\ud83d"',
        ',"status":"\\x"', ',"status":"a\tb"', ',"volt\\u0061ge":9', ',"x":1e999', ',"x":"\\ud800"', ',"x":[1,]', ',"x":{"a":1,}',
        ',"x":' + "[" * 31 + "]" * 31, ',"x":' + "[" * 32 + "]" * 32, ',"x":' + '{"a":' * 31 + "1" + "}" * 31,
        ',"x":' + '{"a":' * 32 + "1" + "}" * 32, ',"x":"' + "[" * 100 + '"', "," + " " * 500 + '"voltage":1', ",", ',"x"', ',"x":',
        ',"x":tru', ',x:1', ",'x':1", ',"":1', ',"x":"' + "é" * 100 + '"',
    ]:
        yield line(rest)
    for meter in ['""', '"' + "x" * 64 + '"', '"' + "x" * 65 + '"', '"' + "é" * 32 + '"', '"' + "é" * 33 + '"', "1.5", "1e3", "true", "null",
                  "[]", "{}", '"\\u0000"', '"a\\nb"', '"\\u007f"', '"\\u00e9"', "12345678901234567890123456789", '"\\ud83d\\ude00"', '" "']:
        yield line(meter=meter)
    for time in ["946684799999", "946684800000", "4102444799999", "4102444800000", "0", "-1", "1704067200", "1704067200000.999",
                 "1.7040672e12", "1704067200000e0", "17040672000000e-1", "1e400", '"1704067200000"', "true", "null", "[]", '""', '"now"',
                 '"2024-01-01T00:00:00Z"', '"2024-01-01 00:00:00.123456789+00:00"', '"2024-01-01T00:00:00"', '"2024-01-01"',
                 '"2024-02-30T00:00:00Z"', '"2024-01-01T24:00:00Z"', '"2024-01-01T00:00:00+24:00"', '"2024-01-01T00:00Z"',
                 '"2024-01-01t00:00:00z"', '"1999-12-31T23:59:59Z"', '"2099-12-31T23:59:59.999-00:00"', '"2100-01-01T00:59:00+01:00"',
                 '"+2024-01-01T00:00:00Z"', '"2024-01-01T00:00:00,5Z"', '"2024-01-01T00:00:00Z[UTC]"', '" 2024-01-01T00:00:00Z"']:
        yield line(time=time)
    yield from [
        b"{}", b"[]", b"1", b"null", b'"text"', b"{", b"}", b'{"meter_id":"m"}', b'{"timestamp":1704067200000}', b"\xff\xfe",
        line() + b" x", line() + line(), b" " + line() + b" \t", b"\xef\xbb\xbf" + line(), line()[:-1], line(',"x":"\xc3"').replace(b"\xc3\x83", b"\xc3"),
        b'{"meter_id":"m","timestamp":1704067200000,"x":"' + b"y" * 70_000 + b'"}',  # long, and alive
        b'{"meter_id":"m","timestamp":1704067200000,"x":"' + b"y" * 70_000,  # dead, cut in its letter
        b'{"meter_id":"m","x":"' + b"y" * (65_536 - 22) + "é".encode() * 10 + b'"}',  # cut inside a character
        b'{"meter_id":"m","timestamp":1704067200000,"x":"' + b"y" * 1_100_000 + b'"}',  # longer than max_record
        b"\xff" * 1_200_000,
        line(',"voltage":231'),
    ]


def awkward_csv():
    """The same for CSV; the first row names the fields."""
    good = f"m,{START},230,OK"
    yield b' meter_id ,"timestamp", voltage,status'
    for row in [
        good, f"m,{START}", f"m,{START},,", f"m,{START},NULL,null", f'"m",{START},"230","a ""b"" , c"', f" m , {START} , 230 , OK ",
        f",{START},1,x", f"m,,1,x", f"m,{START},x,x", f"m,{START},+1,x", f"m,{START},1e2,x", f"m,{START},1e999,x", f"m,{START},0x1,x",
        f"m,{START},-0,x", f"m,2024-01-01T00:00:00Z,1,x", f"m,2024-01-01 00:00:00+01:00,1,x", "m,2024-01-01 00:00:00,1,x", "m,1,1,x",
        f'm,{START},1,"x', f"42,{START},1,FAILURE", "x" * 64 + f",{START},1,x", "x" * 65 + f",{START},1,x", f"m,{START},1,x,y", f"m,{START},NaN,x",
        f"m,{START}.9,1,x", "null,1,1,x", f"m,true,1,x",
    ]:
        yield row.encode()
    yield b"m,\xff,1,x"
    yield good.encode()


# --- what can be done to lines


def to_csv(lines):
    """JSON lines as CSV, column by column as they first appear; what is not JSON is left out."""
    rows = []
    for line in lines:
        try:
            rows.append(json.loads(line))
        except ValueError:
            continue
    columns = list(dict.fromkeys(key for row in rows for key in row if not isinstance(row[key], (dict, list))))
    yield ",".join(columns).encode()
    for row in rows:
        yield ",".join(cell(row.get(column)) for column in columns).encode()


def cell(value):
    if value is None or isinstance(value, (dict, list)):
        return ""
    text = value if isinstance(value, str) else json.dumps(value)
    text = text.replace("\n", " ")
    return '"' + text.replace('"', '""') + '"' if set(text) & set('," ') else text


def split(lines, parts):
    """Lines by meter over `parts` files: {name: lines}."""
    files = {f"part-{part}.jsonl": [] for part in range(parts)}
    for line in lines:
        part = zlib.crc32(meter_of(line).encode()) % parts
        files[f"part-{part}.jsonl"].append(line)
    return files


def meter_of(line):
    try:
        record = json.loads(line)
        return str(record.get("meter_id", record.get("meterId")))
    except (ValueError, AttributeError):
        return ""


def messy(lines):
    """The bytes of a file with all that is skipped: a mark, blanks, carriage returns, no line feed at the end."""
    out = [b"\xef\xbb\xbf"]
    for index, line in enumerate(lines):
        if index % 7 == 3:
            out.append([b"\n", b"\r\n", b" \t \n"][index % 3])
        out += [line, b"\r\n" if index % 5 == 0 else b"\n"]
    return b"".join(out)[:-1].removesuffix(b"\r")


def plain(lines):
    return b"".join(line + b"\n" for line in lines)


def compress(data, how):
    """gzip (two members, to see that both are read) or zstd (two frames)."""
    half = len(data) // 2
    if how == "gzip":
        return gzip.compress(data[:half], mtime=0) + gzip.compress(data[half:], mtime=0)
    import zstandard

    frames = zstandard.ZstdCompressor()
    return frames.compress(data[:half]) + frames.compress(data[half:])


def household():
    with gzip.open(HOUSEHOLD, "rb") as file:
        return file.read().splitlines()
