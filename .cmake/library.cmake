# SPDX-License-Identifier: MIT
# The two header sets of the library.
#   shootdown::shootdown  the freestanding core: depends on nothing
#   shootdown::host       host/, sim/, model/ and topology/: threads, liburcu, Abseil, Boost.Context
# The second exists only where its dependencies do.

file(GLOB_RECURSE shootdown_headers CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/include/shootdown/*.hpp")
set(shootdown_host_headers ${shootdown_headers})
list(FILTER shootdown_host_headers INCLUDE REGEX "/include/shootdown/(host|sim|model|topology)/")
set(shootdown_core_headers ${shootdown_headers})
list(FILTER shootdown_core_headers EXCLUDE REGEX "/include/shootdown/(host|sim|model|topology)/")

add_library(shootdown INTERFACE)
add_library(shootdown::shootdown ALIAS shootdown)
target_compile_features(shootdown INTERFACE cxx_std_20)
target_sources(shootdown INTERFACE
  FILE_SET HEADERS BASE_DIRS "${PROJECT_SOURCE_DIR}/include" FILES ${shootdown_core_headers})

# Each header is compiled on its own (target all_verify_interface_header_sets), the core as a kernel would compile it. The
# flags reach only that check: they are neither exported nor given to anything else that links the library.
set(shootdown_core_flags -ffreestanding -fno-exceptions -fno-rtti)
set(shootdown_warnings -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror)
set(checking "$<STREQUAL:$<TARGET_PROPERTY:NAME>,shootdown_verify_interface_header_sets>")
target_compile_options(shootdown INTERFACE "$<BUILD_INTERFACE:$<${checking}:${shootdown_core_flags};${shootdown_warnings}>>")
set_target_properties(shootdown PROPERTIES VERIFY_INTERFACE_HEADER_SETS ${PROJECT_IS_TOP_LEVEL})

# -- host ---------------------------------------------------------------------------------------------------------------
# Every Abseil component that the host headers, tests and tools link. Debian 12 builds Abseil 20220623 as C++14 with its own
# string_view, optional and variant (absl/base/options.h), and without sanitizers. With C++20 code it links and runs with
# g++-12 and clang++-19 alike; two things to know:
#   * absl::string_view is not std::string_view and neither converts to the other implicitly: pass std::string or
#     absl::string_view(s.data(), s.size());
#   * absl::Mutex, Notification and BlockingCounter live in the uninstrumented library, so ThreadSanitizer does not see
#     their edges and reports false races. Threaded code here uses std::mutex and std::atomic instead. Containers and
#     strings are headers plus plain functions and need no edges.
set(shootdown_absl_components
  btree flat_hash_map flat_hash_set inlined_vector fixed_array span
  strings str_format status statusor cleanup hash)

find_package(Threads QUIET)
find_package(absl CONFIG QUIET)
find_package(Boost 1.74 CONFIG QUIET COMPONENTS context)
find_package(PkgConfig QUIET)
if(PkgConfig_FOUND)
  pkg_check_modules(URCU QUIET IMPORTED_TARGET liburcu-memb liburcu-mb liburcu-bp liburcu-qsbr)
endif()

set(shootdown_host_missing)
foreach(pair IN ITEMS Threads_FOUND:threads absl_FOUND:Abseil Boost_FOUND:Boost.Context URCU_FOUND:liburcu)
  string(REPLACE ":" ";" pair "${pair}")
  list(GET pair 0 found)
  list(GET pair 1 name)
  if(NOT ${found})
    list(APPEND shootdown_host_missing "${name}")
  endif()
endforeach()

set(shootdown_host_links shootdown::shootdown Threads::Threads PkgConfig::URCU Boost::context)
foreach(component IN LISTS shootdown_absl_components)
  list(APPEND shootdown_host_links "absl::${component}")
endforeach()

if(shootdown_host_missing)
  list(JOIN shootdown_host_missing ", " missing)
  message(STATUS "shootdown::host is left out, not found: ${missing}")
else()
  add_library(shootdown_host INTERFACE)
  add_library(shootdown::host ALIAS shootdown_host)
  set_target_properties(shootdown_host PROPERTIES EXPORT_NAME host)
  target_sources(shootdown_host INTERFACE
    FILE_SET HEADERS BASE_DIRS "${PROJECT_SOURCE_DIR}/include" FILES ${shootdown_host_headers})
  target_link_libraries(shootdown_host INTERFACE ${shootdown_host_links})
  # _LGPL_SOURCE stays undefined: ThreadSanitizer misreads what liburcu would then inline.
  set(checking "$<STREQUAL:$<TARGET_PROPERTY:NAME>,shootdown_host_verify_interface_header_sets>")
  target_compile_options(shootdown_host INTERFACE "$<BUILD_INTERFACE:$<${checking}:${shootdown_warnings}>>")
  if(shootdown_host_headers)
    set_target_properties(shootdown_host PROPERTIES VERIFY_INTERFACE_HEADER_SETS ${PROJECT_IS_TOP_LEVEL})
  endif()
endif()
