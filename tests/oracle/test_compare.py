"""The comparison and the inputs of the cases, against damage made on purpose."""

import json
import os
import random
import shutil
import subprocess
import sys
import unittest

import compare
import inputs
import matrix
import oracle
import records
import same
import settings
from test_oracle import T0, Files, decode, source

HERE = os.path.dirname(os.path.abspath(__file__))
CONFIG = """
[sources.readings]
kind = "file"
path = "in.jsonl"
max_jump = "off"
[windows]
kind = "%s"
gap = "5s"
[detectors.moving_average]
[detectors.limits]
voltage = { low = 228.0 }
[detectors.status]
[sinks.anomalies]
[sinks.stats]
"""


class CompareCases(Files):
    """What the oracle writes passes; every kind of damage is seen."""

    def outputs(self, kind="tumbling"):
        random.seed(11)
        lines = []
        for index in range(400):
            time = T0 + index * 1000 - random.choice([0, 0, 0, 10_000, 40_000])
            status = random.choice(["OK", "FAILURE"])
            lines.append(json.dumps({"meter_id": f"m{index % 3}", "timestamp": time, "voltage": random.gauss(230, 1), "status": status}))
        lines += ["{broken", '{"meter_id":"m0"}']
        self.write("in.jsonl", "\n".join(lines))
        self.write("config.toml", CONFIG % kind)
        results = oracle.recompute(settings.read("config.toml"))
        oracle.write(results, "out")
        self.paths = {part: f"out/{part}.jsonl" for part in ("anomalies", "stats", "late", "dead", "summary")}
        self.results = results
        return results

    def found(self):
        return dict(compare.compare_all(self.results, self.paths)[0].found)

    def damage(self, part, change):
        """Applies `change` to the list of lines of a part, and back."""
        with open(self.paths[part], encoding="utf-8") as file:
            before = file.read()
        lines = [json.loads(line) for line in before.splitlines()]
        change(lines)
        self.write(self.paths[part], "".join(json.dumps(line) + "\n" for line in lines))
        found = self.found()
        self.write(self.paths[part], before)
        return found

    def test_right_outputs_pass(self):
        for kind in ["tumbling", "sliding", "session"]:
            results = self.outputs(kind)
            self.assertTrue(results.anomalies and results.windows and results.judged.late and results.judged.dead)
            self.assertEqual(self.found(), {})

    def test_damage_is_seen(self):
        self.outputs()
        parts = ["anomalies", "stats", "late", "dead"]
        for part in parts:
            with self.subTest(part=part):
                self.assertIn(part, self.damage(part, lambda lines: lines.pop(0)))
                self.assertIn(part, self.damage(part, lambda lines: lines.append(lines[0])))
                for name in self.first(part):
                    if (part, name) in [("dead", "message"), ("anomalies", "id")]:
                        continue
                    self.assertIn(part, self.damage(part, lambda lines: lines[0].update({name: "damaged"})), name)
                    self.assertIn(part, self.damage(part, lambda lines: lines[0].pop(name)), name)

        def nudge(name, factor):
            return lambda lines: lines[0].update({name: lines[0][name] * factor})

        for name in ["mean", "stddev"]:
            self.assertEqual(self.damage("stats", nudge(name, 1 + 1e-10)), {})
            self.assertIn("stats", self.damage("stats", nudge(name, 1 + 1e-8)))
        for name in ["min", "max", "first", "last"]:
            self.assertIn("stats", self.damage("stats", nudge(name, 1 + 1e-15)))
        self.assertEqual(self.damage("anomalies", nudge("score", 1 + 1e-7)), {})
        self.assertIn("anomalies", self.damage("anomalies", nudge("score", 1 + 1e-5)))
        self.assertIn("anomalies", self.damage("anomalies", lambda lines: lines[0].update(id=lines[1]["id"])))
        self.assertIn("anomalies", self.damage("anomalies", lambda lines: lines[0].update(id="X" * 32)))
        self.assertIn("stats", self.damage("stats", lambda lines: lines.append({**lines[0], "revision": 1})))
        self.assertIn("summary", self.damage("summary", lambda lines: lines[0]["sources"]["readings"].update(used=1)))
        self.assertIn("summary", self.damage("summary", lambda lines: lines[0].update(windows=1)))
        self.assertIn("summary", self.damage("summary", lambda lines: lines[0]["anomalies"]["by_kind"].popitem()))

    def first(self, part):
        with open(self.paths[part], encoding="utf-8") as file:
            return list(json.loads(file.readline()))

    def test_revisions_with_lateness(self):
        results = self.outputs("session")
        results.settings.windows.allowed_lateness = 1
        null = {name: None for name in compare.STATISTICS}

        def withdrawn(lines):
            gone = {**lines[0], "window_start": lines[0]["window_start"] + 1, "count": 7, "revision": 0}
            lines.append(gone)
            lines.append({**gone, **null, "count": 0, "revision": 1})

        del self.paths["summary"]
        self.assertEqual(self.damage("stats", withdrawn), {})
        self.assertEqual(self.damage("stats", lambda lines: lines.insert(0, {**lines[0], "count": 99, "revision": 0})
                                     or lines[1].update(revision=1)), {})
        self.assertIn("stats", self.damage("stats", lambda lines: lines.append({**lines[0], "count": 99, "revision": 1})))
        self.assertIn("stats", self.damage("stats", lambda lines: lines.append({**lines[0], "revision": 0})))

    def test_a_near_miss_may_fire_or_not(self):
        results = self.outputs()
        anomaly = next(of for of in results.anomalies if of.detector == "moving_average")
        index = results.anomalies.index(anomaly)
        anomaly.near = True
        self.assertEqual(self.damage("anomalies", lambda lines: lines.pop(index)), {})

    def test_exit_codes(self):
        self.outputs()

        def run(*arguments):
            command = [sys.executable, os.path.join(HERE, "compare.py"), "config.toml", *arguments]
            return subprocess.run(command, capture_output=True, check=False).returncode

        self.assertEqual(run("--stats", "out/stats.jsonl"), 0)
        self.assertEqual(run("--stats", "out/late.jsonl"), 1)
        self.assertEqual(run("--stats", "out/none.jsonl"), 2)
        self.assertEqual(run("--set", "sources.readings.future_limit='1h'"), 2)


