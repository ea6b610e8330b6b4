// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include <shootdown/arch/cd.hpp>
#include <shootdown/arch/ste.hpp>
#include <shootdown/arch/types.hpp>
#include <shootdown/device/endpoint_switch.hpp>
#include <shootdown/env/backend.hpp>
#include <shootdown/status.hpp>

SHOOTDOWN_BEGIN
namespace device {

/// The translation tables that a stream is to walk: what a domain's owner knows about them.
struct stage1_space {
  bus_addr root{};          ///< start level table
  unsigned input_bits{48};  ///< IOVA width, 25..48
  granule page{granule::k4};
  address_size output{address_size::bits48};  ///< IPS; at most IDR5.OAS
};

/// One stream of an SMMU that translates at stage 1: its context descriptors, and the callables that a domain's attach,
/// detach and replace want (`writer`).
///
/// A move from one domain to another changes ASID and table pointer together, and the SMMU reads descriptors word by word.
/// So the stream has two descriptors: the new translation goes into the one that the live STE does not name, and a single
/// word of the STE then switches over. No transaction aborts in between, and none mixes old and new.
///
/// The stream remembers what it installed last: if a replace fails half way, the domain asks for the old tag again, and the
/// old tables must come with it. After a failed change nobody knows which descriptor the SMMU uses; the next one therefore
/// makes the stream abort first, and close() keeps the memory until the SMMU has been stopped.
///
/// Life: open() before the first attach, close() after the last detach; where that failed, after the SMMU's stop(). Context:
/// control path, one caller at a time for one stream. Spec: IHI 0070 5.2, 5.4; the CD is invalidated after the switch, because
/// until then the SMMU may fetch the old one again.
///
/// Sites: D1 relaxed stores of descriptor words; table/entry_writer.hpp:D1 is the release -> the SMMU's fetch through the STE
template <class Smmu>
class stage1_stream {
 public:
  using Env = typename Smmu::environment_type;

  stage1_stream(Smmu& owner, stream_id sid) noexcept : owner_{owner}, sid_{sid} {}
  stage1_stream(const stage1_stream&) = delete;
  stage1_stream& operator=(const stage1_stream&) = delete;

  /// Takes the memory of both descriptors. no_memory; already_present.
  [[nodiscard]] status open() noexcept {
    if (memory_) return errc::already_present;
    memory_ = owner_.device().allocate_dma(2 * cd::bytes, 2 * cd::bytes);
    return memory_ ? status{} : status{errc::no_memory};
  }
  /// Gives the memory back, unless the SMMU may still use it: then it is dropped for good.
  void close() noexcept {
    if (memory_ && (!doubtful_ || !owner_.started())) owner_.device().release_dma(memory_);
    memory_ = {};
    installed_ = {};
    doubtful_ = false;
  }

  [[nodiscard]] stream_id id() const noexcept { return sid_; }

  /// What `domain.attach(attachment, master, stream.writer(space), deadline)` takes. `Install` is the domain's request.
  /// `Endpoint` switches the ATS of the device behind the stream.
  template <endpoint_switch Endpoint>
  class entry_writer {
   public:
    template <class Install>
    [[nodiscard]] status write_entry(const Install& i) const noexcept {
      const bool translate = i.what == std::remove_cvref_t<Install>::action::translate;
      if (raw(i.pasid) != 0) return translate ? status{errc::unsupported} : status{};  // such transactions abort here anyway
      return translate ? stream_->translate(space_, asid{i.asid_tag.id}, i.ats) : stream_->block();
    }
    [[nodiscard]] status ats(bool on) const noexcept { return endpoint_->ats(on); }

