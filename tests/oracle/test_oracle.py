"""The oracle against hand-computed cases: `python3 -m unittest discover -s tests/oracle`."""

import gzip
import math
import os
import random
import tempfile
import unittest

import detectors
import judge
import oracle
import records
import settings
import windows

MINUTE = 60_000
T0 = 1_700_000_040_000  # a whole minute


def reading(time, value=1.0, meter="m", partition="p", offset=0, status=None, channel="voltage"):
    return records.Reading(partition, offset, meter, time, {channel: value} if value is not None else {}, status)


def source(**keys):
    base = {"path": "-", **keys}
    return settings.source_of(base)


def decode(line, offset=0, header=None, **keys):
    """The reading of a line, or the reasons why it is dead."""
    raw = line if isinstance(line, bytes) else line.encode()
    try:
        return records.decoder(source(**keys))("p", offset, raw, header)
    except records.Fault as fault:
        return set(fault.reasons)


class Files(unittest.TestCase):
    """Cases that need input files; `config` runs the oracle over them."""

    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.now = os.getcwd()
        os.chdir(self.folder.name)
        self.addCleanup(os.chdir, self.now)

    def write(self, name, data):
        os.makedirs(os.path.dirname(name) or ".", exist_ok=True)
        with open(name, "wb") as file:
            file.write(data if isinstance(data, bytes) else data.encode())

    def judged(self, times, allowed_lateness=0, **keys):
        self.write("in.jsonl", "".join(f'{{"meter_id":"m","timestamp":{time},"voltage":1}}\n' for time in times))
        return judge.judge(source(path="in.jsonl", **keys), allowed_lateness)[0]


class SettingsCases(unittest.TestCase):
    def test_texts(self):
        for text, wanted in [("250ms", 250), ("30s", 30_000), ("5m", 300_000), ("1h", 3_600_000), ("1d", 86_400_000)]:
            self.assertEqual(settings.duration(text), wanted)
        for text, wanted in [("64KiB", 65_536), ("128MB", 128_000_000), ("4096", 4096)]:
            self.assertEqual(settings.size(text), wanted)
        for text in ["5", "5 m", "1w", "-1s", "1.5s"]:
            self.assertRaises(settings.Refused, settings.duration, text)

    def test_defaults_and_overrides(self):
        tree = {"sources": {"readings": {"path": "x"}}, "detectors": {"moving_average": {}, "status": {}}}
        settings.assign(tree, "windows.kind", "tumbling")
        settings.assign(tree, "detectors.moving_average.threshold", "3")
        got = settings.from_tree(tree)
        self.assertEqual(got.source, settings.Source(path="x"))
        self.assertEqual((got.windows.size, got.windows.slide), (60_000, 60_000))
        self.assertEqual((got.moving_average.threshold, got.moving_average.baseline), (3, ("last", 60)))
        self.assertEqual((got.limits, got.status), (None, ["FAILURE"]))
        self.assertEqual(settings.baseline_of("5m"), ("slices", 300_000))
        self.assertRaises(settings.Refused, settings.baseline_of, "100ms")


class LineCases(Files):
    def test_offsets_skip_marks_blanks_and_carriage_returns(self):
        got = list(records.lines(b"\xef\xbb\xbfab\r\n\n \t\r\nc\n\r\nlast"))
        self.assertEqual(got, [(3, b"ab"), (12, b"c"), (16, b"last")])
        self.assertEqual(list(records.lines(b"")), [])

    def test_compression_is_known_by_content(self):
        self.write("x", gzip.compress(b"one\n") + gzip.compress(b"two\n"))
        self.assertEqual(records.content("x"), b"one\ntwo\n")

    def test_partitions_are_named_from_the_fixed_part(self):
        for name in ["data/b/2.jsonl", "data/a/1.jsonl", "data/a/1.csv"]:
            self.write(name, "")
        self.assertEqual([name for name, _ in records.partitions("data/*/*.jsonl")], ["a/1.jsonl", "b/2.jsonl"])
        self.assertEqual([name for name, _ in records.partitions("data/a/*.csv")], ["1.csv"])
        self.assertEqual([name for name, _ in records.partitions("data/a/1.csv")], ["1.csv"])
        self.assertRaises(settings.Refused, records.partitions, "data/none*")


