# SPDX-License-Identifier: MIT
# These tests enumerate: optimisation pays in every compiler. (The sanitizer presets keep their own level.)
target_compile_options(${target} PRIVATE $<$<CONFIG:Release>:-O2>)
