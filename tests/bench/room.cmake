# SPDX-License-Identifier: MIT
# The trace reader is part of the benchmark program; its tests compile it again, under this preset's sanitizers.
target_sources(${target} PRIVATE "${PROJECT_SOURCE_DIR}/bench/trace.cpp")
