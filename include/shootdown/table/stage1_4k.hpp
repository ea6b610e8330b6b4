// SPDX-License-Identifier: MIT
#pragma once

#include <shootdown/config.hpp>
#include <shootdown/table/editor.hpp>
#include <shootdown/table/format.hpp>
#include <shootdown/table/page_pool.hpp>

SHOOTDOWN_BEGIN
namespace table {

/// The most common table: stage 1, 4 KiB granule. An editor by another name, with a default pool; see editor.
template <class Env, class Pool = page_pool<Env>>
class stage1_4k : public editor<Env, Pool, stage1_k4> {
 public:
  using editor<Env, Pool, stage1_k4>::editor;
};

}  // namespace table
SHOOTDOWN_END
