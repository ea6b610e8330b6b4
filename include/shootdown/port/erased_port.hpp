// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

#include <shootdown/port/command_port.hpp>

SHOOTDOWN_BEGIN

/// A sink behind two pointers: calls through to the sink it was made from, which must outlive it.
class sink_ref {
 public:
  template <class Sink>
  explicit constexpr sink_ref(Sink& sink) noexcept : sink_{&sink}, put_{[](void* s, command c) noexcept { (*static_cast<Sink*>(s))(c); }} {}
  constexpr void operator()(command c) const noexcept { put_(sink_, c); }

 private:
  void* sink_;
  void (*put_)(void*, command) noexcept;
};

/// A command list of unknown type. Refers to the list it was made from, which must outlive it (and its ticket).
class list_ref {
 public:
  template <command_list L>
  explicit constexpr list_ref(const L& list) noexcept
      : list_{&list},
        size_{list.size()},
        closing_{list.closing()},
        emit_{[](const void* l, std::uint32_t first, std::uint32_t n, sink_ref sink) noexcept {
          static_cast<const L*>(l)->emit(first, n, sink);
        }} {}
  [[nodiscard]] constexpr std::uint32_t size() const noexcept { return size_; }
  [[nodiscard]] constexpr completion closing() const noexcept { return closing_; }
  template <class Sink>
  constexpr void emit(std::uint32_t first, std::uint32_t n, Sink&& sink) const noexcept {
    emit_(list_, first, n, sink_ref{sink});
  }

 private:
  const void* list_;
  std::uint32_t size_;
  completion closing_;
  void (*emit_)(const void*, std::uint32_t, std::uint32_t, sink_ref) noexcept;
};
static_assert(command_list<list_ref>);

/// A command port of any type behind two pointers, for a domain whose SMMU instances use different queue strategies: the
/// domain's entries name one Port type, and that type can be this one. Does not own the port. Cost: one indirect call an
/// operation and one a command; use the concrete type where all instances share it.
class erased_port {
 public:
  template <command_port P>
  explicit constexpr erased_port(P& port) noexcept : port_{&port}, ops_{&table_of<P>} {}

  template <command_list L>
  [[nodiscard]] result<ticket> submit(const L& list, deadline d) noexcept {
    return ops_->submit(port_, list_ref{list}, d);
  }
  template <command_list L>
  [[nodiscard]] result<ticket> try_submit(const L& list) noexcept {
    return ops_->try_submit(port_, list_ref{list});
  }
  [[nodiscard]] status poll(ticket& t) noexcept { return ops_->poll(port_, t); }
  [[nodiscard]] status wait(ticket& t, deadline d) noexcept { return ops_->wait(port_, t, d); }
  void abandon(ticket& t) noexcept { ops_->abandon(port_, t); }
  void idle(deadline d) noexcept { ops_->idle(port_, d); }
  [[nodiscard]] const port_features& features() const noexcept { return ops_->features(port_); }
  [[nodiscard]] instance_id instance() const noexcept { return ops_->instance(port_); }
  [[nodiscard]] std::uint32_t max_list() const noexcept { return ops_->max_list(port_); }

  /// The tag space of the port behind, by the same two pointers.
  class tag_ref {
   public:
    [[nodiscard]] result<tag> acquire(tag_kind k) noexcept { return owner_->ops_->acquire(owner_->port_, k); }
    void release(tag t) noexcept { owner_->ops_->release(owner_->port_, t); }
    void retire(tag t) noexcept { owner_->ops_->retire(owner_->port_, t); }

   private:
    friend class erased_port;
    explicit constexpr tag_ref(erased_port& owner) noexcept : owner_{&owner} {}
    erased_port* owner_;
  };
  [[nodiscard]] tag_ref tags() noexcept { return tag_ref{*this}; }

 private:
  struct operations {
    result<ticket> (*submit)(void*, list_ref, deadline) noexcept;
    result<ticket> (*try_submit)(void*, list_ref) noexcept;
    status (*poll)(void*, ticket&) noexcept;
    status (*wait)(void*, ticket&, deadline) noexcept;
    void (*abandon)(void*, ticket&) noexcept;
    void (*idle)(void*, deadline) noexcept;
    const port_features& (*features)(const void*) noexcept;
    instance_id (*instance)(const void*) noexcept;
    std::uint32_t (*max_list)(const void*) noexcept;
    result<tag> (*acquire)(void*, tag_kind) noexcept;
    void (*release)(void*, tag) noexcept;
    void (*retire)(void*, tag) noexcept;
  };

  template <class P>
  static constexpr operations table_of{
      [](void* p, list_ref l, deadline d) noexcept { return static_cast<P*>(p)->submit(l, d); },
      [](void* p, list_ref l) noexcept { return static_cast<P*>(p)->try_submit(l); },
      [](void* p, ticket& t) noexcept { return static_cast<P*>(p)->poll(t); },
      [](void* p, ticket& t, deadline d) noexcept { return static_cast<P*>(p)->wait(t, d); },
      [](void* p, ticket& t) noexcept { static_cast<P*>(p)->abandon(t); },
      [](void* p, deadline d) noexcept { static_cast<P*>(p)->idle(d); },
      [](const void* p) noexcept -> const port_features& { return static_cast<const P*>(p)->features(); },
      [](const void* p) noexcept { return static_cast<const P*>(p)->instance(); },
      [](const void* p) noexcept { return static_cast<const P*>(p)->max_list(); },
      [](void* p, tag_kind k) noexcept -> result<tag> { return static_cast<P*>(p)->tags().acquire(k); },
      [](void* p, tag t) noexcept { static_cast<P*>(p)->tags().release(t); },
      [](void* p, tag t) noexcept { static_cast<P*>(p)->tags().retire(t); },
  };

  void* port_;
  const operations* ops_;
};
static_assert(command_port<erased_port>);

SHOOTDOWN_END
