// SPDX-License-Identifier: MIT
#pragma once

#include <type_traits>

#include <shootdown/arch/ste.hpp>
#include <shootdown/arch/types.hpp>
#include <shootdown/device/endpoint_switch.hpp>
#include <shootdown/status.hpp>

SHOOTDOWN_BEGIN
namespace device {

/// The stage-2 tables that a stream is to walk.
struct stage2_space {
  bus_addr root{};                            ///< start tables, side by side
  stage2_walk walk{};                         ///< granule and IPA width
  address_size output{address_size::bits48};  ///< S2PS; at most IDR5.OAS
};

/// One stream of an SMMU that translates at stage 2 only: the callables that a domain's attach, detach and replace want.
///
/// All of a stage-2 translation stands in the STE, in more than one word, so a change of tables goes through an aborting
/// entry unless only one word differs (entry_writer). The stream remembers what it installed last: a replace that fails
/// half way asks for the old tag again, and the old tables must come with it.
/// Life: nothing to open or close. Context: control path, one caller at a time for one stream. Spec: IHI 0070 5.2.
template <class Smmu>
class stage2_stream {
 public:
  stage2_stream(Smmu& owner, stream_id sid) noexcept : owner_{owner}, sid_{sid} {}
  stage2_stream(const stage2_stream&) = delete;
  stage2_stream& operator=(const stage2_stream&) = delete;

  [[nodiscard]] stream_id id() const noexcept { return sid_; }

  /// What `domain.attach(attachment, master, stream.writer(space), deadline)` takes; `Endpoint` switches the device's ATS.
  template <endpoint_switch Endpoint>
  class entry_writer {
   public:
    template <class Install>
    [[nodiscard]] status write_entry(const Install& i) const noexcept {
      const bool translate = i.what == std::remove_cvref_t<Install>::action::translate;
      if (raw(i.pasid) != 0) return translate ? status{errc::unsupported} : status{};  // stage 2 alone has no PASIDs
      return translate ? stream_->translate(space_, vmid{i.vmid_tag.id}, i.ats) : stream_->block();
    }
    [[nodiscard]] status ats(bool on) const noexcept { return endpoint_->ats(on); }

   private:
    friend class stage2_stream;
    entry_writer(stage2_stream& s, const stage2_space& space, Endpoint& e) noexcept : stream_{&s}, space_{space}, endpoint_{&e} {}
    stage2_stream* stream_;
    stage2_space space_;
    Endpoint* endpoint_;
  };
  template <endpoint_switch Endpoint = no_endpoint>
  [[nodiscard]] entry_writer<Endpoint> writer(const stage2_space& space, Endpoint& e = no_endpoint::instance) noexcept {
    return {*this, space, e};
  }

 private:
  struct installation {
    vmid vm{};  // 0: none
    stage2_space space{};
  };

  [[nodiscard]] status translate(const stage2_space& asked, vmid vm, bool ats) noexcept {
    if (raw(vm) == 0) return errc::invalid_argument;  // a domain of the other stage
    if (!owner_.has_stream(sid_)) return errc::out_of_range;
    const stage2_space space = vm == installed_.vm ? installed_.space : asked;  // back to where it was
    ste_stage2 want;
    want.table = space.root;
    want.walk = space.walk;
    want.output = space.output;
    want.vm = vm;
    want.ats = ats ? ats_mode::full : ats_mode::abort;
    const result<ste> entry = ste::stage2(want);
    if (!entry.ok()) return entry.state();
    const status done = owner_.write_stream(sid_, *entry);
    if (done.ok()) installed_ = {vm, space};
    return done;
  }

  [[nodiscard]] status block() noexcept {
    installed_ = {};
    return owner_.has_stream(sid_) ? owner_.write_stream(sid_, ste::abort()) : status{};
  }

  Smmu& owner_;
  stream_id sid_;
  installation installed_{};
};

}  // namespace device
SHOOTDOWN_END
