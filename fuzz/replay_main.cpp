// SPDX-License-Identifier: MIT
// main() for fuzz targets built without libFuzzer: replays inputs, so that every compiler runs the committed corpus.
//   fuzz_<name> FILE|DIR...                  each file, and every file below each directory, in sorted order
//   fuzz_<name> --smoke SEED RUNS MAXLEN     RUNS pseudo-random inputs of 1..MAXLEN bytes; the same on every machine
// While an input runs, a crash names it: a file by its path (printed before it runs), a smoke run by its index. Exit status 1:
// some file cannot be read or is malformed (the target refuses it, and says at which byte); 2: wrong arguments.
#include <algorithm>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <memory>
#include <random>
#include <string_view>
#include <system_error>
#include <vector>

#include <unistd.h>

#include "input.hpp"

namespace {

namespace fs = std::filesystem;

constexpr std::size_t largest = std::size_t{1} << 20;

bool complain(const fs::path& path, const char* what) {
  std::fprintf(stderr, "%s: %s\n", path.c_str(), what);
  return false;
}

bool replay_file(const fs::path& path) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file{std::fopen(path.c_str(), "rb"), [](std::FILE* f) { return std::fclose(f); }};
  if (!file) return complain(path, std::strerror(errno));
  std::vector<std::uint8_t> read(largest + 1);
  errno = 0;
  read.resize(std::fread(read.data(), 1, read.size(), file.get()));
  if (std::ferror(file.get()) != 0) return complain(path, std::strerror(errno));
  if (read.size() > largest) return complain(path, "larger than 1 MiB: not an input");
  const std::vector<std::uint8_t> input(read);  // a block of exactly that size, so that AddressSanitizer guards its end
  std::fprintf(stderr, "replay %s (%zu bytes)\n", path.c_str(), input.size());
  if (LLVMFuzzerTestOneInput(input.data(), input.size()) == 0) return true;
  const fuzz::refusal why = fuzz::last_refusal();
  std::fprintf(stderr, "%s: malformed at byte %zu: %s\n", path.c_str(), why.position, why.text != nullptr ? why.text : "refused");
  return false;
}

bool replay(const fs::path& path) {
  std::error_code error;
  const fs::file_status is = fs::status(path, error);
  if (!fs::exists(is)) return complain(path, "no such file or directory");
  if (!fs::is_directory(is)) return replay_file(path);
  std::vector<fs::path> files;
  for (fs::recursive_directory_iterator it{path, error}, end; !error && it != end; it.increment(error)) {
    if (it->is_regular_file(error)) files.push_back(it->path());
  }
  if (error) return complain(path, error.message().c_str());
  if (files.empty()) return complain(path, "no input in this directory");
  std::sort(files.begin(), files.end());
  const auto bad = std::count_if(files.begin(), files.end(), [](const fs::path& f) { return !replay_file(f); });
  if (bad != 0) std::fprintf(stderr, "%s: %td of %zu inputs are no good\n", path.c_str(), bad, files.size());
  return bad == 0;
}

/// The value of `text`; exits with the usage when it is not a number.
std::uint64_t number(std::string_view text, const char* what) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) {
    std::fprintf(stderr, "%s: not a number: %.*s\n", what, static_cast<int>(text.size()), text.data());
    std::exit(2);
  }
  return value;
}

// What a crash prints. Plain words that are written with write(2): a signal handler may do no more.
char smoke_name[64];

extern "C" void name_smoke_run(int signal) {
  static_cast<void>(!::write(2, smoke_name, std::strlen(smoke_name)));
  std::signal(signal, SIG_DFL);
  std::raise(signal);
}

void smoke(std::uint64_t seed, std::uint64_t runs, std::uint64_t longest) {
  std::signal(SIGABRT, name_smoke_run);
  // mt19937_64 and plain remainders: the distributions of <random> differ between standard libraries.
  for (std::uint64_t run = 0; run != runs; ++run) {
    std::snprintf(smoke_name, sizeof smoke_name, "smoke run %llu of seed %llu\n", static_cast<unsigned long long>(run),
                  static_cast<unsigned long long>(seed));
    std::mt19937_64 random{seed * 0x9e3779b97f4a7c15u + run};  // a run can be repeated alone
    std::vector<std::uint8_t> input(static_cast<std::size_t>(1 + random() % longest));
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
    input[0] = fuzz_format_tag;
    LLVMFuzzerTestOneInput(input.data(), input.size());
  }
  std::fprintf(stderr, "%llu smoke runs of seed %llu\n", static_cast<unsigned long long>(runs), static_cast<unsigned long long>(seed));
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string_view> arguments(argv + 1, argv + argc);
  if (arguments.size() == 4 && arguments[0] == "--smoke") {
    const std::uint64_t longest = number(arguments[3], "MAXLEN");
    smoke(number(arguments[1], "SEED"), number(arguments[2], "RUNS"), longest == 0 ? 1 : longest);
    return 0;
  }
  if (arguments.empty() || arguments[0].starts_with("--")) {
    std::fprintf(stderr, "usage: %s FILE|DIR... | --smoke SEED RUNS MAXLEN\n", argv[0]);
    return 2;
  }
  const auto bad = std::count_if(arguments.begin(), arguments.end(), [](std::string_view a) { return !replay(fs::path{a}); });
  return bad == 0 ? 0 : 1;
}
