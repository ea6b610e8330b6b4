// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

#include <shootdown/config.hpp>

SHOOTDOWN_BEGIN

/// Every way an operation of this library can end. Values are stable; `ok` is 0.
enum class errc : std::uint8_t {
  ok = 0,
  pending,           ///< not finished yet; ask again (poll)
  would_block,       ///< no room now; nothing was done (try_submit)
  timed_out,         ///< the deadline passed; the operation may still complete later, so nothing may be reused
  queue_failed,      ///< the queue is in its failed state until a reset starts a new generation
  illegal_command,   ///< CERROR_ILL: the device refused a command of this submission; its effect is lost
  fetch_aborted,     ///< CERROR_ABT: the device could not read its queue memory
  atc_timed_out,     ///< CERROR_ATC_INV_SYNC: an endpoint did not answer an ATC invalidation
  unknown_error,     ///< an error happened whose record was lost (log overflow): treat as failed
  empty_range,       ///< a range of zero bytes, or an empty list
  misaligned,        ///< an address or a size is not a multiple of what it has to be
  out_of_range,      ///< beyond the address space, the table, the ring or the id width
  unsupported,       ///< the hardware or this build lacks the feature (granule, stage, format, width)
  invalid_argument,  ///< a value outside its documented set
  not_power_of_two,  ///< a queue or table size that is not a power of two
  too_large,         ///< a list larger than the ring, a request larger than one operation takes
  no_memory,         ///< allocation failed; nothing was changed
  exhausted,         ///< no tag (ASID/VMID) or slot is left
  already_present,   ///< attach or map of something that is there already
  not_present,       ///< detach or unmap of something that is not there
  busy,              ///< still in use
};

/// The spelling of `e`, for logs and tests. Any context.
[[nodiscard]] constexpr const char* name(errc e) noexcept {
  switch (e) {
    case errc::ok: return "ok";
    case errc::pending: return "pending";
    case errc::would_block: return "would_block";
    case errc::timed_out: return "timed_out";
    case errc::queue_failed: return "queue_failed";
    case errc::illegal_command: return "illegal_command";
    case errc::fetch_aborted: return "fetch_aborted";
    case errc::atc_timed_out: return "atc_timed_out";
    case errc::unknown_error: return "unknown_error";
    case errc::empty_range: return "empty_range";
    case errc::misaligned: return "misaligned";
    case errc::out_of_range: return "out_of_range";
    case errc::unsupported: return "unsupported";
    case errc::invalid_argument: return "invalid_argument";
    case errc::not_power_of_two: return "not_power_of_two";
    case errc::too_large: return "too_large";
    case errc::no_memory: return "no_memory";
    case errc::exhausted: return "exhausted";
    case errc::already_present: return "already_present";
    case errc::not_present: return "not_present";
    case errc::busy: return "busy";
  }
  return "?";
}

/// Success or a reason. Cannot be dropped silently: a caller that ignores a failed invalidation hands memory to a device.
class [[nodiscard]] status {
 public:
  constexpr status() noexcept = default;
  constexpr status(errc e) noexcept : code_{e} {}  // NOLINT(google-explicit-constructor): `return errc::misaligned;`
  [[nodiscard]] constexpr bool ok() const noexcept { return code_ == errc::ok; }
  [[nodiscard]] constexpr errc code() const noexcept { return code_; }
  /// The first failure of a sequence: keeps this one if it failed, else takes `next`.
  constexpr void merge(status next) noexcept {
    if (code_ == errc::ok) code_ = next.code_;
  }
  friend constexpr bool operator==(status, status) noexcept = default;

 private:
  errc code_{errc::ok};
};

/// A value or a reason. T is default-constructible (values here are small and plain); reading the value of a failed
/// result yields that default value, so check ok() first.
template <class T>
class [[nodiscard]] result {
 public:
  constexpr result(T value) noexcept : value_{static_cast<T&&>(value)} {}  // NOLINT(google-explicit-constructor)
  constexpr result(errc e) noexcept : code_{e} {}                          // NOLINT(google-explicit-constructor)
  constexpr result(status s) noexcept : code_{s.code()} {}                 // NOLINT(google-explicit-constructor)
  [[nodiscard]] constexpr bool ok() const noexcept { return code_ == errc::ok; }
  [[nodiscard]] constexpr errc code() const noexcept { return code_; }
  [[nodiscard]] constexpr status state() const noexcept { return code_; }
  [[nodiscard]] constexpr T& value() noexcept { return value_; }
  [[nodiscard]] constexpr const T& value() const noexcept { return value_; }
  [[nodiscard]] constexpr T& operator*() noexcept { return value_; }
  [[nodiscard]] constexpr const T& operator*() const noexcept { return value_; }
  [[nodiscard]] constexpr T* operator->() noexcept { return &value_; }
  [[nodiscard]] constexpr const T* operator->() const noexcept { return &value_; }

 private:
  T value_{};
  errc code_{errc::ok};
};

SHOOTDOWN_END
