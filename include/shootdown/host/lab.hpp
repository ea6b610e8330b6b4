// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <type_traits>
#include <vector>

#include <shootdown/device/smmu.hpp>
#include <shootdown/device/stage1_stream.hpp>
#include <shootdown/device/stage2_stream.hpp>
#include <shootdown/host/env.hpp>
#include <shootdown/invs/domain.hpp>
#include <shootdown/model/machine.hpp>
#include <shootdown/queue/command_queue.hpp>
#include <shootdown/queue/owner_cas.hpp>
#include <shootdown/range/gather.hpp>
#include <shootdown/table/editor.hpp>
#include <shootdown/table/format.hpp>
#include <shootdown/table/page_pool.hpp>

SHOOTDOWN_BEGIN
namespace host {

/// Sizes and policies of a lab whose tables have `Format`.
template <class Format>
struct basic_lab_options {
  unsigned spaces{1};             ///< address spaces, each with a domain, a table and one device (stream 1, 2, ...)
  std::size_t table_pages{1024};  ///< of the format's granule, for all spaces together
  cover_policy policy{cover_policy::exact};
  bool ats{};             ///< the devices cache translations (the SMMU's ID registers must say ATS)
  bool nesting_parent{};  ///< stage 2: every domain is the parent of guests' tables
  typename Format::config_type table{};
  model::machine_options machine{};
  device::smmu_config smmu{};
};
using lab_options = basic_lab_options<table::stage1_k4>;

/// Contiguous memory at a contiguous IOVA: what map() takes and unmap() takes back.
struct mapping {
  iova at{};
  bus_addr frames{};
  std::uint64_t bytes{};
};

/// An assembled machine in memory: one model SMMU driven by the library through its registers, and address spaces with a
/// device each. For experiments, tests and the benchmark; a driver assembles the same parts over its own backend.
///
/// Contract: open() before use; every part is reachable, so a test can leave one step out and watch the oracle. Spaces are
///   independent; map and unmap of one space may run on several threads (its lock covers table edits only, never a wait).
/// Env may be any environment; on threads every user needs a host::thread_scope. Device: environment of the model's own lock
///   and registers, see model::smmu.
/// Context: threads or fibers; allocates.
/// Format: of the tables, and with it the stage: stage 1 with a context descriptor, or stage 2.
template <environment Env = env, class Strategy = queue::owner_cas, environment Device = Env, class Format = table::stage1_k4>
class lab {
  /// A page of a larger granule is several frames of the oracle.
  struct hooks {
    model::oracle<Env>* judge{};
    void allocated(bus_addr a) noexcept {
      for (std::uint64_t at = 0; at != page_size; at += 4096) judge->table_allocated(bus_addr{raw(a) + at});
    }
    void freed(bus_addr a) noexcept {
      for (std::uint64_t at = 0; at != page_size; at += 4096) judge->table_freed(bus_addr{raw(a) + at});
    }
  };

 public:
  static constexpr std::size_t page_size = std::size_t{1} << granule_shift(Format::tg);
  static constexpr bool is_stage2 = std::is_same_v<typename Format::input_type, ipa>;
  using options_type = basic_lab_options<Format>;
  using machine_type = model::machine<Env, Device>;
  using backend_type = typename machine_type::backend_type;
  using smmu_type = device::smmu<Env, backend_type, Strategy>;
  using domain_type = domain<Env, smmu_type>;
  using pool_type = table::page_pool<Env, hooks, page_size>;
  using table_type = table::editor<Env, pool_type, Format>;
  using stream_type = std::conditional_t<is_stage2, device::stage2_stream<smmu_type>, device::stage1_stream<smmu_type>>;
  using translation_type = std::conditional_t<is_stage2, device::stage2_space, device::stage1_space>;
  using input_type = typename Format::input_type;
  using gather_type = gather<>;

  /// One address space and the device that uses it.
  class space {
   public:
    space(lab& owner, unsigned index, const domain_options& o)
        : owner_{owner},
          id_{static_cast<std::uint16_t>(index + 1)},
          sid_{index + 1},
          domain_{o},
          table_{*owner.pool_},
          stream_{owner.smmu_, sid_},
          endpoint_{owner, sid_} {}

