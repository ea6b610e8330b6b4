// SPDX-License-Identifier: MIT
// The litmus table: for every shape and its variants what C++20 allows and what the explorer does.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <iomanip>
#include <iostream>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "litmus/axiomatic.hpp"
#include "litmus/catalogue.hpp"
#include "litmus/compare.hpp"
#include "litmus/explorer_runner.hpp"
#include "litmus/history_runner.hpp"
#include "litmus/random_program.hpp"
#include "litmus/verdicts.hpp"

namespace {

using namespace litmus;

constexpr const char* usage =
    "usage: shootdown_litmus [--markdown] [--variants N] [--random N] [--explorer] [--shape NAME]\n"
    "  --markdown    the tables as they stand in the documents\n"
    "  --variants N  of each shape at most about N variants (all fences, all orders, and a sample); 0: every one (default 300)\n"
    "  --random N    and N random programs (default 1000)\n"
    "  --explorer    sweep with trials on fibers and the unbounded depth-first driver; without it the sweep runs on the\n"
    "                explorer's memory alone, which leaves out orders of independent steps and is faster for large shapes\n"
    "  --shape NAME  this shape only, and one line for each variant\n"
    "Exit status 1: the explorer and the axioms differ.\n";

struct settings {
  bool markdown{};
  bool explorer{};
  std::uint64_t variants{300};
  std::uint64_t random{1000};
  std::string shape;
};

std::optional<settings> read(int argc, char** argv) {
  settings s;
  for (int i = 1; i < argc; ++i) {
    const std::string_view a{argv[i]};
    const auto number = [&](std::uint64_t& n) {
      if (i + 1 == argc) return false;
      char* end = nullptr;
      n = std::strtoull(argv[++i], &end, 10);
      return end != argv[i] && *end == '\0';
    };
    if (a == "--markdown") {
      s.markdown = true;
    } else if (a == "--explorer") {
      s.explorer = true;
    } else if (a == "--variants" || a == "--random") {
      if (!number(a == "--variants" ? s.variants : s.random)) return std::nullopt;
    } else if (a == "--shape" && i + 1 != argc) {
      s.shape = argv[++i];
      if (find_shape(s.shape) == nullptr) {
        std::cerr << "there is no shape " << s.shape << "; there are:";
        for (const shape& x : shapes) std::cerr << "  " << x.name;
        std::cerr << '\n';
        return std::nullopt;
      }
    } else {
      return std::nullopt;
    }
  }
  return s;
}

observed_outcomes observe(const program& p, const settings& s) { return s.explorer ? explorer_runner<>{p}.run() : history_runner{p}.run(); }

/// Rows of equal length, aligned for a terminal or as Markdown.
class table {
 public:
  explicit table(std::vector<std::string> head) { rows_.push_back(std::move(head)); }
  void add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }
  void print(bool markdown) const {
    std::vector<std::size_t> width(rows_[0].size());
    for (const auto& r : rows_)
      for (std::size_t c = 0; c != r.size(); ++c) width[c] = std::max(width[c], shown(r[c], markdown).size());
    for (std::size_t n = 0; n != rows_.size(); ++n) {
      for (std::size_t c = 0; c != width.size(); ++c) {
        const std::string cell = shown(rows_[n][c], markdown);
        if (markdown)
          std::cout << "| " << cell << ' ';
        else
          std::cout << std::left << std::setw(static_cast<int>(width[c]) + 2) << cell;
      }
      std::cout << (markdown ? "|\n" : "\n");
      if (n == 0 && markdown) {
        for (std::size_t c = 0; c != width.size(); ++c) std::cout << "|---";
        std::cout << "|\n";
      }
    }
    std::cout << '\n';
  }

 private:
  static std::string shown(const std::string& s, bool markdown) {
    std::string t;
    for (const char c : s) t += markdown && c == '|' ? std::string{"\\|"} : std::string{c};
    return t;
  }
  std::vector<std::vector<std::string>> rows_;
};

std::string ratio(std::uint64_t a, std::uint64_t b) { return std::to_string(a) + " / " + std::to_string(b); }
const char* yes(bool b) { return b ? "yes" : "no"; }

