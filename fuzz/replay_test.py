#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What a replay program refuses, and how it says so: python3 fuzz/replay_test.py PROGRAM (that of command_decode)."""
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

PROGRAM = sys.argv.pop() if len(sys.argv) > 1 else ""


def replay(*arguments):
    done = subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True, errors="replace", timeout=60, check=False)
    return done.returncode, done.stderr


class Replay(unittest.TestCase):
    def setUp(self):
        self.room = tempfile.TemporaryDirectory()
        self.addCleanup(self.room.cleanup)
        self.at = pathlib.Path(self.room.name)

    def file(self, name, content):
        path = self.at / name
        path.write_bytes(content)
        return path

    def test_a_good_file_is_named_and_accepted(self):
        path = self.file("good", b"c\0" + bytes(16))
        code, said = replay(path)
        self.assertEqual(code, 0)
        self.assertIn(f"replay {path} (18 bytes)", said)

    def test_a_malformed_file_is_named_with_its_position_and_the_others_still_run(self):
        bad, good = self.file("a", b"x\0"), self.file("b", b"c\0")
        code, said = replay(self.at)
        self.assertEqual(code, 1)
        self.assertIn(f"{bad}: malformed at byte 0: not the tag of this target's format", said)
        self.assertIn(f"replay {good}", said)
        self.assertIn("1 of 2 inputs", said)

    def test_an_empty_file_is_malformed(self):
        path = self.file("empty", b"")
        code, said = replay(path)
        self.assertEqual(code, 1)
        self.assertIn(f"{path}: malformed at byte 0: empty", said)

    def test_missing_files_and_empty_directories_are_named(self):
        code, said = replay(self.at / "none")
        self.assertEqual(code, 1)
        self.assertIn(f"{self.at / 'none'}: no such file", said)
        code, said = replay(self.at)
        self.assertEqual(code, 1)
        self.assertIn(f"{self.at}: no input in this directory", said)

    def test_a_file_that_cannot_be_read_is_named(self):
        path = self.file("locked", b"c")
        path.chmod(0)
        if os.access(path, os.R_OK):
            self.skipTest("root reads everything")
        code, said = replay(path)
        self.assertEqual(code, 1)
        self.assertIn(f"{path}: Permission denied", said)

    def test_a_file_of_megabytes_is_no_input(self):
        path = self.file("large", bytes((1 << 20) + 1))
        code, said = replay(path)
        self.assertEqual(code, 1)
        self.assertIn(f"{path}: larger than 1 MiB", said)

    def test_wrong_arguments_show_the_usage(self):
        for arguments in ((), ("--smoke",), ("--help",)):
            code, said = replay(*arguments)
            self.assertEqual(code, 2)
            self.assertIn("usage:", said)
        code, said = replay("--smoke", "1", "many", "8")
        self.assertEqual(code, 2)
        self.assertIn("RUNS: not a number: many", said)


if __name__ == "__main__":
    unittest.main()
