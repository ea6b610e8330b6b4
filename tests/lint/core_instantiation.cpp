// SPDX-License-Identifier: MIT
// The whole freestanding core, instantiated. check_symbols.py compiles it without a run-time and lists what it still needs.
// Add one explicit instantiation, or one function that calls a function template, for each new template of the core.
#include <shootdown/shootdown.hpp>

namespace sd = shootdown;

template class sd::sub_list<sd::array_list>;

/// A decoder of every command: visit reaches all decode() functions.
unsigned instantiate_visit(sd::command c) {
  return sd::visit(c, [](auto decoded) { return static_cast<unsigned>(decoded.encode().dw0); });
}