    /// Claims the frames for this space and maps them. Errors of stage1_4k::map; already_present: a frame has an owner.
    [[nodiscard]] status map(const mapping& m, typename Format::prot_type access = {.write = true}) noexcept {
      if (const status s = owner_.machine_.oracle().claim(m.frames, frames_of(m), id_, m.at); !s.ok()) return s;
      lock_.lock();
      const status s = table_.map(input_type{raw(m.at)}, m.frames, m.bytes, access);
      lock_.unlock();
      if (!s.ok()) static_cast<void>(owner_.machine_.oracle().release(m.frames, frames_of(m), id_, m.at));
      return s;
    }

    /// The whole life of an unmap: table edit, invalidation, and only then tables and frames are given back. If the
    /// invalidation fails nothing is given back: the frames keep their owner and the tables stay held.
    [[nodiscard]] status unmap(const mapping& m, deadline d = {}) noexcept {
      gather_type g;
      if (const status s = remove(m, g); !s.ok()) return s;
      if (const status s = domain_.invalidate(g, d); !s.ok()) return s;
      give_back(m, g);
      return {};
    }
    /// The parts of unmap(), for a caller that does something else in between.
    [[nodiscard]] status remove(const mapping& m, gather_type& g) noexcept {
      lock_.lock();
      const status s = table_.unmap(input_type{raw(m.at)}, m.bytes, g);
      lock_.unlock();
      return s;
    }
    void give_back(const mapping& m, gather_type& g) noexcept {
      give_back_tables(g);
      release_frames(m);
    }
    void give_back_tables(gather_type& g) noexcept {
      lock_.lock();
      table_.release(g);
      lock_.unlock();
    }
    void release_frames(const mapping& m) noexcept {
      if (!owner_.machine_.oracle().release(m.frames, frames_of(m), id_, m.at).ok())
        Env::fail("lab: frames released that were not claimed so");
    }

    /// The device accesses `x` now: ok if the access reached memory, not_present if it was refused (faulted or aborted).
    [[nodiscard]] status write(iova x) noexcept { return access(x, model::request::store()); }
    [[nodiscard]] status read(iova x) noexcept { return access(x, model::request::load()); }

    /// Joins the domain; with `ats` the device may cache translations.
    [[nodiscard]] status attach(bool ats, deadline d = {}) noexcept {
      if (ats) static_cast<void>(owner_.machine_.smmu().admit(sid_));
      return domain_.attach(attachment_, member(ats), stream_.writer(translation(), endpoint_), d);
    }
    [[nodiscard]] status attach(deadline d = {}) noexcept { return attach(owner_.options_.ats, d); }
    [[nodiscard]] status detach(deadline d = {}) noexcept { return domain_.detach(attachment_, stream_.writer({}, endpoint_), d); }
    /// What attach() says of the device, for the domain's other operations.
    [[nodiscard]] master<smmu_type> member(bool ats) noexcept { return {owner_.smmu_, {&sid_, 1}, substream_id{0}, ats, 0}; }

    /// Switches the device's own ATS enable: what the domain asks for.
    struct endpoint {
      lab& owner;
      stream_id sid;
      [[nodiscard]] status ats(bool on) noexcept {
        const status s = owner.machine_.smmu().enable_ats(sid, on);
        return on ? s : status{};  // a device without an ATC has nothing to switch off
      }
    };
    [[nodiscard]] endpoint& device() noexcept { return endpoint_; }

    [[nodiscard]] domain_type& domain() noexcept { return domain_; }
    [[nodiscard]] table_type& table() noexcept { return table_; }
    [[nodiscard]] stream_type& stream() noexcept { return stream_; }
    [[nodiscard]] typename domain_type::attachment_t& attachment() noexcept { return attachment_; }
    [[nodiscard]] translation_type translation() const noexcept {
      translation_type s;
      s.root = table_.root();
      if constexpr (is_stage2) {
        s.walk.tg = Format::tg;
        s.walk.input_bits = table_.address_bits();
      } else {
        s.page = Format::tg;
        s.input_bits = table_.address_bits();
      }
      return s;
    }
    [[nodiscard]] stream_id sid() const noexcept { return sid_; }
    [[nodiscard]] model::space_id id() const noexcept { return id_; }

