// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <cstdint>

#include <shootdown/arch/field.hpp>
#include <shootdown/arch/types.hpp>

SHOOTDOWN_BEGIN

/// Event numbers. IHI 0070 7.3. The two conflicts are what a missing invalidation looks like at run time.
enum class event_id : std::uint8_t {
  f_uut = 0x01,
  c_bad_streamid = 0x02,
  f_ste_fetch = 0x03,
  c_bad_ste = 0x04,
  f_bad_ats_treq = 0x05,
  f_stream_disabled = 0x06,
  f_transl_forbidden = 0x07,
  c_bad_substreamid = 0x08,
  f_cd_fetch = 0x09,
  c_bad_cd = 0x0a,
  f_walk_eabt = 0x0b,
  f_translation = 0x10,
  f_addr_size = 0x11,
  f_access = 0x12,
  f_permission = 0x13,
  f_tlb_conflict = 0x20,
  f_cfg_conflict = 0x21,
  e_page_request = 0x24,
  f_vms_fetch = 0x25,
};

[[nodiscard]] constexpr const char* name(event_id id) noexcept {
  switch (id) {
    case event_id::f_uut: return "F_UUT";
    case event_id::c_bad_streamid: return "C_BAD_STREAMID";
    case event_id::f_ste_fetch: return "F_STE_FETCH";
    case event_id::c_bad_ste: return "C_BAD_STE";
    case event_id::f_bad_ats_treq: return "F_BAD_ATS_TREQ";
    case event_id::f_stream_disabled: return "F_STREAM_DISABLED";
    case event_id::f_transl_forbidden: return "F_TRANSL_FORBIDDEN";
    case event_id::c_bad_substreamid: return "C_BAD_SUBSTREAMID";
    case event_id::f_cd_fetch: return "F_CD_FETCH";
    case event_id::c_bad_cd: return "C_BAD_CD";
    case event_id::f_walk_eabt: return "F_WALK_EABT";
    case event_id::f_translation: return "F_TRANSLATION";
    case event_id::f_addr_size: return "F_ADDR_SIZE";
    case event_id::f_access: return "F_ACCESS";
    case event_id::f_permission: return "F_PERMISSION";
    case event_id::f_tlb_conflict: return "F_TLB_CONFLICT";
    case event_id::f_cfg_conflict: return "F_CFG_CONFLICT";
    case event_id::e_page_request: return "E_PAGE_REQUEST";
    case event_id::f_vms_fetch: return "F_VMS_FETCH";
  }
  return "?";
}

/// What the SMMU was doing when it found the fault.
enum class event_class : std::uint8_t { cd = 0, table_descriptor = 1, input = 2 };

/// An event in its fields. Which of them mean something depends on `id`.
struct event {
  event_id id{};
  stream_id sid{};
  substream_id ssid{};
  bool ssv{};
  std::uint16_t stag{};
  bool stall{};        ///< the transaction waits for a CMD_RESUME
  bool privileged{};   ///< PnU
  bool instruction{};  ///< InD
  bool read{};         ///< RnW
  bool stage2{};
  event_class where{event_class::input};
  bool table_read{};        ///< TT_READ
  std::uint64_t address{};  ///< input address
  std::uint64_t fetch{};    ///< IPA or address of the failed fetch, bits [51:3]
  friend constexpr bool operator==(const event&, const event&) noexcept = default;
};

/// An event queue entry: 32 bytes, four little-endian words. IHI 0070 7.3.
struct event_record {
  // dw0
  using id_f = field<7, 0, event_id>;
  using ssv_f = field<11, 11, bool>;
  using ssid_f = field<31, 12, substream_id>;
  using sid_f = field<63, 32, stream_id>;
  // dw1
  using stag_f = field<15, 0, std::uint16_t>;
  using stall_f = field<31, 31, bool>;
  using pnu_f = field<33, 33, bool>;
  using ind_f = field<34, 34, bool>;
  using rnw_f = field<35, 35, bool>;
  using s2_f = field<39, 39, bool>;
  using class_f = field<41, 40, event_class>;
  using tt_read_f = field<44, 44, bool>;
  // dw2: input address; dw3:
  using fetch_f = addr_field<51, 3>;

  static constexpr unsigned bytes = 32;
  static constexpr unsigned words = 4;
  std::array<std::uint64_t, words> w{};

  [[nodiscard]] static constexpr event_record encode(const event& e) noexcept {
    return {{id_f::put(e.id) | ssv_f::put(e.ssv) | ssid_f::put(e.ssid) | sid_f::put(e.sid),
             stag_f::put(e.stag) | stall_f::put(e.stall) | pnu_f::put(e.privileged) | ind_f::put(e.instruction) | rnw_f::put(e.read) |
                 s2_f::put(e.stage2) | class_f::put(e.where) | tt_read_f::put(e.table_read),
             e.address, fetch_f::put(e.fetch)}};
  }
  [[nodiscard]] constexpr event decode() const noexcept {
    return {id_f::get(w[0]),
            sid_f::get(w[0]),
            ssid_f::get(w[0]),
            ssv_f::get(w[0]),
            stag_f::get(w[1]),
            stall_f::get(w[1]),
            pnu_f::get(w[1]),
            ind_f::get(w[1]),
            rnw_f::get(w[1]),
            s2_f::get(w[1]),
            class_f::get(w[1]),
            tt_read_f::get(w[1]),
            w[2],
            fetch_f::get(w[3])};
  }
  [[nodiscard]] constexpr event_id id() const noexcept { return id_f::get(w[0]); }
  friend constexpr bool operator==(const event_record&, const event_record&) noexcept = default;
};
static_assert(sizeof(event_record) == event_record::bytes);

/// A page request queue entry: 16 bytes. IHI 0070 8.
struct page_request_record {
  // dw0
  using sid_f = field<31, 0, stream_id>;
  using ssid_f = field<51, 32, substream_id>;
  using priv_f = field<58, 58, bool>;
  using exec_f = field<59, 59, bool>;
  using read_f = field<60, 60, bool>;
  using write_f = field<61, 61, bool>;
  using last_f = field<62, 62, bool>;
  using ssv_f = field<63, 63, bool>;
  // dw1
  using group_f = field<8, 0, std::uint16_t>;
  using addr_f = addr_field<63, 12>;
  std::array<std::uint64_t, 2> w{};
  friend constexpr bool operator==(const page_request_record&, const page_request_record&) noexcept = default;
};
static_assert(sizeof(page_request_record) == 16);

SHOOTDOWN_END
