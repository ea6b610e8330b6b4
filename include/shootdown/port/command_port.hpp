// SPDX-License-Identifier: MIT
#pragma once

#include <concepts>
#include <cstdint>
#include <type_traits>
#include <utility>

#include <shootdown/arch/types.hpp>
#include <shootdown/env/time.hpp>
#include <shootdown/port/command_list.hpp>
#include <shootdown/port/features.hpp>
#include <shootdown/port/tag.hpp>
#include <shootdown/port/ticket.hpp>
#include <shootdown/status.hpp>

SHOOTDOWN_BEGIN

/// Where a domain sends commands: one queue (or queue set) of one SMMU instance. invs/ knows only this; device::smmu is
/// one, tests use a recording one.
///
///   submit(list, deadline)  reserves, encodes and publishes the whole list as one contiguous run. Waits for room before it
///                           reserves. too_large: size() + closing SYNC > ring; empty_range: nothing to send. On failure
///                           nothing was sent. All memory the caller wrote before is visible to the SMMU before it
///                           executes the commands.
///   try_submit(list)        the same without waiting for room: would_block
///   poll(ticket)            pending, or the outcome (then settled). Drives the queue by one turn; never waits
///   wait(ticket, deadline)  until settled; timed_out when the deadline passes first: then the ticket stays unsettled and
///                           may be waited for again, and the memory behind the commands must not be reused. After ok,
///                           later writes of the caller are ordered after the completion.
///   abandon(ticket)         nobody will ask about an unsettled ticket again: it is settled as timed_out and the queue keeps
///                           nothing for it. Its commands may still execute: the memory behind them stays out of use
///   idle(deadline)          one turn of a wait, for loops that poll several ports
///   max_list()              largest size() + SYNC one reservation takes without waiting for more than half the ring
///   tags()                  the instance's ASID and VMID space
/// Context of submit, poll and wait: any but NMI and signal handlers. Progress: see the queue's strategy.
template <class P>
concept command_port = tag_allocator<std::remove_cvref_t<decltype(std::declval<P&>().tags())>> &&
                       requires(P p, const P cp, const array_list& list, ticket& t, deadline d) {
                         { p.submit(list, d) } noexcept -> std::same_as<result<ticket>>;
                         { p.try_submit(list) } noexcept -> std::same_as<result<ticket>>;
                         { p.poll(t) } noexcept -> std::same_as<status>;
                         { p.wait(t, d) } noexcept -> std::same_as<status>;
                         { p.abandon(t) } noexcept;
                         { p.idle(d) } noexcept;
                         { cp.features() } noexcept -> std::same_as<const port_features&>;
                         { cp.instance() } noexcept -> std::same_as<instance_id>;
                         { cp.max_list() } noexcept -> std::same_as<std::uint32_t>;
                       };

SHOOTDOWN_END
