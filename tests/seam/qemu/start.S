// SPDX-License-Identifier: MIT
// Entry of the bare-metal image on QEMU's `virt` machine, EL1, one CPU. Turns on FP/SIMD and an identity-mapped MMU (the
// first GiB is Device memory, the second is RAM): with the MMU off all memory is Device, where exclusives are not defined.
    .section .text.start, "ax"
    .global _start
_start:
    ldr     x0, =stack_top
    mov     sp, x0
    mov     x0, #(3 << 20)
    msr     cpacr_el1, x0
    ldr     x0, =bss_start
    ldr     x1, =bss_end
1:  cmp     x0, x1
    b.hs    2f
    str     xzr, [x0], #8
    b       1b
2:  ldr     x0, =level1_table
    ldr     x1, =0x0060000000000401        // 0..1 GiB: block, attribute 0 (Device-nGnRE), AF, execute-never
    str     x1, [x0, #0]
    ldr     x1, =0x0000000040000705        // 1..2 GiB: block, attribute 1 (normal write-back), inner shareable, AF
    str     x1, [x0, #8]
    dsb     sy
    ldr     x1, =0xff04                    // MAIR: attribute 0 = 0x04 Device-nGnRE, attribute 1 = 0xff normal write-back
    msr     mair_el1, x1
    ldr     x1, =0x80803519                // TCR: T0SZ = 25 (39 bits), 4 KiB, inner shareable write-back walks, EPD1
    msr     tcr_el1, x1
    msr     ttbr0_el1, x0
    isb
    tlbi    vmalle1
    dsb     sy
    isb
    mrs     x1, sctlr_el1
    mov     x2, #0x1005                    // M, C, I
    orr     x1, x1, x2
    msr     sctlr_el1, x1
    isb
    adr     x0, vectors
    msr     vbar_el1, x0
    isb
    bl      image_main
    b       platform_exit                  // exit code in x0

// Any exception is a failed run: say which and stop.
    .balign 2048
vectors:
    .rept 16
    .balign 128
    mrs     x0, esr_el1
    mrs     x1, elr_el1
    mrs     x2, far_el1
    b       unexpected_exception
    .endr

    .section .bss
    .balign 4096
level1_table:
    .skip 4096
    .balign 16
    .skip 65536
stack_top:
