// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

#include <shootdown/env/environment.hpp>
#include <shootdown/port/tag.hpp>
#include <shootdown/status.hpp>

SHOOTDOWN_BEGIN
namespace device {

/// The ASIDs and VMIDs of one SMMU instance (the tag_allocator of port/tag.hpp).
///
/// Contract: a tag handed out by acquire() is in no TLB entry of the instance, because it comes back by release() only
/// after a completed flush, and by retire() never. Tag 0 of both kinds is never handed out: VMID 0 tags stage-1-only
/// domains. The lowest free tag goes out first, so that a missing flush is met soon rather than after 65 534 attaches.
/// Context: may sleep (Env::mutex); control paths only. Memory: 32 KiB of bitmaps inside the object.
template <environment Env>
class tag_space {
 public:
  tag_space() noexcept = default;
  tag_space(const tag_space&) = delete;
  tag_space& operator=(const tag_space&) = delete;

  /// Sets the widths (IDR0.ASID16, IDR0.VMID16) and frees every tag, retired ones too: only right after the instance
  /// has invalidated everything (reset). Bad input: a width that is neither 8 nor 16 -> invalid_argument, nothing changed.
  [[nodiscard]] status configure(unsigned asid_bits, unsigned vmid_bits) noexcept {
    if ((asid_bits != 8 && asid_bits != 16) || (vmid_bits != 8 && vmid_bits != 16)) return errc::invalid_argument;
    const hold lock{mutex_};
    asids_.reset(asid_bits);
    vmids_.reset(vmid_bits);
    return {};
  }

  /// The lowest free tag; exhausted when there is none (also before configure()).
  [[nodiscard]] result<tag> acquire(tag_kind kind) noexcept {
    const hold lock{mutex_};
    const std::uint32_t id = space(kind).take();
    if (id == 0) return errc::exhausted;
    return tag{kind, static_cast<std::uint16_t>(id)};
  }

  /// Back for reuse; every TLB entry that carries it is gone. Releasing what is not in use is a contract violation.
  void release(tag t) noexcept {
    const hold lock{mutex_};
    if (!space(t.kind).give(t.id)) Env::fail("tag_space::release: tag is not in use");
  }

  /// Its flush failed: stays taken until the next configure(). Retiring what is not in use is a contract violation.
  void retire(tag t) noexcept {
    const hold lock{mutex_};
    if (!space(t.kind).retire(t.id)) Env::fail("tag_space::retire: tag is not in use");
  }

  [[nodiscard]] std::uint32_t in_use(tag_kind kind) noexcept {
    const hold lock{mutex_};
    return space(kind).used;
  }
  [[nodiscard]] std::uint32_t retired(tag_kind kind) noexcept {
    const hold lock{mutex_};
    return space(kind).retired;
  }

  /// Counts agree with the bitmaps, no tag beyond the width is taken, tag 0 is never free.
  [[nodiscard]] bool check_invariants() noexcept {
    const hold lock{mutex_};
    return asids_.consistent() && vmids_.consistent();
  }

 private:
  struct hold {
    explicit hold(typename Env::mutex& m) noexcept : m_{m} { m_.lock(); }
    ~hold() { m_.unlock(); }
    hold(const hold&) = delete;
    hold& operator=(const hold&) = delete;
    typename Env::mutex& m_;
  };

  /// One number space: a bit set means taken.
  struct numbers {
    static constexpr std::uint32_t word_bits = 64;
    std::array<std::uint64_t, 65536 / word_bits> taken{};
    std::array<std::uint64_t, 65536 / word_bits> lost{};  ///< of these, retired
    std::uint32_t count{};                                ///< tags of this width, 0 included; 0 = not configured
    std::uint32_t used{};                                 ///< handed out and neither released nor retired
    std::uint32_t retired{};                              ///< taken for good
    std::uint32_t low_word{};                             ///< no free tag in a word before this one

    void reset(unsigned bits) noexcept {
      taken.fill(0);
      lost.fill(0);
      taken[0] = 1;
      count = std::uint32_t{1} << bits;
      used = retired = low_word = 0;
    }
    [[nodiscard]] std::uint32_t take() noexcept {
      for (; low_word != count / word_bits; ++low_word) {
        std::uint64_t& w = taken[low_word];
        if (w == ~std::uint64_t{0}) continue;
        const auto bit = static_cast<std::uint32_t>(std::countr_one(w));
        w |= std::uint64_t{1} << bit;
        ++used;
        return low_word * word_bits + bit;
      }
      return 0;
    }
    [[nodiscard]] bool in_use(std::uint32_t id) const noexcept {
      return id != 0 && id < count && (((taken[id / word_bits] & ~lost[id / word_bits]) >> (id % word_bits)) & 1) != 0;
    }
    [[nodiscard]] bool give(std::uint32_t id) noexcept {
      if (!in_use(id)) return false;
      taken[id / word_bits] &= ~(std::uint64_t{1} << (id % word_bits));
      if (id / word_bits < low_word) low_word = id / word_bits;
      --used;
      return true;
    }
    [[nodiscard]] bool retire(std::uint32_t id) noexcept {
      if (!in_use(id)) return false;
      lost[id / word_bits] |= std::uint64_t{1} << (id % word_bits);
      --used;
      ++retired;
      return true;
    }
    /// std::popcount would call a libgcc helper on CPUs without the instruction.
    [[nodiscard]] static std::uint32_t ones(std::uint64_t w) noexcept {
      std::uint32_t n = 0;
      for (; w != 0; w &= w - 1) ++n;
      return n;
    }
    [[nodiscard]] bool consistent() const noexcept {
      std::uint32_t set = 0;
      std::uint32_t gone = 0;
      for (std::size_t w = 0; w != taken.size(); ++w) {
        set += ones(taken[w]);
        gone += ones(taken[w] & lost[w]);
        if ((lost[w] & ~taken[w]) != 0) return false;
      }
      if (count == 0) return set == 0 && used == 0 && retired == 0;
      for (std::uint32_t w = count / word_bits; w != taken.size(); ++w) {
        if (taken[w] != 0) return false;
      }
      return (taken[0] & 1) != 0 && set == 1 + used + retired && gone == retired;
    }
  };

  [[nodiscard]] numbers& space(tag_kind kind) noexcept { return kind == tag_kind::asid ? asids_ : vmids_; }

  typename Env::mutex mutex_{};
  numbers asids_{};
  numbers vmids_{};
};

}  // namespace device
SHOOTDOWN_END
