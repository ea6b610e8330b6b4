#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The generator of mutants from memory orders, fences and device barriers: on a planted header, and on the real ones."""
import pathlib
import unittest

import sites

ROOT = pathlib.Path(__file__).resolve().parents[2]

PLANTED = """\
// std::memory_order_seq_cst in a comment, Env::full_fence() too
void f() {
  a.load(std::memory_order_relaxed);
  a.load(std::memory_order_acquire);  // S1 acquire
  a.store(1'000, std::memory_order_seq_cst);
  b.fetch_add(g(1, 2), std::memory_order_acq_rel);
  c.compare_exchange_strong(e, h(x, y),
                            std::memory_order_seq_cst,  // S2
                            std::memory_order_acquire);
  Env::full_fence();
  Env::dma_publish(p + 1, (n) * 8);
  Env::rcu::publish(slot, next);
  array = Env::rcu::dereference(slot);
  log("Env::dma_observe(x) std::memory_order_release");
}
"""


def short(site):
    return (site["line"], site["operation"], site["kind"], site["from"], site["to"])


class Planted(unittest.TestCase):
    def setUp(self):
        self.found = sites.of_text(PLANTED, "room/planted.hpp")

    def test_every_order_fence_and_barrier_is_found_with_its_one_step_weakenings(self):
        self.assertEqual([short(s) for s in self.found], [
            (4, "load", "order", "acquire", "relaxed"),
            (5, "store", "order", "seq_cst", "release"),
            (6, "fetch_add", "order", "acq_rel", "acquire"),
            (6, "fetch_add", "order", "acq_rel", "release"),
            (8, "compare_exchange_strong", "order", "seq_cst", "acq_rel"),
            (9, "compare_exchange_strong", "order", "acquire", "relaxed"),
            (10, "full_fence", "full_fence", "present", "absent"),
            (11, "dma_publish", "dma_publish", "present", "absent"),
            (12, "rcu::publish", "publish", "release", "relaxed"),
            (13, "rcu::dereference", "dereference", "acquire", "relaxed"),
        ])

    def test_a_call_over_several_lines_is_known_by_its_first_and_last(self):
        exchange = [s for s in self.found if s["operation"].startswith("compare")]
        self.assertEqual([(s["call_line"], s["end_line"]) for s in exchange], [(7, 9), (7, 9)])

    def test_columns_point_at_the_text_that_changes(self):
        lines = PLANTED.splitlines()
        for s in self.found:
            text = lines[s["line"] - 1][s["column"] - 1:]
            wanted = f"std::memory_order_{s['from']}" if s["kind"] == "order" else f"Env::{s['operation']}("
            self.assertTrue(text.startswith(wanted), (s, text))

    def test_an_order_that_belongs_to_no_operation_is_an_error(self):
        with self.assertRaises(sites.SiteError):
            sites.of_text("void f(std::memory_order o = std::memory_order_seq_cst);", "x.hpp")


class Real(unittest.TestCase):
    def test_the_headers_are_understood_and_nothing_is_missed(self):
        found = sites.enumerate_sites(ROOT)
        for kind in ("order", "full_fence", "dma_publish", "dma_observe", "publish", "dereference"):
            self.assertTrue(any(s["kind"] == kind for s in found), kind)
        for name in {s["file"] for s in found}:
            code = sites.mask((ROOT / "include" / "shootdown" / name).read_text(encoding="utf-8"))
            mine = [s for s in found if s["file"] == name]
            for word in ("acquire", "release"):
                places = {(s["line"], s["column"]) for s in mine if s["kind"] == "order" and s["from"] == word}
                self.assertEqual(len(places), code.count(f"std::memory_order_{word}"), (name, word))
            for call in ("full_fence", "dma_publish", "dma_observe"):
                self.assertEqual(sum(s["kind"] == call for s in mine), code.count(f"Env::{call}("), (name, call))


if __name__ == "__main__":
    unittest.main()
