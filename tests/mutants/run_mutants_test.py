#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The runner on a small planted project: what it accepts, and that it can fail in every way it should."""
import contextlib
import io
import json
import pathlib
import shutil
import tempfile
import unittest

import catalogue
import report
import run_mutants

FIXTURE = pathlib.Path(__file__).resolve().parent / "fixtures" / "project"
GROUP = '[[group]]\nfile = "room/adder.hpp"\ntest = "room/adder_test.cpp"\n'


def mutant(name, old, new, pattern, more=""):
    return f"[[group.mutant]]\nname = '{name}'\nbreaks = 'x'\nold = '{old}'\nnew = '{new}'\nfilter = '{pattern}'\n{more}\n"


class Project(unittest.TestCase):
    def setUp(self):
        self.root = pathlib.Path(tempfile.mkdtemp(prefix="shootdown-mutants-test-"))
        self.addCleanup(shutil.rmtree, self.root)
        shutil.copytree(FIXTURE, self.root, dirs_exist_ok=True)
        (self.root / "tests" / "mutants" / "lists").mkdir(parents=True)

    def run_with(self, *entries, options=()):
        """(exit code, what was printed, results by name)."""
        (self.root / "tests" / "mutants" / "lists" / "all.toml").write_text(GROUP + "".join(entries), encoding="utf-8")
        out = io.StringIO()
        result = self.root / "result.json"
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            code = run_mutants.main(["--root", str(self.root), "--jobs", "2", "--json", str(result), *options])
        found = json.loads(result.read_text(encoding="utf-8"))["mutants"] if result.exists() else []
        return code, out.getvalue(), {r["name"]: r for r in found}

    def test_killed_hanging_asserted_and_equivalent_mutants_are_good(self):
        code, out, found = self.run_with(
            mutant("minus", "return a + b;", "return a - b;", "adder.adds"),
            mutant("runs_on", "while (i != n) ++i;", "while (i != n || n == 3) ++i;", "adder.counts", "hang = 2"),
            mutant("asserted", "return 2 * a;", "return 3 * a;", "adder.doubles", "compiler = true"),
            mutant("same", "return a + b;", "return b + a;", "adder.*", "equivalent = 'addition commutes'"))
        self.assertEqual(code, 0, out)
        self.assertEqual({n: r["status"] for n, r in found.items()},
                         {"minus": "killed", "runs_on": "killed", "asserted": "killed", "same": "equivalent"})
        self.assertEqual(found["minus"]["by"], "adder.adds")
        self.assertIn("hang", found["runs_on"]["by"])
        self.assertIn("compiler", found["asserted"]["by"])
        text = (self.root / "build" / "report" / "mutants.md").read_text(encoding="utf-8")
        self.assertIn("3 killed, 1 equivalent, 0 survived", text)
        self.assertIn("addition commutes", text)

    def test_survivors_false_equivalents_and_what_does_not_compile_are_bad(self):
        code, out, found = self.run_with(
            mutant("nobody_looks", "return a * 2;", "return a * 3;", "adder.adds"),
            mutant("seen", "return a + b;", "return a - b;", "adder.adds", "equivalent = 'so they say'"),
            mutant("broken", "return a + b;", "return a +;", "adder.adds"))
        self.assertEqual(code, 1)
        self.assertEqual({n: r["status"] for n, r in found.items()},
                         {"nobody_looks": "survived", "seen": "not equivalent", "broken": "list error"})
        self.assertTrue(all(r["bad"] for r in found.values()), out)

    def test_an_unmutated_test_has_to_pass_and_a_filter_has_to_find_something(self):
        code, out, found = self.run_with(mutant("x", "return a + b;", "return a - b;", "adder.no_such_case"))
        self.assertEqual((code, found), (1, {}))
        self.assertIn("no_tests", out)
        test = self.root / "tests" / "room" / "adder_test.cpp"
        test.write_text(test.read_text(encoding="utf-8").replace("5)", "6)"), encoding="utf-8")
        code, out, found = self.run_with(mutant("x", "return a + b;", "return a - b;", "adder.adds"))
        self.assertEqual((code, found), (1, {}))
        self.assertIn("without a mutant", out)

    def test_a_stale_list_is_refused_before_anything_is_built(self):
        for old in ("return c;", "return"):
            code, out, found = self.run_with(mutant("x", old, "y", "*"))
            self.assertEqual((code, found), (1, {}))
            self.assertIn("stale", out)
        for entry, word in ((mutant("x", "return a + b;", "return a + b;", "*"), "nothing changes"),
                            (mutant("x", "return a + b;", "z", "*", "colour = 1"), "colour"),
                            (mutant("x", "return a + b;", "z", "*", "flavour = 'msan'"), "flavour"),
                            (mutant("x", "return a + b;", "z", "*", "test = 'room/none_test.cpp'"), "no test"),
                            (mutant("x", "return a + b;", "z", "*") * 2, "taken")):
            code, out, _ = self.run_with(entry)
            self.assertEqual(code, 1)
            self.assertIn(word, out)

    def test_a_sample_is_the_same_each_time_and_keeps_most_of_itself_when_the_list_grows(self):
        def entry(n):
            return catalogue.Mutant(name=f"m{n}", room="", file="", old="", new="", breaks="", tests=("t",), filter="*")

        arguments = run_mutants.parse(["--sample", "4", "1"])
        first = run_mutants.pick([entry(n) for n in range(50)], arguments)
        self.assertEqual(first, run_mutants.pick([entry(n) for n in range(50)], arguments))
        grown = run_mutants.pick([entry(n) for n in range(51)], arguments)
        self.assertGreaterEqual(len(set(first) & set(grown)), 3)


class MadeAtRunTime(unittest.TestCase):
    def read(self, text):
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            file.write(text)
            file.flush()
            return report.read_sites(file.name)

    def test_results_of_another_program_are_part_of_the_verdict(self):
        site = {"file": "queue/ring.hpp", "line": 7, "kind": "order", "from": "acquire", "to": "relaxed", "status": "killed", "by": "wrap"}
        self.assertTrue(report.Report([], self.read(json.dumps([site])), 0, 1).good())
        survived = report.Report([], self.read(json.dumps([site, {**site, "status": "survived", "by": ""}])), 0, 1)
        self.assertFalse(survived.good())
        self.assertIn("1 killed, 1 survived", survived.summary())
        self.assertIn("queue/ring.hpp:7", survived.markdown())

    def test_bad_results_are_refused(self):
        for text in ("", "{}", '[{"file": "x"}]', json.dumps([{k: "" for k in report.SITE_KEYS}])):
            with self.assertRaises(catalogue.ListError):
                self.read(text)


if __name__ == "__main__":
    unittest.main()
