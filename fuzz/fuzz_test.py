#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What fuzz.py makes of libFuzzer's output: progress, and a crash with its input and the way to replay it."""
import contextlib
import io
import pathlib
import tempfile
import unittest

import fuzz

START = "INFO: Loaded 1 modules   (10829 inline 8-bit counters): 10829 [0x1, 0x2),"
PULSE = "#8192\tpulse  cov: 1884 ft: 3348 corp: 221/1629b lim: 9 exec/s: 4096 rss: 364Mb"
CRASH = r"""#!/bin/sh
echo 'INFO: Loaded 1 modules   (100 inline 8-bit counters): 100 [0x1, 0x2),'
echo '#2	INITED cov: 40 ft: 41 corp: 1/1b exec/s: 0 rss: 30Mb'
echo 'violated: users of an entry (before byte 7 of the input)'
echo '    #7 0x1 in fuzz::broken(char const*) /somewhere/fuzz/input.hpp:41:3'
echo '    #8 0x1 in __libc_start_main csu/libc-start.c:360:3'
echo "artifact_prefix='p'; Test unit written to /somewhere/found/x-crash-1234"
echo 'stat::number_of_executed_units: 77'
exit 77
"""


class Progress(unittest.TestCase):
    def test_edges_inputs_and_executions_are_read(self):
        progress = fuzz.Progress("x", 60)
        for line in (START, PULSE, "#9000\tREDUCE cov: 1900 ft: 1 corp: 230/2Kb lim: 9 exec/s: 1 rss: 3Mb L: 1/2 MS: 1 Copy-", "noise"):
            progress.see(line)
        self.assertRegex(progress.text(), r"^x: \d+ s of 60, 9000 executions, \d+/s, 1900 of 10829 edges \(18 %\), 230 inputs$")

    def test_a_line_appears_every_ten_seconds_away_from_a_terminal(self):
        progress = fuzz.Progress("x", 60)
        progress.terminal = False
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            progress.see(PULSE)
            progress.shown -= 11
            progress.see(PULSE)
            progress.see(PULSE)
        self.assertEqual(said.getvalue().count("\n"), 1)


class Crash(unittest.TestCase):
    def setUp(self):
        room = tempfile.TemporaryDirectory()
        self.addCleanup(room.cleanup)
        self.root, fuzz.ROOT = fuzz.ROOT, pathlib.Path(room.name)
        self.addCleanup(setattr, fuzz, "ROOT", self.root)
        program = fuzz.ROOT / "build/fuzz/fuzz/fuzz_x"
        program.parent.mkdir(parents=True)
        program.write_text(CRASH)
        program.chmod(0o755)

    def test_is_shown_with_its_input_and_the_way_to_replay_it(self):
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            self.assertFalse(fuzz.fuzz("x", 1, fuzz.ROOT / "build/fuzz/found/x"))
        text = said.getvalue()
        self.assertIn("77 executions", text)
        self.assertIn("violated: users of an entry", text)
        self.assertIn("/fuzz/input.hpp:41", text)
        self.assertNotIn("__libc_start_main", text)
        self.assertIn("input: /somewhere/found/x-crash-1234", text)
        self.assertIn("build/release/fuzz/fuzz_x /somewhere/found/x-crash-1234", text)


class Targets(unittest.TestCase):
    def test_each_names_headers_that_exist(self):
        for source in sorted((fuzz.ROOT / "fuzz").glob("*_fuzz.cpp")):
            named = fuzz.under_test(source.name.removesuffix("_fuzz.cpp"))
            self.assertTrue(named, f"{source.name}: no line 'Under test'")
            for path in named:
                parent = pathlib.Path(path).parent
                self.assertTrue(any(str(f).startswith(path) for f in parent.iterdir()), f"{source.name}: {path}")

    def test_corpora_are_small_and_each_belongs_to_a_target(self):
        corpora = sorted((fuzz.ROOT / "fuzz/corpus").iterdir())
        self.assertTrue(corpora)
        for corpus in corpora:
            self.assertTrue((fuzz.ROOT / f"fuzz/{corpus.name}_fuzz.cpp").is_file(), f"{corpus.name}: no such target")
            files = list(corpus.iterdir())
            self.assertTrue(0 < len(files) <= 40, f"{corpus.name}: {len(files)} files")
            self.assertLessEqual(sum(f.stat().st_size for f in files), 64 * 1024, corpus.name)


if __name__ == "__main__":
    unittest.main()