class RecordCases(unittest.TestCase):
    def test_dead_letters_have_their_reasons(self):
        deep = '{"meter_id":"m","timestamp":%d,"x":%s}'
        cases = [
            (b'{"meter_id":"\xff"}', {"not_utf8"}),
            ("", {"not_json"}),
            ("[1]", {"not_json"}),
            ('{"meter_id":"m","timestamp":1} x', {"not_json"}),
            ('{"meter_id":"m","timestamp":01}', {"not_json"}),
            ('{"meter_id":"m","timestamp":NaN}', {"not_json"}),
            ('{"meter_id":"\\ud800","timestamp":%d}' % T0, {"not_json"}),
            ('{"x":"\\ud800","x":1,"meter_id":"m","timestamp":%d}' % T0, {"not_json"}),
            (deep % (T0, "[" * 32 + "]" * 32), {"too_deep"}),
            (deep % (T0, "[" * 32), {"too_deep", "not_json"}),
            ('{"timestamp":%d}' % T0, {"missing_field"}),
            ('{"meter_id":null,"timestamp":%d}' % T0, {"missing_field"}),
            ('{"meter_id":"m"}', {"missing_field"}),
            ('{"meter_id":1.5,"timestamp":%d}' % T0, {"wrong_type"}),
            ('{"meter_id":true,"timestamp":%d}' % T0, {"wrong_type"}),
            ('{"meter_id":"","timestamp":%d}' % T0, {"out_of_range"}),
            ('{"meter_id":"%s","timestamp":%d}' % ("x" * 65, T0), {"out_of_range"}),
            ('{"meter_id":"a\\u0007b","timestamp":%d}' % T0, {"out_of_range"}),
            ('{"meter_id":"m","timestamp":946684799999}', {"out_of_range"}),
            ('{"meter_id":"m","timestamp":4102444800000}', {"out_of_range"}),
            ('{"meter_id":"m","timestamp":1e99999999999999999999}', {"out_of_range"}),
            ('{"meter_id":"m","timestamp":true}', {"wrong_type"}),
            ('{"meter_id":"m","timestamp":%d,"voltage":"230"}' % T0, {"wrong_type"}),
            ('{"meter_id":"m","timestamp":%d,"voltage":true}' % T0, {"wrong_type"}),
            ('{"meter_id":"m","timestamp":%d,"voltage":{}}' % T0, {"wrong_type"}),
            ('{"meter_id":"m","timestamp":%d,"voltage":1e999}' % T0, {"out_of_range"}),
            ('{"meter_id":"m","timestamp":%d,"status":1}' % T0, {"wrong_type"}),
            ('{"timestamp":%d,"voltage":"x"}' % T0, {"missing_field", "wrong_type"}),
        ]
        for line, wanted in cases:
            with self.subTest(line=line):
                self.assertEqual(decode(line), wanted)
        self.assertEqual(decode('{"meter_id":"m","timestamp":%d}' % T0, max_record="10"), {"too_long"})

    def test_readings(self):
        def line(rest):
            return '{"meter_id":"m","timestamp":%d%s}' % (T0, rest)

        cases = [
            (line(""), {}, None),
            (line(',"voltage":230.5,"current":null,"status":"OK"'), {"voltage": 230.5}, "OK"),
            (line(',"voltage":1,"voltage":2'), {"voltage": 2.0}, None),
            (line(',"voltage":-0.0,"other":1e999'), {"voltage": 0.0}, None),
            (line(',"volt\\u0061ge":2.5E1'), {"voltage": 25.0}, None),
            (line(',"x":' + "[" * 31 + "]" * 31), {}, None),
            (line(',"x":"' + "[" * 99 + '"'), {}, None),
            (" " + line(',"status":null') + "\t", {}, None),
        ]
        for text, values, status in cases:
            with self.subTest(text=text):
                got = decode(text)
                self.assertEqual((got.meter, got.time, got.values, got.status), ("m", T0, values, status))
        self.assertEqual(math.copysign(1, decode(line(',"voltage":-0')).values["voltage"]), 1)
        self.assertEqual(decode('{"meterId":-17,"timestamp":%d}' % T0).meter, "-17")
        self.assertEqual(decode('{"meter_id":null,"meterId":"n","timestamp":%d}' % T0).meter, "n")
        self.assertEqual(decode('{"meter_id":"%s","timestamp":%d}' % ("é" * 32, T0)).meter, "é" * 32)

    def test_times(self):
        cases = [
            ("1700000000123.999", {}, 1_700_000_000_123),
            ("1.7e12", {}, 1_700_000_000_000),
            ("1700000000.1239", {"time_unit": "s"}, 1_700_000_000_123),
            ('"2023-11-14T22:13:20Z"', {}, 1_700_000_000_000),
            ('"2023-11-14 22:13:20.1239+01:30"', {}, 1_699_994_600_123),
            ('"2023-11-14t22:13:20z"', {}, 1_700_000_000_000),
            ('"2023-11-14T22:13:20"', {"time_zone": "Europe/Paris"}, 1_699_996_400_000),
            ('"2023-10-29T02:30:00"', {"time_zone": "Europe/Paris"}, 1_698_539_400_000),  # repeated: the first, +02:00
            ('"2023-03-26T02:30:00"', {"time_zone": "Europe/Paris"}, 1_679_794_200_000),  # missing: 03:30 +02:00
            ('"2000-01-01T00:00:00Z"', {}, 946_684_800_000),
            ('"2099-12-31T23:59:59.999Z"', {}, 4_102_444_799_999),
            ('"2016-12-31T18:29:60.5-05:30"', {}, 1_483_228_800_500),
            ('"2016-12-31T12:00:60Z"', {}, {"wrong_type", "out_of_range"}),
            ('"2000-01-01T00:30:00+01:00"', {}, {"out_of_range"}),
            ('"2023-11-14T22:13:20"', {}, {"wrong_type", "out_of_range", "missing_field"}),
            ('"2023-02-29T00:00:00Z"', {}, {"wrong_type", "out_of_range"}),
            ('"1700000000000"', {}, {"wrong_type", "out_of_range"}),
            ("1700000000", {}, {"out_of_range"}),
        ]
        for text, keys, wanted in cases:
            with self.subTest(text=text):
                got = decode('{"meter_id":"m","timestamp":%s}' % text, **keys)
                self.assertEqual(got if isinstance(got, set) else got.time, wanted)

    def test_csv(self):
        header = records.cells(' "meter_id" ,timestamp,voltage, status')
        cases = [
            (f"a,{T0},230.5,OK", ("a", {"voltage": 230.5}, "OK")),
            (f' a , {T0} ,NULL,""', ("a", {}, None)),
            (f'"a,""b""",{T0},1,x', ('a,"b"', {"voltage": 1.0}, "x")),
            (f"a,{T0}", {"not_json"}),
            ("7,2023-11-14T22:14:00Z,,", ("7", {}, None)),
            (f"a,{T0},1,x,more", {"not_json"}),
            (f'a,{T0},"1', {"not_json"}),
            (f'a,{T0},1"2,', {"not_json"}),
            (f",{T0},1,x", {"missing_field"}),
            (f"a,{T0},x,", {"wrong_type"}),
            (f"a,{T0},+1,", {"wrong_type"}),
            (f"a,{T0},1e999,", {"out_of_range"}),
            (b"a,\xff", {"not_utf8"}),
        ]
        for line, wanted in cases:
            with self.subTest(line=line):
                got = decode(line, header=header, format="csv")
                self.assertEqual(got if isinstance(got, set) else (got.meter, got.values, got.status), wanted)
                if not isinstance(got, set):
                    self.assertEqual(got.time, T0)


