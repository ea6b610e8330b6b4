#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Tests of bench/report/: `report_test.py [page|input|plots]`; all of them without a word. Exits 77 without matplotlib.

bench_small.json is what shootdown_bench wrote for `--quick --filter 'trace/.*/private|pages:16/.*/exact'`, without the names
of the machine and the program.
"""
import contextlib
import copy
import functools
import html.parser
import importlib
import io
import json
import os
import pathlib
import re
import resource
import subprocess
import sys
import tempfile
import unittest
from unittest import mock

HERE = pathlib.Path(__file__).resolve().parent
GENERATOR = HERE.parents[1] / "bench" / "report" / "make_report.py"
FIXTURE = HERE / "bench_small.json"
VOID = {"meta", "br", "link", "img"}
SECTIONS = ("leaks", "latency", "recorded", "throughput", "cover", "summary", "machine", "method")
HEADINGS = {"unmaps/s": "unmaps_per_second", "p50": "p50_ns", "p99": "p99_ns", "cmds": "commands", "SYNCs": "syncs",
            "bells": "doorbells", "RMWs": "shared_rmw", "failCAS": "failed_cas", "over pg": "over_pages",
            "mapflush": "map_flushes", "leaks": "leaks"}
RECORDED = "trace, 11178 unmaps; large: the 70 of 512 pages or more"  # the caption
DECIMALS = {"cmds": 3, "SYNCs": 3, "bells": 3, "RMWs": 2, "failCAS": 3, "over pg": 3, "mapflush": 3, "leaks": 0}
UNITS = {"": 1, "k": 1e3, "M": 1e6, "ns": 1, "µs": 1e3, "ms": 1e6}


class Page(html.parser.HTMLParser):
    """What the tests ask of a page: ids, tables as {caption: [headings, rows]}, attributes of every element, all text."""

    def __init__(self, text):
        super().__init__()
        self.ids, self.elements, self.words, self.open = [], [], [], []
        self.tables, self.row, self.cell, self.number, self.unclosed = {}, None, None, None, []
        self.caption = None
        self.feed(text)
        self.close()
        self.text = " ".join(" ".join(self.words).split())

    def handle_startendtag(self, tag, attrs):
        self.note(tag, dict(attrs))

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.note(tag, attributes)
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.row = []
        elif tag in ("th", "td", "caption"):
            self.cell, self.number = "", None
        elif tag == "data" and self.cell is not None:
            self.number = float(attributes["value"])

    def note(self, tag, attributes):
        self.elements.append((tag, attributes))
        if "id" in attributes:
            self.ids.append(attributes["id"])

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.unclosed.append(tag)
        if tag == "caption":
            self.caption = self.cell
            self.tables[self.caption] = []
        elif tag in ("th", "td"):
            self.row.append((self.cell, self.number))
        elif tag == "tr":
            self.tables[self.caption].append(self.row)

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "script"):
            self.words.append(data)
        if self.cell is not None:
            self.cell += data

    def rows(self, caption):
        """{row heading: {column heading: (text, number)}} of the table with this caption."""
        heads = [text for text, _ in self.tables[caption][0]]
        return {row[0][0]: dict(zip(heads[1:], row[1:])) for row in self.tables[caption][1:]}

    def section(self, name):
        """Ids that belong to a section's plots."""
        return [i for i in self.ids if i.startswith(name + "-")]

    def plots(self):
        return [a for tag, a in self.elements if tag == "svg"]


def read_fixture():
    return json.loads(FIXTURE.read_text(encoding="utf-8"))


def cases_of(document):
    """{(workload, row heading): entry} as the names say, independently of the generator."""
    return {(parts[1], " ".join(parts[2:5])): entry
            for entry in document["benchmarks"] for parts in [entry["name"].split("/")]}


@functools.lru_cache(maxsize=None)
def fixture_text():
    """The page of the fixture, made once, by the program itself."""
    with tempfile.TemporaryDirectory() as folder:
        target = pathlib.Path(folder) / "bench.html"
        subprocess.run([sys.executable, "-B", str(GENERATOR), str(FIXTURE), "-o", str(target)], check=True)
        return target.read_text(encoding="utf-8")


class ReportTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.source = self.folder / "bench.json"
        self.target = self.folder / "bench.html"

    def run_on(self, source, *more):
        return subprocess.run([sys.executable, "-B", str(GENERATOR), str(source), "-o", str(self.target), *more],
                              capture_output=True, text=True, check=False)

    def make(self, document, plots=True):
        """The page of a document; without plots, which take most of the time, where a test does not look at them."""
        self.source.write_text(json.dumps(document), encoding="utf-8")
        generator, drawing = importlib.import_module("make_report"), importlib.import_module("plots")
        with contextlib.ExitStack() as patches:
            if not plots:
                for name in ("latency", "throughput", "counts", "cover"):
                    patches.enter_context(mock.patch.object(drawing, name))
                patches.enter_context(mock.patch("sections.figure", return_value=""))
            generator.make(self.source, self.target)
        return Page(self.target.read_text(encoding="utf-8"))

    def refused(self, content, *expected):
        """The generator refuses `content` (bytes, text or a document): code 2, one line that says why, nothing written."""
        if not isinstance(content, (bytes, str)):
            content = json.dumps(content)
        self.source.write_bytes(content if isinstance(content, bytes) else content.encode())
        self.target.write_text("what was there before", encoding="utf-8")
        with contextlib.redirect_stderr(io.StringIO()) as errors:
            code = importlib.import_module("make_report").main([str(self.source), "-o", str(self.target)])
        said = errors.getvalue()
        self.assertEqual(code, 2, said)
        self.assertEqual(self.target.read_text(encoding="utf-8"), "what was there before")
        self.assertEqual(sorted(p.name for p in self.folder.iterdir()), ["bench.html", "bench.json"])
        self.assertEqual(len(said.splitlines()), 1, said)
        for text in (str(self.source), *expected):
            self.assertIn(text, said)


