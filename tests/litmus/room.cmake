# SPDX-License-Identifier: MIT
# These tests enumerate: optimisation pays in every compiler. (The sanitizer presets keep their own level.)
# The precompiled header has another level; g++-12 does not survive the mixture.
target_compile_options(${target} PRIVATE $<$<CONFIG:Release>:-O2>)
set_target_properties(${target} PROPERTIES DISABLE_PRECOMPILE_HEADERS ON)

# The litmus table of the documents.
shootdown_own_executable(shootdown_litmus litmus/table_main.cpp)
target_compile_options(shootdown_litmus PRIVATE $<$<CONFIG:Release>:-O2>)
target_include_directories(shootdown_litmus PRIVATE "${CMAKE_CURRENT_SOURCE_DIR}")
target_link_libraries(shootdown_litmus PRIVATE shootdown::host)
add_test(NAME litmus.table COMMAND shootdown_litmus --markdown --variants 2 --random 20)
add_test(NAME litmus.table_bad_option COMMAND shootdown_litmus --shape nothing)
set_tests_properties(litmus.table litmus.table_bad_option PROPERTIES LABELS litmus TIMEOUT 300)
set_tests_properties(litmus.table_bad_option PROPERTIES PASS_REGULAR_EXPRESSION "there is no shape nothing")