class JudgeCases(Files):
    def test_lateness_is_relative_to_the_newest_before(self):
        times = [T0, T0 + 100_000, T0 + 70_000, T0 + 69_999, T0 + 200_000, T0 + 100_000]
        got = self.judged(times, max_jump="off")
        self.assertEqual([late.reading.time - T0 for late in got.late], [69_999, 100_000])
        self.assertEqual([late.watermark - T0 for late in got.late], [70_000, 170_000])
        self.assertEqual(got.counts(), {"read": 6, "used": 4, "late": 2, "duplicate": 0, "dead": 0})
        got = self.judged(times, allowed_lateness=1, max_jump="off")
        self.assertEqual([(late.reading.time - T0, late.watermark - T0) for late in got.late], [(100_000, 170_000)])

    def test_the_first_16_records_set_newest_to_their_smallest(self):
        first = [T0 + 500_000 - index * 10_000 for index in range(16)]  # the smallest: T0 + 350 000
        self.assertEqual(len(self.judged(first + [T0 + 320_000]).late), 0)
        self.assertEqual(len(self.judged(first + [T0 + 319_999]).late), 1)
        self.assertEqual(len(self.judged(first[:15] + [T0]).late), 0)

    def test_a_jump_moves_newest_only_after_16_in_a_row(self):
        hour = 3_600_000
        start, far = [T0] * 16, T0 + 2 * hour
        keys = {"max_jump": "1h"}
        self.assertEqual(len(self.judged(start + [far] * 15 + [T0], **keys).late), 0)
        self.assertEqual(len(self.judged(start + [far] * 16 + [T0], **keys).late), 1)
        interrupted = start + [far] * 15 + [T0] + [far] * 15 + [T0]
        self.assertEqual(len(self.judged(interrupted, **keys).late), 0)
        self.assertEqual(len(self.judged(start + [T0 + hour, T0], **keys).late), 1)  # exactly max_jump is no jump

    def test_duplicates_repeat_meter_time_and_channels(self):
        def line(meter, time, rest):
            return f'{{"meter_id":"{meter}","timestamp":{time}{rest}}}\n'

        self.write("in.jsonl", line("a", T0, ',"voltage":1') + line("a", T0, ',"voltage":2') + line("a", T0, "")
                   + line("b", T0, ',"voltage":1') + line("a", T0 + 1, ',"voltage":1') + line("a", T0, ""))
        got, _ = judge.judge(source(path="in.jsonl", duplicates="drop"), 0)
        self.assertEqual([reading.values for reading in got.duplicate], [{"voltage": 2.0}, {}])
        self.assertEqual(len(got.used), 4)

    def test_a_late_duplicate_is_late_and_dead_comes_first(self):
        got = self.judged([T0, T0 + 100_000, T0, 5], max_jump="off", duplicates="drop")
        self.assertEqual(got.counts(), {"read": 4, "used": 2, "late": 1, "duplicate": 0, "dead": 1})

    def test_meters_in_several_partitions_are_refused_where_order_matters(self):
        for name in ["in/1", "in/2"]:
            self.write(name, f'{{"meter_id":"m","timestamp":{T0},"voltage":1}}\n')
        tree = {"sources": {"readings": {"path": "in/*"}}, "detectors": {"limits": {"voltage": {"low": 2}}}}
        self.assertEqual(len(oracle.recompute(settings.from_tree(tree)).anomalies), 2)
        tree["detectors"]["moving_average"] = {}
        with self.assertRaisesRegex(settings.Refused, "partitions"):
            oracle.recompute(settings.from_tree(tree))
        oracle.recompute(settings.from_tree(tree), name_order=True)


