// SPDX-License-Identifier: MIT
// main() for fuzz targets built without libFuzzer: replays inputs, so that every compiler runs the committed corpus.
//   fuzz_<name> FILE|DIR...                  each file, and every file below each directory, in sorted order
//   fuzz_<name> --smoke SEED RUNS MAXLEN     RUNS pseudo-random inputs of 0..MAXLEN bytes; the same on every machine
// While an input runs, a crash names it: a file by its path (printed before it runs), a smoke run by its index.
#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <exception>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <string_view>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

namespace fs = std::filesystem;

bool replay_file(const fs::path& path) {
  std::ifstream in{path, std::ios::binary};
  const std::vector<char> bytes{std::istreambuf_iterator<char>{in}, std::istreambuf_iterator<char>{}};
  if (!in.good() && !in.eof()) {
    std::fprintf(stderr, "cannot read %s\n", path.c_str());
    return false;
  }
  std::fprintf(stderr, "replay %s (%zu bytes)\n", path.c_str(), bytes.size());
  std::vector<std::uint8_t> input(bytes.size());  // a block of exactly that size, so that AddressSanitizer guards its end
  std::transform(bytes.begin(), bytes.end(), input.begin(), [](char c) { return static_cast<std::uint8_t>(c); });
  LLVMFuzzerTestOneInput(input.data(), input.size());
  return true;
}

bool replay(const fs::path& path) {
  if (!fs::exists(path)) {
    std::fprintf(stderr, "no such file or directory: %s\n", path.c_str());
    return false;
  }
  if (!fs::is_directory(path)) return replay_file(path);
  std::vector<fs::path> files;
  for (const auto& entry : fs::recursive_directory_iterator{path}) {
    if (entry.is_regular_file()) files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  if (files.empty()) {
    std::fprintf(stderr, "no input in %s\n", path.c_str());
    return false;
  }
  return std::all_of(files.begin(), files.end(), replay_file);
}

/// The shared value of `text`; exits with the usage when it is not a number.
std::uint64_t number(std::string_view text, const char* what) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) {
    std::fprintf(stderr, "%s: not a number: %.*s\n", what, static_cast<int>(text.size()), text.data());
    std::exit(2);
  }
  return value;
}

void smoke(std::uint64_t seed, std::uint64_t runs, std::uint64_t longest) {
  static std::uint64_t current = 0;
  static std::uint64_t current_seed = seed;
  std::set_terminate([] {
    std::fprintf(stderr, "smoke run %llu of seed %llu\n", static_cast<unsigned long long>(current),
                 static_cast<unsigned long long>(current_seed));
    std::abort();
  });
  // mt19937_64 and plain remainders: the distributions of <random> differ between standard libraries.
  for (std::uint64_t run = 0; run != runs; ++run) {
    current = run;
    std::mt19937_64 random{seed * 0x9e3779b97f4a7c15u + run};  // a run can be repeated alone
    std::vector<std::uint8_t> input(static_cast<std::size_t>(random() % (longest + 1)));
    // A third each: any bytes; small numbers, which look like counts and indices; runs of one byte.
    const auto style = random() % 3;
    std::uint8_t last = 0;
    for (auto& byte : input) {
      const auto word = random();
      if (style == 0) last = static_cast<std::uint8_t>(word);
      if (style == 1) last = static_cast<std::uint8_t>(word % 8);
      if (style == 2 && word % 16 == 0) last = static_cast<std::uint8_t>(word >> 8);
      byte = last;
    }
    LLVMFuzzerTestOneInput(input.data(), input.size());
  }
  std::fprintf(stderr, "%llu smoke runs of seed %llu\n", static_cast<unsigned long long>(runs), static_cast<unsigned long long>(seed));
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string_view> arguments(argv + 1, argv + argc);
  if (arguments.size() == 4 && arguments[0] == "--smoke") {
    smoke(number(arguments[1], "SEED"), number(arguments[2], "RUNS"), number(arguments[3], "MAXLEN"));
    return 0;
  }
  if (arguments.empty() || arguments[0].starts_with("--")) {
    std::fprintf(stderr, "usage: %s FILE|DIR... | --smoke SEED RUNS MAXLEN\n", argv[0]);
    return 2;
  }
  return std::all_of(arguments.begin(), arguments.end(), [](std::string_view a) { return replay(fs::path{a}); }) ? 0 : 1;
}
