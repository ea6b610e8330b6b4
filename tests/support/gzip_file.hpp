// SPDX-License-Identifier: MIT
#pragma once

#include <zlib.h>

#include <cstddef>
#include <string>
#include <vector>

namespace shootdown::test {

/// Where the recordings lie: given by the build, or relative to the repository.
inline std::string trace_path(const char* file) {
#ifdef SHOOTDOWN_TRACE_DIR
  return std::string{SHOOTDOWN_TRACE_DIR} + "/" + file;
#else
  return std::string{"bench/traces/"} + file;
#endif
}

/// The whole content of a gzip file; empty when it cannot be read.
inline std::string read_gzip(const std::string& path) {
  std::string content;
  gzFile in = gzopen(path.c_str(), "rb");
  if (in == nullptr) return content;
  std::vector<char> chunk(std::size_t{1} << 16);
  for (;;) {
    const int n = gzread(in, chunk.data(), static_cast<unsigned>(chunk.size()));
    if (n < 0) content.clear();
    if (n <= 0) break;
    content.append(chunk.data(), static_cast<std::size_t>(n));
  }
  gzclose(in);
  return content;
}

}  // namespace shootdown::test
