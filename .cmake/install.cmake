# SPDX-License-Identifier: MIT
# find_package(shootdown) gives shootdown::shootdown; find_package(shootdown COMPONENTS host) also shootdown::host.

include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(shootdown_config_dir "${CMAKE_INSTALL_DATADIR}/cmake/shootdown")

install(TARGETS shootdown EXPORT shootdownTargets FILE_SET HEADERS)
install(EXPORT shootdownTargets NAMESPACE shootdown:: DESTINATION "${shootdown_config_dir}")
if(TARGET shootdown_host)
  install(TARGETS shootdown_host EXPORT shootdown_hostTargets FILE_SET HEADERS)
  install(EXPORT shootdown_hostTargets NAMESPACE shootdown:: DESTINATION "${shootdown_config_dir}")
endif()

file(CONFIGURE OUTPUT "${PROJECT_BINARY_DIR}/shootdownConfig.cmake" @ONLY CONTENT [[
include("${CMAKE_CURRENT_LIST_DIR}/shootdownTargets.cmake")
if("host" IN_LIST shootdown_FIND_COMPONENTS)
  set(shootdown_host_FOUND FALSE)
  if(EXISTS "${CMAKE_CURRENT_LIST_DIR}/shootdown_hostTargets.cmake")
    include(CMakeFindDependencyMacro)
    find_dependency(Threads)
    find_dependency(absl CONFIG)
    find_dependency(Boost 1.74 CONFIG COMPONENTS context)
    find_dependency(PkgConfig)
    pkg_check_modules(URCU QUIET IMPORTED_TARGET liburcu-memb liburcu-mb liburcu-bp liburcu-qsbr)
    if(URCU_FOUND)
      include("${CMAKE_CURRENT_LIST_DIR}/shootdown_hostTargets.cmake")
      set(shootdown_host_FOUND TRUE)
    endif()
  endif()
  if(shootdown_FIND_REQUIRED_host AND NOT shootdown_host_FOUND)
    set(shootdown_FOUND FALSE)
    set(shootdown_NOT_FOUND_MESSAGE "shootdown was installed without its host part, or liburcu is missing")
  endif()
endif()
]])
write_basic_package_version_file("${PROJECT_BINARY_DIR}/shootdownConfigVersion.cmake"
  COMPATIBILITY SameMinorVersion ARCH_INDEPENDENT)

file(CONFIGURE OUTPUT "${PROJECT_BINARY_DIR}/shootdown.pc" @ONLY CONTENT [[
prefix=@CMAKE_INSTALL_PREFIX@
includedir=${prefix}/@CMAKE_INSTALL_INCLUDEDIR@

Name: @PROJECT_NAME@
Description: @PROJECT_DESCRIPTION@
Version: @PROJECT_VERSION@
Cflags: -I${includedir}
]])

install(FILES "${PROJECT_BINARY_DIR}/shootdownConfig.cmake" "${PROJECT_BINARY_DIR}/shootdownConfigVersion.cmake"
  DESTINATION "${shootdown_config_dir}")
install(FILES "${PROJECT_BINARY_DIR}/shootdown.pc" DESTINATION "${CMAKE_INSTALL_DATADIR}/pkgconfig")
