# SPDX-License-Identifier: MIT
# What this project's own executables have in common. Nothing here reaches a consumer.

set(shootdown_sanitizer_flags)
if(SHOOTDOWN_SANITIZE)
  foreach(sanitizer IN LISTS SHOOTDOWN_SANITIZE)
    if(NOT sanitizer MATCHES "^(address|thread|undefined)$")
      message(FATAL_ERROR "SHOOTDOWN_SANITIZE: '${sanitizer}' is none of address, thread, undefined")
    endif()
  endforeach()
  if("address" IN_LIST SHOOTDOWN_SANITIZE AND "thread" IN_LIST SHOOTDOWN_SANITIZE)
    message(FATAL_ERROR "SHOOTDOWN_SANITIZE: address and thread exclude each other")
  endif()
  list(JOIN SHOOTDOWN_SANITIZE "," sanitizers)
  set(shootdown_sanitizer_flags -fsanitize=${sanitizers} -fno-omit-frame-pointer)
  if("undefined" IN_LIST SHOOTDOWN_SANITIZE)
    list(APPEND shootdown_sanitizer_flags -fno-sanitize-recover=all)
  endif()
endif()

# shootdown_own_executable(<name> <source>...): an executable under this project's warnings and the chosen sanitizers.
function(shootdown_own_executable name)
  add_executable(${name} ${ARGN})
  target_link_libraries(${name} PRIVATE shootdown::shootdown)
  target_compile_options(${name} PRIVATE ${shootdown_warnings} ${shootdown_sanitizer_flags})
  target_link_options(${name} PRIVATE ${shootdown_sanitizer_flags})
endfunction()

# shootdown_checked(<target>): assertions stay on in every build type. Tests and fuzz targets, not benchmarks. They are
# compiled once and run for seconds, so less optimisation is less waiting.
function(shootdown_checked target)
  target_compile_options(${target} PRIVATE -UNDEBUG $<$<CONFIG:Release>:$<IF:$<CXX_COMPILER_ID:Clang>,-O0,-O1>>)
  target_compile_definitions(${target} PRIVATE _GLIBCXX_ASSERTIONS)
endfunction()