class WindowCases(unittest.TestCase):
    def test_sliding_windows_are_half_open_and_aligned(self):
        of = settings.Windows(kind="sliding", size=MINUTE, slide=20_000)
        got = windows.truth(of, [reading(T0)])
        self.assertEqual([key[2] - T0 for key in sorted(got)], [-40_000, -20_000, 0])
        got = windows.truth(of, [reading(T0 - 1)])
        self.assertEqual([key[2] - T0 for key in sorted(got)], [-60_000, -40_000, -20_000])

    def test_statistics(self):
        of = settings.Windows(kind="tumbling", size=MINUTE, slide=MINUTE)
        used = [reading(T0 + 2, 4.0), reading(T0 + 1, 2.0), reading(T0 + 2, 9.0), reading(T0 + 1, 5.0), reading(T0 + MINUTE, 7.0)]
        got = windows.truth(of, used)
        window = got["m", "voltage", T0]
        self.assertEqual((window.end, window.count, window.mean, window.min, window.max), (T0 + MINUTE, 4, 5.0, 2.0, 9.0))
        self.assertAlmostEqual(window.stddev, math.sqrt((1 + 9 + 16 + 0) / 4), places=15)
        self.assertEqual((window.first, window.last), ({2.0}, {9.0}))
        self.assertEqual(got["m", "voltage", T0 + MINUTE].count, 1)
        self.assertEqual(len(got), 2)

    def test_equal_times_of_two_partitions_leave_the_order_open(self):
        of = settings.Windows(kind="tumbling", size=MINUTE, slide=MINUTE)
        used = [reading(T0, value, partition=name) for name, value in [("a", 1.0), ("a", 2.0), ("b", 3.0), ("b", 4.0)]]
        window = windows.truth(of, used)["m", "voltage", T0]
        self.assertEqual((window.first, window.last), ({1.0, 3.0}, {2.0, 4.0}))

    def test_sessions_split_at_the_gap(self):
        of = settings.Windows(kind="session", gap=1000)
        used = [reading(T0 + at) for at in [3000, 0, 999, 1998, 2998]]
        got = windows.truth(of, used)
        self.assertEqual({(key[2] - T0, window.end - T0, window.count) for key, window in got.items()},
                         {(0, 2998, 3), (2998, 4000, 2)})

    def test_a_reading_without_a_channel_is_in_no_window(self):
        self.assertEqual(windows.truth(settings.Windows(), [reading(T0, None)]), {})