class SameCases(unittest.TestCase):
    def line(self, meter, start, count=1, revision=0):
        return json.dumps({"meter": meter, "channel": "v", "window_start": start, "count": count, "revision": revision}).encode()

    def test_lines_and_their_order_by_meter(self):
        a, b, c = self.line("a", 0), self.line("a", 1), self.line("b", 0)
        self.assertEqual(same.differences([a, b, c], [c, a, b]), [])
        self.assertEqual(len(same.differences([a, b, c], [b, a, c])), 1)
        self.assertEqual(len(same.differences([a, b], [a, a, b])), 1)
        dead = [b'{"offset":1}', b'{"offset":2}']
        self.assertEqual(same.differences(dead, dead[::-1]), [])

    def test_truth_ignores_how_often_a_window_was_published(self):
        once = [self.line("a", 0, 3)]
        twice = [self.line("a", 0, 2), self.line("a", 0, 3, 1), self.line("a", 5, 1), self.line("a", 5, 0, 1)]
        self.assertEqual(same.truth(once), same.truth(twice))
        self.assertNotEqual(same.truth(once), same.truth(twice[:1]))


class InputCases(Files):
    """What is done to a file changes nothing of what it says."""

    def read(self, **keys):
        return list(records.read(source(path="in/*", **keys)))

    def written(self, lines, *steps):
        shutil.rmtree("in", ignore_errors=True)
        os.makedirs("in")
        matrix.write_files(lines, [step.split() for step in steps], "in")

    def test_messy_compressed_and_csv_files_say_the_same(self):
        def heart(of):
            return of.meter, of.time, of.values, of.status and of.status.strip()

        lines = list(inputs.hostile(readings=500, meters=10))
        said = [heart(decode(line)) for line in lines]
        for steps, keys in [([], {}), (["messy", "gzip"], {}), (["gzip"], {}), (["csv"], {"format": "csv"}), (["csv", "messy"], {"format": "csv"})]:
            with self.subTest(steps=steps):
                self.written(lines, *steps)
                self.assertEqual([heart(of) for of in self.read(**keys)], said)

    def test_split_puts_each_meter_in_one_partition(self):
        lines = list(inputs.hostile(readings=500, meters=10))
        self.written(lines, "split 3")
        got = self.read()
        self.assertEqual(len(got), 500)
        self.assertEqual(len({(of.meter, of.partition) for of in got}), len({of.meter for of in got}))
        self.assertEqual(len({of.partition for of in got}), 3)

    def test_awkward_records_have_every_reason(self):
        self.written(list(inputs.awkward()))
        reasons = set().union(*(of.reasons for of in self.read() if isinstance(of, records.Dead)))
        self.assertEqual(reasons, {"not_utf8", "not_json", "too_long", "too_deep", "missing_field", "wrong_type", "out_of_range"})


if __name__ == "__main__":
    unittest.main()