class PageTest(ReportTest):
    def test_every_section_is_there_once_and_the_page_is_well_formed(self):
        page = Page(fixture_text())
        for name in SECTIONS:
            self.assertEqual(page.ids.count(name), 1, name)
        self.assertEqual(page.unclosed, [])
        self.assertEqual(page.open, [])
        self.assertEqual(len(page.ids), len(set(page.ids)), "ids are not unique")
        links = [a["href"][1:] for tag, a in page.elements if tag in ("a", "use")]
        self.assertTrue(links)
        self.assertEqual([i for i in links if i not in page.ids], [])
        clips = re.findall(r"url\(#([^)]+)\)", fixture_text())
        self.assertTrue(clips)
        self.assertEqual([i for i in clips if i not in page.ids], [])

    def test_the_page_needs_nothing_else(self):
        page = Page(fixture_text())
        text = fixture_text()
        self.assertNotRegex(text, r"(?i)https?:|file:|@import|url\((?!#)")
        self.assertEqual([tag for tag, _ in page.elements if tag in ("script", "link", "img", "iframe", "object")], [])
        self.assertEqual([a for _, a in page.elements if "src" in a], [])
        self.assertIn(("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}), page.elements)
        self.assertIn("docs/measuring.md", page.text)

    def test_names_of_the_machine_and_local_paths_stay_out(self):
        document = read_fixture()
        document["context"].update(host_name="the-host", executable="/some/where/shootdown_bench")
        self.make(document, plots=False)
        self.assertNotRegex(self.target.read_text(encoding="utf-8"), "the-host|/some/where")

    def test_the_tables_hold_the_numbers_of_the_json(self):
        document = read_fixture()
        page = self.make(document, plots=False)
        expected = cases_of(document)
        shown = {(workload, name): row for workload in ("trace", "pages:16") for name, row in page.rows(workload).items()}
        self.assertEqual(set(shown), set(expected))
        for case, row in shown.items():
            self.assertEqual(list(row), list(HEADINGS))
            for heading, (text, number) in row.items():
                self.assertEqual(number, expected[case][HEADINGS[heading]], (case, heading))
                self.assert_reads_as(text, number, DECIMALS.get(heading))

    def assert_reads_as(self, text, number, decimals):
        if decimals is not None:
            self.assertEqual(text, f"{number:.{decimals}f}")
            return
        digits, _, unit = text.partition(" ")
        self.assertAlmostEqual(float(digits) * UNITS[unit] / number, 1, delta=0.005, msg=text)

    def test_the_recorded_driver_stands_beside_ours(self):
        document = read_fixture()
        rows = self.make(document, plots=False).rows(RECORDED)
        numbers = {name: [number for _, number in row.values()] for name, row in rows.items()}
        self.assertEqual(numbers, {
            "recorded driver": [11795, 11639, 625, 524],
            "recorded, without map-time flushes": [11768, 11612, 598, 497],
            "shootdown exact": [11296, 11178, 133, 70],
            "shootdown disjoint": [11325, 11178, 162, 70],
            "shootdown bounded": [11178, 11178, 70, 70]})

    def test_strategies_that_need_different_counts_get_rows_of_their_own(self):
        document = read_fixture()
        cases_of(document)["trace", "locked exact private"]["pass_tlbi"] += 1
        rows = self.make(document, plots=False).rows(RECORDED)
        self.assertEqual(rows["shootdown exact owner_cas private"]["TLBI"], ("11296", 11296))
        self.assertEqual(rows["shootdown exact locked private"]["TLBI"], ("11297", 11297))
        self.assertIn("shootdown disjoint", rows)

    def test_medians_of_the_repetitions_are_shown_and_aggregates_ignored(self):
        document = read_fixture()
        first = document["benchmarks"][0]
        document["benchmarks"] = [first] + [copy.deepcopy(first) for _ in range(3)]
        for index, (entry, speed) in enumerate(zip(document["benchmarks"], (5e5, 1e5, 2e5, 3e5))):
            entry.update(repetition_index=index, repetitions=4, unmaps_per_second=speed)
        document["benchmarks"].append(first | {"name": first["name"] + "_mean", "run_type": "aggregate", "unmaps_per_second": 7e7})
        page = self.make(document)
        self.assertEqual(page.rows("trace")["owner_cas exact private"]["unmaps/s"], ("250.0 k", 2.5e5))
        self.assertIn("medians of 4 repetitions", page.text)
        (alt,) = [a["aria-label"] for a in page.plots() if a["aria-label"].startswith("Unmaps per second")]
        self.assertIn("250000 (100000 to 500000)", alt)

    def test_no_leak_is_said_first(self):
        page = self.make(read_fixture(), plots=False)
        self.assertRegex(page.text, r"what an unmap costs 0 leaks in")
        self.assertIn("verdict good", [a.get("class") for _, a in page.elements])

    def test_a_leak_turns_the_verdict_and_names_the_case(self):
        document = read_fixture()
        cases_of(document)["trace", "locked bounded private"]["leaks"] = 3.0
        page = self.make(document, plots=False)
        self.assertRegex(page.text, r"what an unmap costs 3 leaks in")
        self.assertIn("trace/locked/bounded/private: 3 leaks", page.text)
        self.assertIn("verdict bad", [a.get("class") for _, a in page.elements])
        self.assertNotIn("verdict good", [a.get("class") for _, a in page.elements])

    def test_the_leaks_of_all_repetitions_count(self):
        document = read_fixture()
        again = copy.deepcopy(cases_of(document)["trace", "locked bounded private"])
        document["benchmarks"] += [again, again | {"leaks": 2.0}]
        page = self.make(document, plots=False)
        self.assertEqual(page.rows("trace")["locked bounded private"]["leaks"], ("2", 2.0))
        self.assertRegex(page.text, r"what an unmap costs 2 leaks in")

    def test_a_failed_case_is_named_and_left_out(self):
        document = read_fixture()
        entry = cases_of(document)["pages:16", "locked exact shared"]
        entry.update(error_occurred=True, error_message="map <failed>")
        del entry["leaks"]
        page = self.make(document, plots=False)
        self.assertIn("BM_unmap/pages:16/locked/exact/shared failed: map <failed>", page.text)
        self.assertIn("verdict bad", [a.get("class") for _, a in page.elements])
        self.assertNotIn("locked exact shared", page.rows("pages:16"))

    def test_a_run_in_which_every_case_failed_still_has_its_report(self):
        document = read_fixture()
        for entry in document["benchmarks"]:
            entry.update(error_occurred=True, error_message="unmap failed")
        page = self.make(document)
        self.assertEqual(page.text.count("failed: unmap failed"), len(document["benchmarks"]))
        self.assertEqual(page.plots(), [])
        self.assertEqual([s for s in SECTIONS if s not in page.ids], [])

    def test_a_recording_without_answers_is_said_to_have_none(self):
        document = read_fixture()
        for entry in document["benchmarks"]:
            for name in [n for n in entry if n.startswith("recorded_")]:
                del entry[name]
        page = self.make(document)
        self.assertEqual(page.section("recorded"), [])
        self.assertIn("No case of this run replays a recording", page.text)

    def test_markup_in_names_is_text(self):
        document = read_fixture()
        for entry in document["benchmarks"]:
            entry["name"] = entry["name"].replace("/trace/", '/<b id="x">&"/')
        page = self.make(document, plots=False)
        self.assertNotIn("x", page.ids)
        self.assertEqual([tag for tag, _ in page.elements if tag == "b"], [])
        self.assertEqual(page.unclosed, [])
        self.assertIn('<b id="x">&"', page.text)

    def test_other_benchmarks_and_dimensions_find_a_place(self):
        document = read_fixture()
        ats = copy.deepcopy(document["benchmarks"][0])
        ats["name"] = ats["name"].replace("/private/", "/private/ats/")
        document["benchmarks"] += [ats, {"name": "BM_guard/memb/threads:2", "run_type": "iteration", "real_time": 12.25, "time_unit": "ns"}]
        page = self.make(document, plots=False)
        self.assertIn("owner_cas exact private", page.rows("trace ats"))
        self.assertEqual(page.rows("Other benchmarks"), {"BM_guard/memb": {"time": ("12.2 ns", 12.25)}})

    def test_a_busy_machine_and_a_quick_run_are_pointed_out(self):
        document = read_fixture()
        document["context"].update(load_avg=[9.0, 1.0, 1.0], num_cpus=2)
        text = self.make(document, plots=False).text
        self.assertIn("Other work kept the CPUs busy", text)
        self.assertIn("One repetition each", text)
        document["context"].update(load_avg=[0.5, 1.0, 1.0])
        self.assertNotIn("Other work kept the CPUs busy", self.make(document, plots=False).text)

    def test_a_context_without_details_is_no_error(self):
        document = read_fixture()
        document["context"] = {"caches": None, "load_avg": "?", "num_cpus": "many"}
        self.assertIn("Threads that unmap", self.make(document, plots=False).text)


class PlotsTest(ReportTest):
    def test_each_section_draws_what_it_should(self):
        page = Page(fixture_text())
        prefixes = {i.rpartition("-figure_")[0] for i in page.ids if "-figure_" in i}
        self.assertEqual(prefixes, {
            "latency-trace-exact", "latency-trace-disjoint", "latency-trace-bounded", "latency-pages-16-exact",
            "recorded-all-trace", "recorded-large-trace", "throughput-trace", "throughput-pages-16", "cover-commands", "cover-pages"})
        self.assertEqual(len(page.plots()), len(prefixes))

    def test_every_plot_scales_and_says_what_it_shows(self):
        plots = Page(fixture_text()).plots()
        self.assertTrue(plots)
        for attributes in plots:
            self.assertEqual(attributes["role"], "img")
            self.assertGreater(len(attributes["aria-label"]), 60)
            self.assertIn("viewbox", attributes)
            self.assertNotIn("width", attributes)
            self.assertNotIn("height", attributes)

    def test_the_alt_text_holds_the_percentiles(self):
        document = read_fixture()
        entry = cases_of(document)["trace", "locked bounded private"]
        for index, name in enumerate(("p10_ns", "p25_ns", "p50_ns", "p75_ns", "p90_ns", "p99_ns", "p999_ns", "p100_ns")):
            entry[name] = 1000.0 + index
        alts = [a["aria-label"] for a in self.make(document).plots()]
        said = "locked private 10: 1000 ns, 25: 1001 ns, 50: 1002 ns, 75: 1003 ns, 90: 1004 ns, 99: 1005 ns, 99.9: 1006 ns, max: 1007 ns"
        self.assertEqual(sum(said in alt for alt in alts), 1)

    def test_percentiles_without_enough_unmaps_are_left_out(self):
        document = read_fixture()
        document["benchmarks"] = [cases_of(document)["pages:16", "locked exact shared"]]
        for iterations, expected in ((2, ["50", "max"]), (10, ["10", "25", "50", "75", "90", "max"]),
                                     (999, ["10", "25", "50", "75", "90", "99", "max"]),
                                     (1000, ["10", "25", "50", "75", "90", "99", "99.9", "max"])):
            document["benchmarks"][0]["iterations"] = iterations
            (alt,) = [a["aria-label"] for a in self.make(document).plots() if a["aria-label"].startswith("Latency")]
            self.assertEqual(re.findall(r"([\w.]+): [\d.]+ [nµm]s", alt), expected)

    def test_colours_follow_the_scheme_of_the_reader(self):
        text = fixture_text()
        self.assertIn("@media (prefers-color-scheme:dark)", text)
        drawn = " ".join(re.findall(r"<svg.*?</svg>", text, re.DOTALL))
        self.assertIn("var(--ink)", drawn)
        self.assertEqual(set(re.findall(r"#[0-9a-fA-F]{6}\b", drawn)), set())

    def test_the_same_json_gives_the_same_page_in_every_process(self):
        with mock.patch.dict(os.environ, PYTHONHASHSEED="7", SOURCE_DATE_EPOCH="86400", TZ="Asia/Tokyo", LC_ALL="C"):
            done = self.run_on(FIXTURE)
        self.assertEqual((done.returncode, done.stdout), (0, ""), done.stderr)
        self.assertEqual(self.target.read_text(encoding="utf-8"), fixture_text())

    def test_the_order_of_the_json_does_not_matter(self):
        document = read_fixture()
        document["benchmarks"].reverse()
        self.make(document)
        self.assertEqual(self.target.read_text(encoding="utf-8"), fixture_text())



class InputTest(ReportTest):
    def test_a_missing_file_is_named(self):
        done = self.run_on(self.folder / "nothing.json")
        self.assertEqual(done.returncode, 2)
        self.assertIn("nothing.json: No such file or directory", done.stderr)
        self.assertEqual(list(self.folder.iterdir()), [])

    def test_an_empty_file_is_refused(self):
        self.refused("", "the file is empty")
        self.refused("\n \n", "the file is empty")

    def test_text_that_is_not_json_is_refused(self):
        self.refused("{", "not JSON")
        self.refused(FIXTURE.read_text(encoding="utf-8")[:-100], "not JSON")
        self.refused(b"\xff\xfe", "not UTF-8")
        self.refused("[" * 100000, "not JSON")

    def test_json_of_another_shape_is_refused(self):
        self.refused([], "the top level is not an object")
        self.refused({}, "'context' is missing")
        self.refused({"context": {}}, "'benchmarks' is missing")
        self.refused({"context": {}, "benchmarks": {}}, "'benchmarks' is missing or no list")
        self.refused({"context": {}, "benchmarks": []}, "no BM_unmap case")
        self.refused({"context": {}, "benchmarks": [1]}, "benchmark 0 has no name")
        self.refused({"context": {}, "benchmarks": [{"name": "BM_unmap/trace/locked/threads:2"}]}, "the name is not BM_unmap/WORKLOAD")

    def test_every_counter_of_the_report_must_be_there(self):
        names = [n for n in read_fixture()["benchmarks"][0] if re.match("p[0-9]|pass_|recorded_", n)] + list(HEADINGS.values())
        self.assertGreater(len(names), 25)
        for name in sorted(set(names) | {"dmas", "requested_pages", "iterations", "threads"}):
            document = read_fixture()
            del document["benchmarks"][1][name]
            self.refused(document, f"'{name}' is missing", document["benchmarks"][1]["name"])

    def test_a_counter_that_is_no_finite_number_is_refused(self):
        for bad in (None, "12", True, [], float("nan"), float("inf")):
            document = read_fixture()
            document["benchmarks"][2]["p50_ns"] = bad
            self.refused(document, "'p50_ns' is")

    def test_counts_that_cannot_be_are_refused(self):
        for name, bad in (("threads", 0), ("iterations", 1.5), ("iterations", -1)):
            document = read_fixture()
            document["benchmarks"][0][name] = bad
            self.refused(document, f"'{name}' is no positive whole number")

    def test_a_folder_that_is_not_there_is_named(self):
        self.target = self.folder / "none" / "bench.html"
        done = self.run_on(FIXTURE)
        self.assertEqual(done.returncode, 2, done.stderr)
        self.assertRegex(done.stderr.splitlines()[-1], "make_report: .*none.*: No such file or directory")

    def test_a_disk_that_is_full_leaves_the_page_as_it_was(self):
        self.target.write_text("what was there before", encoding="utf-8")
        command = [sys.executable, "-B", str(GENERATOR), str(FIXTURE), "-o", str(self.target)]
        limit = 20000  # bytes of a file; the page is larger
        done = subprocess.run(command, capture_output=True, text=True, check=False,
                              preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
        self.assertEqual(done.returncode, 2, done.stderr)
        self.assertIn("make_report: ", done.stderr.splitlines()[-1])
        self.assertIn("File too large", done.stderr.splitlines()[-1])
        self.assertEqual(self.target.read_text(encoding="utf-8"), "what was there before")
        self.assertEqual([p.name for p in self.folder.iterdir()], ["bench.html"])

    def test_a_wrong_option_is_code_2(self):
        self.assertEqual(self.run_on(FIXTURE, "--frobnicate").returncode, 2)


PARTS = {"page": PageTest, "input": InputTest, "plots": PlotsTest}


def main():
    try:
        import matplotlib  # noqa: F401  only to see whether it is there
    except ImportError:
        print("skipped: matplotlib (Debian: python3-matplotlib) is not installed for " + sys.executable)
        return 77
    sys.path.insert(0, str(GENERATOR.parent))
    chosen = [PARTS[p] for p in sys.argv[1:]] or PARTS.values()
    suite = unittest.TestSuite(unittest.defaultTestLoader.loadTestsFromTestCase(c) for c in chosen)
    return 0 if unittest.TextTestRunner(verbosity=2).run(suite).wasSuccessful() else 1


if __name__ == "__main__":
    sys.exit(main())
