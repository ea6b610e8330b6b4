#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Tests of the page of `./run scale`. Exits 77 without matplotlib. scale_small.json: `shootdown_scale --quick --filter owner`."""
import copy
import importlib
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

HERE = pathlib.Path(__file__).resolve().parent
GENERATOR = HERE.parents[1] / "bench" / "report" / "make_scale.py"
FIXTURE = HERE / "scale_small.json"
SECTIONS = ("runs", "throughput", "latency", "calibration", "losses", "queueing", "tables", "method")

sys.dont_write_bytecode = True
sys.path[:0] = [str(HERE), str(GENERATOR.parent)]
from report_test import Page  # noqa: E402


class ScaleTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.document = json.loads(FIXTURE.read_text(encoding="utf-8"))
        with tempfile.TemporaryDirectory() as folder:
            target = pathlib.Path(folder) / "scale.html"
            subprocess.run([sys.executable, "-B", str(GENERATOR), str(FIXTURE), "-o", str(target)], check=True)
            cls.text = target.read_text(encoding="utf-8")
        cls.page = Page(cls.text)

    def test_every_section_is_there_once_and_the_page_is_well_formed(self):
        for name in SECTIONS:
            self.assertEqual(self.page.ids.count(name), 1, name)
        self.assertEqual((self.page.unclosed, self.page.open), ([], []))
        self.assertEqual(len(self.page.ids), len(set(self.page.ids)), "ids are not unique")
        links = [a["href"][1:] for tag, a in self.page.elements if tag in ("a", "use")]
        self.assertEqual([i for i in links if i not in self.page.ids], [])
        self.assertEqual(len(self.page.plots()), 2 * len(self.document["hardware"]) + 1)

    def test_the_page_needs_nothing_else(self):
        self.assertNotRegex(self.text, r"(?i)https?:|file:|@import|url\((?!#)")
        self.assertEqual([tag for tag, _ in self.page.elements if tag in ("script", "link", "img", "iframe", "object")], [])

    def test_published_fitted_and_predicted_numbers_stand_side_by_side(self):
        rows = self.page.rows("Map and unmap per second and CPU, thousands")
        self.assertEqual(len(rows), 5)
        for published, cas, add in zip(self.document["published"], self.document["fitted"]["cas"], self.document["predicted"]["add"]):
            row = rows[str(published["cpus"])]
            self.assertEqual(row["CAS published"][1], published["cas"])
            self.assertEqual(row["fitted"][1], cas)
            self.assertEqual(row["add published"][1], published["add"])
            self.assertEqual(row["predicted"][1], add)
            self.assertAlmostEqual(row["add error"][1], 100 * (add / published["add"] - 1))

    def test_the_tables_hold_every_point(self):
        for hardware in self.document["hardware"]:
            rows = self.page.rows(hardware["name"])
            points = {f"{p['strategy']}, {p['cpus']}": p for p in self.document["points"] if p["hardware"] == hardware["name"]}
            self.assertEqual(set(rows), set(points))
            for name, row in rows.items():
                self.assertEqual(row["op/s"][1], points[name]["per_second"])
                self.assertEqual(row["p99"][1], points[name]["p99_ns"])

    def test_a_strategy_that_is_behind_is_listed_where_it_is(self):
        document = copy.deepcopy(self.document)
        for p in document["points"]:
            if (p["strategy"], p["hardware"], p["cpus"]) == ("owner_add", "sync200", 4):
                p["per_second"] /= 2
        page = self.render(document)
        rows = page.rows("owner_add against owner_cas")
        name = next(h["about"] for h in document["hardware"] if h["name"] == "sync200")
        self.assertIn(f"{name}, 4 CPUs", rows)

    def test_a_failed_run_comes_first_and_is_in_no_table(self):
        document = copy.deepcopy(self.document)
        document["points"][0]["failure"] = "device: <it> broke"
        page = self.render(document)
        first = document["points"][0]
        self.assertIn(f"{first['strategy']} on {first['hardware']}, {first['cpus']} CPUs: device: <it> broke", page.text)
        self.assertNotIn(f"{first['strategy']}, {first['cpus']}", page.rows(first["hardware"]))

    def render(self, document):
        page = importlib.import_module("scale_page")
        results = importlib.import_module("scale_results")
        results.check(document)
        return Page(page.render(results.Scale(document)))


class InputTest(unittest.TestCase):
    def test_damaged_input_is_refused_and_the_page_is_left(self):
        document = json.loads(FIXTURE.read_text(encoding="utf-8"))

        def without(*path):
            broken = copy.deepcopy(document)
            at = broken
            for key in path[:-1]:
                at = at[key]
            del at[path[-1]]
            return json.dumps(broken)

        def changed(value, *path):
            broken = copy.deepcopy(document)
            at = broken
            for key in path[:-1]:
                at = at[key]
            at[path[-1]] = value
            return json.dumps(broken)

        whole = json.dumps(document)
        for content in ("", "[]", "{}", whole[:-40], without("kind"), without("points", 0, "p99_ns"), without("predicted"),
                        changed("nan", "points", 0, "per_second"), changed(0, "points", 0, "per_second"),
                        changed("nobody", "points", 0, "strategy"), changed([1.0], "fitted", "cas"), changed(True, "points", 0, "cpus"),
                        changed(0, "published", 0, "add"), whole.replace('"seed": 1', '"seed": NaN')):
            with tempfile.TemporaryDirectory() as folder:
                source, target = pathlib.Path(folder) / "scale.json", pathlib.Path(folder) / "scale.html"
                source.write_text(content, encoding="utf-8")
                target.write_text("what was there before", encoding="utf-8")
                done = subprocess.run([sys.executable, "-B", str(GENERATOR), str(source), "-o", str(target)], capture_output=True, text=True,
                                      check=False)
                self.assertEqual(done.returncode, 2, content[:60])
                self.assertRegex(done.stderr, f"^make_scale: {re.escape(str(source))}: .*\n$")
                self.assertEqual(target.read_text(encoding="utf-8"), "what was there before")

    def test_a_missing_file_is_named(self):
        done = subprocess.run([sys.executable, "-B", str(GENERATOR), "/nowhere/scale.json"], capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 2)
        self.assertIn("/nowhere/scale.json", done.stderr)


if __name__ == "__main__":
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        sys.exit(77)
    unittest.main()
