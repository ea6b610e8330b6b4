# SPDX-License-Identifier: MIT
# The explorer as a program: `./run explore`, `./run replay`, and the run-time half of `./run mutants`.
shootdown_own_executable(shootdown_explore "${CMAKE_CURRENT_SOURCE_DIR}/explore/main.cpp" "${CMAKE_CURRENT_SOURCE_DIR}/explore/weaken.cpp"
  "${CMAKE_CURRENT_SOURCE_DIR}/explore/tsan_reports.cpp")
target_include_directories(shootdown_explore PRIVATE "${CMAKE_CURRENT_SOURCE_DIR}")
target_link_libraries(shootdown_explore PRIVATE shootdown_scenarios shootdown::host absl::flags absl::flags_parse absl::flags_usage)

# Broken twins may race under ThreadSanitizer; a race fails the trial that has it, not the process.
target_sources(${target} PRIVATE "${CMAKE_CURRENT_SOURCE_DIR}/explore/tsan_reports.cpp")
target_link_libraries(${target} PRIVATE shootdown_scenarios)
