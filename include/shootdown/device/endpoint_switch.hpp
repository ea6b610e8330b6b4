// SPDX-License-Identifier: MIT
#pragma once

#include <concepts>

#include <shootdown/config.hpp>
#include <shootdown/status.hpp>

SHOOTDOWN_BEGIN
namespace device {

/// Switches the ATS enable of the device behind a stream (the ATS capability in its PCIe configuration space, or what
/// stands for it). ok: the device is in that state. Control path; may sleep.
template <class E>
concept endpoint_switch = requires(E& e, bool on) {
  { e.ats(on) } noexcept -> std::same_as<status>;
};

/// A device without an ATC: nothing to switch off, and asking it to cache translations is an error.
struct no_endpoint {
  [[nodiscard]] status ats(bool on) const noexcept { return on ? status{errc::unsupported} : status{}; }
  static no_endpoint instance;
};
inline constinit no_endpoint no_endpoint::instance{};

}  // namespace device
SHOOTDOWN_END
