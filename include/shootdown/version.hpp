// SPDX-License-Identifier: MIT
#pragma once

// Library version, and the inline namespace that keeps two versions linked into one image apart.
#define SHOOTDOWN_VERSION_MAJOR 0
#define SHOOTDOWN_VERSION_MINOR 1
#define SHOOTDOWN_VERSION_PATCH 0
#define SHOOTDOWN_VERSION (SHOOTDOWN_VERSION_MAJOR * 10000 + SHOOTDOWN_VERSION_MINOR * 100 + SHOOTDOWN_VERSION_PATCH)
