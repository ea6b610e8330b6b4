# SPDX-License-Identifier: MIT
# The trace reader is part of the benchmark program; it is compiled again, under this preset's sanitizers.
target_sources(${target} PRIVATE "${PROJECT_SOURCE_DIR}/bench/trace.cpp")
target_include_directories(${target} PRIVATE "${PROJECT_SOURCE_DIR}/bench")
target_link_libraries(${target} PRIVATE ZLIB::ZLIB)