   private:
    friend class lab;
    static std::size_t frames_of(const mapping& m) noexcept { return static_cast<std::size_t>((m.bytes + 4095) >> 12); }
    [[nodiscard]] status access(iova x, const model::request& r) noexcept {
      auto& smmu = owner_.machine_.smmu();
      const auto done = owner_.options_.ats ? smmu.ats_dma(sid_, x, r, 0, Env::now()) : smmu.dma(sid_, x, r, 0, Env::now());
      return done.ok() ? status{} : done.state();
    }
    [[nodiscard]] status open(const typename Format::config_type& c) noexcept {
      if (const status s = table_.create(c); !s.ok()) return s;
      if (const status s = owner_.machine_.oracle().bind(sid_, id_); !s.ok()) return s;
      if constexpr (!is_stage2) {
        if (const status s = stream_.open(); !s.ok()) return s;
      }
      if (owner_.options_.ats) owner_.machine_.smmu().add_endpoint(sid_, {.enabled = false});
      return attach();
    }
    void close() noexcept {
      if (attachment_.attached() && !detach().ok()) Env::fail("lab: a stream could not be detached");
      if constexpr (!is_stage2) stream_.close();
    }

    lab& owner_;
    model::space_id id_;
    stream_id sid_;
    domain_type domain_;
    table_type table_;
    stream_type stream_;
    endpoint endpoint_;
    typename domain_type::attachment_t attachment_{};
    typename Env::mutex lock_{};  // table edits of this space
  };

  explicit lab(const options_type& o = {}) : options_{o}, machine_{o.machine}, smmu_{machine_.backend()} {}
  ~lab() { close(); }
  lab(const lab&) = delete;
  lab& operator=(const lab&) = delete;

  /// Starts the SMMU and attaches a device to every space. On failure the first error; the lab can then only be destroyed.
  [[nodiscard]] status open() {
    table_memory_ = machine_.backend().allocate_dma(options_.table_pages * page_size, page_size * 16);  // 16: concatenated start tables
    if (!table_memory_) return errc::no_memory;
    table_meta_ = std::make_unique<table::page_meta[]>(options_.table_pages);
    pool_ = std::make_unique<pool_type>(table_memory_, std::span{table_meta_.get(), options_.table_pages}, hooks{&machine_.oracle()});
    if (const status s = smmu_.start(options_.smmu); !s.ok()) return s;
    started_ = true;
    for (unsigned i = 0; i != options_.spaces; ++i) {
      domain_options o;
      o.address_bits = options_.table.input_bits;
      o.policy = options_.policy;
      o.page = Format::tg;
      o.stage = is_stage2 ? translation_stage::two : translation_stage::one;
      o.nesting_parent = options_.nesting_parent;
      o.number = i + 1;
      spaces_.push_back(std::make_unique<space>(*this, i, o));
      if (const status s = spaces_.back()->open(options_.table); !s.ok()) return s;
    }
    return {};
  }

  [[nodiscard]] space& at(unsigned i = 0) noexcept { return *spaces_[i]; }
  [[nodiscard]] unsigned spaces() const noexcept { return static_cast<unsigned>(spaces_.size()); }
  [[nodiscard]] machine_type& machine() noexcept { return machine_; }
  [[nodiscard]] smmu_type& smmu() noexcept { return smmu_; }
  [[nodiscard]] pool_type& pool() noexcept { return *pool_; }
  /// Bus address of data frame n.
  [[nodiscard]] bus_addr frame(std::uint64_t n) const noexcept { return bus_addr{raw(options_.machine.data_base) + n * 4096}; }
  [[nodiscard]] std::uint64_t leaks() const noexcept { return machine_.leaks(); }

  /// Everything that has invariants; only while no other call is in progress.
  [[nodiscard]] bool check_invariants() noexcept {
    bool good = machine_.check_invariants() && smmu_.check_invariants() && pool_->check_invariants();
    for (const auto& s : spaces_) good = good && s->table_.check_invariants() && s->domain_.check_invariants();
    return good;
  }

 private:
  void close() noexcept {
    if (started_) {
      for (const auto& s : spaces_) s->close();
      Env::rcu::synchronize();  // nobody submits any more
      if (!smmu_.stop().ok()) Env::fail("lab: the SMMU did not stop");
    }
    Env::rcu::drain();
    spaces_.clear();
    pool_.reset();
    if (table_memory_) machine_.backend().release_dma(table_memory_);
  }

  options_type options_;
  machine_type machine_;
  smmu_type smmu_;
  dma_span<Env> table_memory_{};
  std::unique_ptr<table::page_meta[]> table_meta_;
  std::unique_ptr<pool_type> pool_;
  std::vector<std::unique_ptr<space>> spaces_;
  bool started_{};
};

}  // namespace host
SHOOTDOWN_END
