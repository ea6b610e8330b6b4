# SPDX-License-Identifier: MIT
"""Compiles a killing test against a tree of headers and runs it. The flags are those of the project's own tests, without the
warnings (a mutant may leave a name unused) and without optimisation (compiling takes longer than running).
SHOOTDOWN_MUTANTS_CXX names another compiler."""
import dataclasses
import hashlib
import os
import re
import shutil
import signal
import subprocess

# Compiling is nearly all of the time, and clang++ without optimisation takes two thirds of what g++ does.
COMPILER = os.environ.get("SHOOTDOWN_MUTANTS_CXX") or next((c for c in ("clang++-19", "g++") if shutil.which(c)), "c++")
STANDARD = ["-std=c++20", "-O0", "-w", "-pthread", "-D_GLIBCXX_ASSERTIONS"]
SANITIZE = {
    "plain": [],
    "asan": ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"],
    "tsan": ["-fsanitize=thread", "-O1"],
}
ENVIRONMENT = {
    "ASAN_OPTIONS": "detect_stack_use_after_return=0:strict_string_checks=1",
    "TSAN_OPTIONS": "halt_on_error=1:second_deadlock_stack=1",
}
PACKAGES = ["absl_flat_hash_map", "absl_flat_hash_set", "absl_btree", "absl_strings", "absl_str_format", "absl_statusor",
            "liburcu-memb", "liburcu-mb", "liburcu-bp", "liburcu-qsbr"]
PRECOMPILED = "#include <gtest/gtest.h>\n"

PASSED = re.compile(r"^\[  PASSED  \] (\d+) test", re.M)
FAILED = re.compile(r"^\[  FAILED  \] (\S+?),?(?: |$)", re.M)


@dataclasses.dataclass
class Outcome:
    """What became of one build and run: `status` is passed, failed, hang, no_tests or not_compiled."""
    status: str
    detail: str = ""
    failed: tuple = ()


class Toolchain:
    """Compiler, libraries and precompiled headers, looked up once."""

    def __init__(self, root, cache):
        self.root, self.cache = root, cache
        libraries = subprocess.run(["pkg-config", "--libs", *PACKAGES], capture_output=True, text=True, check=False)
        self.libraries = ["-lgtest_main", "-lgtest", "-lgmock", "-lz", "-Wl,--as-needed", *libraries.stdout.split()]
        self.wrap = self._wrap()
        self.precompiled = {}

    @staticmethod
    def _wrap():
        """ThreadSanitizer of g++-12 cannot start where the kernel randomises more than 28 bits of mmap."""
        try:
            with open("/proc/sys/vm/mmap_rnd_bits", encoding="ascii") as file:
                bits = int(file.read())
        except (OSError, ValueError):
            return []
        works = bits > 28 and shutil.which("setarch") and subprocess.run(["setarch", "-R", "true"], check=False).returncode == 0
        return ["setarch", "-R"] if works else []

    def flags(self, flavour):
        return [*STANDARD, *SANITIZE[flavour], f'-DSHOOTDOWN_SOURCE_DIR="{self.root}"', f'-DSHOOTDOWN_TRACE_DIR="{self.root}/bench/traces"']

    def precompile(self, flavour):
        """Makes GoogleTest's header once per flavour, and again when the compiler refuses the one kept from an earlier run."""
        if flavour in self.precompiled:
            return self.precompiled[flavour]
        key = hashlib.sha256(repr([COMPILER, self.flags(flavour), PRECOMPILED]).encode()).hexdigest()[:16]
        folder = self.cache / f"precompiled-{flavour}-{key}"
        header, made = folder / "common.hpp", folder / "common.hpp.gch"
        probe = [COMPILER, *self.flags(flavour), "-include", header, "-fsyntax-only", "-x", "c++", os.devnull]
        if not made.is_file() or subprocess.run(probe, capture_output=True, check=False).returncode != 0:
            folder.mkdir(parents=True, exist_ok=True)
            if not header.is_file():
                header.write_text(PRECOMPILED, encoding="utf-8")
            fresh = folder / f"{os.getpid()}.gch"  # another run may be using the one that is there
            if subprocess.run([COMPILER, *self.flags(flavour), "-x", "c++-header", header, "-o", fresh], check=False).returncode == 0:
                os.replace(fresh, made)
        self.precompiled[flavour] = header
        return header

    def build(self, tests, include, flavour, out):
        """Compiles and links tests (below tests/) against `include`. None, or why it could not."""
        command = [COMPILER, *self.flags(flavour), "-include", self.precompile(flavour), "-I", self.root / "tests", "-I", include,
                   *[self.root / "tests" / t for t in tests], "-o", out, *self.libraries]
        made = subprocess.run(command, capture_output=True, text=True, check=False)
        if made.returncode == 0:
            return None
        lines = [l for l in made.stderr.splitlines() if "error" in l or "undefined" in l]
        return (lines or made.stderr.splitlines() or ["no message"])[0]

    def run(self, program, pattern, flavour, seconds, stop_at_first=True):
        command = [*(self.wrap if flavour == "tsan" else []), str(program), f"--gtest_filter={pattern}"]
        if stop_at_first:
            command.append("--gtest_fail_fast")
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
                              cwd=program.parent, env={**os.environ, **ENVIRONMENT}, start_new_session=True) as child:
            try:
                output, _ = child.communicate(timeout=seconds)
            except subprocess.TimeoutExpired:
                os.killpg(child.pid, signal.SIGKILL)
                child.communicate()
                return Outcome("hang", f"no end within {seconds} s")
        failed = tuple(dict.fromkeys(FAILED.findall(output)))
        failed = tuple(f for f in failed if not f.isdigit())
        if child.returncode == 0:
            count = PASSED.search(output)
            return Outcome("passed") if count and int(count.group(1)) > 0 else Outcome("no_tests", pattern)
        running = re.findall(r"^\[ RUN      \] (\S+)", output, re.M)
        if not failed and running:
            failed = (running[-1],)
        how = f"exit {child.returncode}" if child.returncode > 0 else signal.Signals(-child.returncode).name
        if "WARNING: ThreadSanitizer" in output:
            how = "ThreadSanitizer"
        elif "ERROR: AddressSanitizer" in output or "runtime error:" in output:
            how = "AddressSanitizer"
        return Outcome("failed", how, failed)