/// Verdicts known by hand, one line each, on the whole explorer. How many are not as they should be.
std::uint64_t print_verdicts(const settings& s) {
  std::uint64_t wrong = 0;
  for (const known_group& g : known_verdicts) {
    table t{{"program", "outcome", "C++20 allows", "explorer sees", "outcomes allowed / seen", "why"}};
    for (const known& k : g.verdicts) {
      const program p = parse(k.text);
      const condition c = parse_condition(p, k.outcome);
      const allowed_outcomes a = enumerate(p);
      const observed_outcomes o = explorer_runner<>{p}.run();
      const bool seen = c.holds_in(o.outcomes);
      std::string note{k.why};
      if (c.holds_in(a.cxx20) && !c.holds_in(a.stepwise))
        note += std::string{note.empty() ? "" : " "} +
                (c.holds_in(a.no_lb) ? "(left out: S along the execution)" : "(left out: load buffering)");
      wrong += c.holds_in(a.cxx20) != k.cxx20 || o.outcomes != a.stepwise;
      t.add({text_of(p), std::string{k.outcome}, yes(k.cxx20), yes(seen), ratio(a.cxx20.size(), o.outcomes.size()), note});
    }
    std::cout << (s.markdown ? "**" : "") << g.name << (s.markdown ? "**\n\n" : "\n");
    t.print(s.markdown);
  }
  return wrong;
}

struct tally {
  comparison c;
  std::uint64_t cxx20{};     // variants that allow the interesting outcome
  std::uint64_t stepwise{};  // and without the two exceptions
  std::uint64_t seen{};      // variants in which it was seen
};

tally sweep(const shape& s, const settings& o, table* lines) {
  const variants v{s};
  tally t;
  const condition interesting = parse_condition(parse(s.text), s.interesting);
  for (const std::uint64_t i : v.chosen(o.variants == 0 ? v.count() : o.variants)) {
    const program p = v.at(i);
    const allowed_outcomes a = enumerate(p);
    const observed_outcomes seen = observe(p, o);
    t.c.add(p, a, seen);
    t.cxx20 += interesting.holds_in(a.cxx20);
    t.stepwise += interesting.holds_in(a.stepwise);
    t.seen += interesting.holds_in(seen.outcomes);
    if (lines != nullptr)
      lines->add({text_of(p), ratio(a.cxx20.size(), seen.outcomes.size()), yes(interesting.holds_in(a.cxx20)),
                  yes(interesting.holds_in(seen.outcomes))});
  }
  return t;
}

int run(const settings& s) {
  if (!s.shape.empty()) {
    const shape& one = *find_shape(s.shape);
    table lines{{one.name.data(), "outcomes allowed / seen", std::string{one.interesting} + " allowed", "seen"}};
    const tally t = sweep(one, s, &lines);
    lines.print(s.markdown);
    std::cout << t.c.report() << '\n';
    return t.c.good() ? 0 : 1;
  }

  const std::uint64_t wrong = print_verdicts(s);
  table t{{"shape", "outcome", "variants", "C++20 allows it in", "in the model class in", "explorer sees it in", "executions",
           "outcomes allowed / seen", "left out: LB, S", "forbidden and seen", "missed"}};
  comparison sum;
  const auto row = [&](std::string_view name, std::string_view outcome, std::string of, const tally& x) {
    const bool counted = !outcome.empty();
    t.add({std::string{name}, std::string{outcome}, std::move(of), counted ? std::to_string(x.cxx20) : "",
           counted ? std::to_string(x.stepwise) : "", counted ? std::to_string(x.seen) : "", std::to_string(x.c.executions),
           ratio(x.c.allowed, x.c.observed), std::to_string(x.c.load_buffering) + ", " + std::to_string(x.c.s_order),
           std::to_string(x.c.forbidden.size() + x.c.beyond.size()), std::to_string(x.c.missed.size())});
    sum += x.c;
  };
  for (const shape& x : shapes) {
    std::cerr << x.name << ' ' << std::flush;
    const tally found = sweep(x, s, nullptr);
    row(x.name, x.interesting, std::to_string(found.c.programs) + " of " + std::to_string(variants{x}.count()), found);
  }
  std::cerr << "random\n";
  tally random;
  random_programs programs{0x5d0};
  for (std::uint64_t i = 0; i != s.random; ++i) {
    const program p = programs.next();
    random.c.add(p, enumerate(p), observe(p, s));
  }
  row("random programs", "", std::to_string(random.c.programs), random);
  tally all;
  all.c = sum;
  const comparison total = sum;
  row("all", "", std::to_string(total.programs), all);
  t.print(s.markdown);
  std::cout << total.report() << '\n';
  return total.good() && wrong == 0 ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  const std::optional<settings> s = read(argc, argv);
  if (!s) {
    std::cerr << usage;
    return 2;
  }
  try {
    return run(*s);
  } catch (const std::exception& e) {
    std::cerr << "shootdown_litmus: " << e.what() << '\n';
    return 1;
  }
}