def average(values, times=None, **keys):
    """Anomalies of a moving average over values, as (index, kind, score)."""
    of = settings.moving_average_of({"min_count": 2, "stddev_floor_relative": 0.0, **keys}, ["voltage"])
    used = [reading(T0 + index * 1000 if times is None else times[index], value, offset=index) for index, value in enumerate(values)]
    return [(found.reading.offset, found.kind, found.score) for found in detectors.moving_average(of, used) if not found.near]


class DetectorCases(unittest.TestCase):
    def test_the_reading_itself_is_not_in_its_baseline(self):
        # mean 2, stddev 1
        self.assertEqual(average([1.0, 3.0, 5.0]), [(2, "voltage_spike", 3.0)])
        self.assertEqual(average([1.0, 3.0, 4.5]), [])  # 2.5 is not above 2.5, though rounding may decide
        self.assertEqual(average([1.0, 3.0, -1.0]), [(2, "voltage_drop", 3.0)])
        self.assertEqual(average([1.0, 3.0, 5.0], min_count=3), [])

    def test_anomalous_readings_count_in_later_baselines(self):
        self.assertEqual(average([1.0, 3.0, 5.0, 5.0], baseline="all"), [(2, "voltage_spike", 3.0)])
        self.assertEqual([found[0] for found in average([1.0, 3.0, 1.0, 3.0, 9.0], baseline="last 2")], [4])

    def test_every_meter_has_a_baseline_of_its_own(self):
        of = settings.MovingAverage(channels=["voltage"], min_count=2)
        used = [reading(T0, value, meter) for value in [1.0, 3.0, 9.0] for meter in "ab"] + [reading(T0, 99.0, "c")]
        found = [(anomaly.reading.meter, anomaly.score) for anomaly in detectors.moving_average(of, used)]
        self.assertEqual(found, [("a", 7.0), ("b", 7.0)])

    def test_floors_and_the_cap(self):
        constant = [5.0, 5.0, 5.0]
        self.assertEqual(average(constant), [])
        self.assertEqual(average([5.0, 5.0, 5.1]), [(2, "voltage_spike", 1e6)])
        self.assertEqual(average([5.0, 5.0, 8.0], stddev_floor=1.0), [(2, "voltage_spike", 3.0)])
        self.assertEqual(average([-8.0, -8.0, -5.0], stddev_floor_relative=0.125), [(2, "voltage_spike", 3.0)])
        self.assertEqual(average([0.0, 2e-7, 1.0], baseline="all"), [(2, "voltage_spike", 1e6)])

    def test_last_n_is_in_canonical_order_not_by_time(self):
        times = [T0 + 5000, T0 + 6000, T0, T0 + 1000, T0 + 7000]
        self.assertEqual(average([1.0, 3.0, 11.0, 13.0, 15.0], times, baseline="last 2")[-1], (4, "voltage_spike", 3.0))

    def test_slices_end_with_the_readings_own(self):
        # Slices of 1 s: a reading in slice k sees k - 29 to k, later times in k included.
        def seen(at):
            of = detectors.Slices(30_000)
            for offset in [0, 999, 1000, 29_999, 30_000, 30_999, 31_000]:
                of.add(T0 + offset, float(offset))
            return of.before(T0 + at)[0]

        self.assertEqual([seen(at) for at in [0, 999, 1000, 29_000, 30_000, 31_000, 60_000]], [2, 2, 3, 4, 4, 4, 1])

    def test_exact_sums_equal_gathered_readings(self):
        random.seed(3)
        for scale in [1.0, 1e-9, 1e12, 1e150]:
            whole, gathered = detectors.All(None), detectors.Last(10**9)
            for _ in range(100):
                value = random.choice([random.gauss(230, 1), random.uniform(-1, 1), 5.0]) * scale
                whole.add(0, value)
                gathered.add(0, value)
                for got, wanted in zip(whole.before(0), gathered.before(0)):
                    self.assertTrue(math.isclose(got, wanted, rel_tol=1e-12, abs_tol=1e-13 * scale), (got, wanted))

    def test_severities(self):
        of = settings.MovingAverage(channels=[])
        for score, wanted in [(2.6, {"WARNING"}), (4.1, {"ERROR"}), (8.1, {"CRITICAL"}), (4.0, {"WARNING", "ERROR"})]:
            self.assertEqual(detectors.severities_of(score, of), wanted)

    def test_limits_and_status(self):
        found = list(detectors.limits({"voltage": (207.0, 253.0)}, [reading(T0, x) for x in [206.0, 207.0, 253.0, 254.0]], True))
        self.assertEqual([(a.kind, a.expected, a.score, a.late) for a in found],
                         [("voltage_low", 207.0, 1 / 207, True), ("voltage_high", 253.0, 1 / 253, True)])
        found = list(detectors.limits({"voltage": (0.5, None)}, [reading(T0, -1.0)], False))
        self.assertEqual(found[0].score, 1.5)
        states = [None, "OK", "a FAILURE b", "failure", "WORN FAILURE"]
        found = list(detectors.status(["FAILURE", "WORN"], [reading(T0, status=of, offset=at) for at, of in enumerate(states)], False))
        self.assertEqual([a.reading.offset for a in found], [2, 4])


if __name__ == "__main__":
    unittest.main()