   private:
    friend class stage1_stream;
    entry_writer(stage1_stream& s, const stage1_space& space, Endpoint& e) noexcept : stream_{&s}, space_{space}, endpoint_{&e} {}
    stage1_stream* stream_;
    stage1_space space_;
    Endpoint* endpoint_;
  };
  template <endpoint_switch Endpoint = no_endpoint>
  [[nodiscard]] entry_writer<Endpoint> writer(const stage1_space& space, Endpoint& e = no_endpoint::instance) noexcept {
    return {*this, space, e};
  }
  /// For detach of a device without an ATC; it installs nothing.
  [[nodiscard]] entry_writer<no_endpoint> writer() noexcept { return {*this, {}, no_endpoint::instance}; }

 private:
  static constexpr std::size_t cd_words = cd::bytes / 8;

  struct installation {
    asid as{};  // 0: none
    stage1_space space{};
  };

  [[nodiscard]] status translate(const stage1_space& asked, asid as, bool ats) noexcept {
    if (raw(as) == 0) return errc::invalid_argument;  // a domain of the other stage
    if (!memory_) return errc::no_memory;
    if (!owner_.has_stream(sid_)) return errc::out_of_range;
    const bool known = as == installed_.as;
    const stage1_space space = known ? installed_.space : asked;  // back to where it was
    cd_stage1 want;
    want.table = space.root;
    want.tg = space.page;
    want.input_bits = space.input_bits;
    want.output = space.output;
    want.as = as;
    const result<cd> made = cd::stage1(want);
    if (!made.ok()) return made.state();
    if (doubtful_) {
      if (const status s = switch_to(ste::abort()); !s.ok()) return s;
    }
    const bool only_ats = known && !doubtful_ && live_slot() < 2;  // the descriptor stays: one word of the STE changes
    const unsigned slot = only_ats ? live_slot() : spare_slot();
    ste_stage1 s;
    s.cd_table = bus_addr{raw(memory_.bus) + slot * cd::bytes};
    s.no_stall = owner_.id().can_stall;  // elsewhere the bit is reserved, and an SMMU may call the entry bad for it
    s.ats = ats ? ats_mode::full : ats_mode::abort;
    const result<ste> entry = ste::stage1(s);
    if (!entry.ok()) return entry.state();
    if (!only_ats) fill(slot, *made);
    const status done = switch_to(*entry);
    if (done.ok()) installed_ = {as, space};
    return done;
  }

  /// A stream without an entry in the table aborts by itself.
  [[nodiscard]] status block() noexcept {
    installed_ = {};
    return owner_.has_stream(sid_) ? switch_to(ste::abort()) : status{};
  }

  /// The descriptor that the stream's STE names now; 2: none of ours.
  [[nodiscard]] unsigned live_slot() noexcept {
    const result<ste> live = owner_.streams().read(sid_);
    if (!live.ok() || !live->has_stage1()) return 2;
    const std::uint64_t offset = raw(live->cd_table()) - raw(memory_.bus);
    return offset == 0 ? 0 : offset == cd::bytes ? 1 : 2;
  }
  /// The one that it does not name.
  [[nodiscard]] unsigned spare_slot() noexcept { return live_slot() == 0 ? 1 : 0; }

  void fill(unsigned slot, const cd& value) noexcept {
    typename Env::dma_word* const words = memory_.cpu + slot * cd_words;
    for (std::size_t w = 0; w != cd_words; ++w) {
      words[w].store(value.w[w],
                     std::memory_order_relaxed);  // D1 relaxed: the SMMU reads none of them before the STE names this descriptor
    }
    Env::dma_publish(words, cd::bytes);
  }

  [[nodiscard]] status switch_to(const ste& e) noexcept {
    doubtful_ = true;
    if (const status s = owner_.write_stream(sid_, e); !s.ok()) return s;
    if (const status s = owner_.invalidate_context(sid_, substream_id{0}); !s.ok()) return s;
    doubtful_ = false;
    return {};
  }

  Smmu& owner_;
  stream_id sid_;
  dma_span<Env> memory_{};
  installation installed_{};  ///< what the SMMU was last known to use
  bool doubtful_{};           ///< a change failed: old or new, and nobody knows
};

}  // namespace device
SHOOTDOWN_END
