//! The instructions as the machine or the emulator computes them, against values by hand. Where
//! the machine has them, this tests the emulator's idea of them.

use crate::isa::Isa;
use std::arch::asm;
use std::arch::x86_64::*;

#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C, align(64))]
struct Words([u32; 16]);

/// Two numbers as bf16, the even one first.
fn pair(even: f32, odd: f32) -> u32 {
    even.to_bits() >> 16 | odd.to_bits() & 0xffff_0000
}

fn floats(x: [f32; 16]) -> Words {
    Words(x.map(f32::to_bits))
}

fn lanes(f: impl Fn(usize) -> f32) -> Words {
    floats(std::array::from_fn(f))
}

/// Whether the instructions can be used: everywhere with AVX-512.
fn usable() -> bool {
    if Isa::Avx512Bf16.is_available() {
        return true;
    }
    println!("not tested: this machine has no AVX-512");
    false
}

/// Runs one instruction with the sum in `zmm3`, the first source in `zmm30`, the second in
/// `zmm17`, the mask in `k5`, and the result in `zmm3`.
macro_rules! run {
    ($text:literal, $sum:expr, $a:expr, $b:expr $(, $mask:expr)?) => {{
        #[target_feature(enable = "avx512f,avx512bw")]
        unsafe fn run(sum: &Words, a: &Words, b: &Words, mask: u32) -> Words {
            let mut result = Words([0; 16]);
            // SAFETY: reads three vectors and writes one; `rcx` and `r13` serve addresses.
            unsafe {
                asm!(
                    "vmovdqa64 zmm3, [{sum}]",
                    "vmovdqa64 zmm30, [{a}]",
                    "vmovdqa64 zmm17, [rdx]",
                    "kmovd k5, {mask:e}",
                    $text,
                    "vmovdqa64 [{result}], zmm3",
                    sum = in(reg) sum,
                    a = in(reg) a,
                    result = in(reg) &mut result,
                    mask = in(reg) mask,
                    in("rdx") b,
                    in("r13") (b as *const Words).wrapping_sub(2),
                    in("rcx") 16usize,
                    out("zmm3") _, out("zmm17") _, out("zmm30") _, out("k5") _,
                )
            };
            result
        }
        let mask: u32 = [!0, $($mask)?].into_iter().next_back().unwrap_or(!0);
        // SAFETY: the test goes on only where there is AVX-512.
        unsafe { run(&$sum, &$a, &$b, mask) }
    }};
}

#[test]
fn products_of_pairs_are_added() {
    if !usable() {
        return;
    }
    let sum = lanes(|i| 100.0 * i as f32);
    let a = Words(std::array::from_fn(|i| pair(i as f32, 2.0)));
    let b = Words(std::array::from_fn(|i| pair(3.0, -(i as f32) - 1.0)));
    let expected = lanes(|i| 101.0 * i as f32 - 2.0);
    assert_eq!(run!("vdpbf16ps zmm3, zmm30, zmm17", sum, a, b), expected);
    // The same from memory: without a displacement, short and long ones, with an index.
    assert_eq!(run!("vdpbf16ps zmm3, zmm30, [rdx]", sum, a, b), expected);
    assert_eq!(run!("vdpbf16ps zmm3, zmm30, [r13 + 128]", sum, a, b), expected);
    assert_eq!(run!("vdpbf16ps zmm3, zmm30, [r13 + 8*rcx]", sum, a, b), expected);
    assert_eq!(run!("vdpbf16ps zmm3, zmm30, [r13 + 4*rcx + 64]", sum, a, b), expected);
    assert_eq!(run!("vdpbf16ps zmm3, zmm30, [rdx + 4*rcx - 64]", sum, a, b), expected);
    assert_eq!(run!("vdpbf16ps zmm3, zmm30, [r13 + rcx + 112]", sum, a, b), expected);
    // One pair for all lanes.
    let expected = lanes(|i| 103.0 * i as f32 - 8.0);
    assert_eq!(run!("vdpbf16ps zmm3, zmm30, dword ptr [rdx + 12]{{1to16}}", sum, a, b), expected);
    assert_eq!(run!("vdpbf16ps zmm3, zmm30, dword ptr [r13 + 140]{{1to16}}", sum, a, b), expected);
}

#[test]
fn a_constant_beside_the_code_is_read() {
    if !usable() {
        return;
    }
    let (zero, ones) = (lanes(|_| 0.0), Words([pair(1.0, 1.0); 16]));
    let text = run!(
        "vdpbf16ps zmm3, zmm30, dword ptr [rip + 3f]{{1to16}}
         jmp 4f
         3: .long 0x40004040
         4:",
        zero,
        ones,
        ones
    );
    assert_eq!(text, lanes(|_| 5.0));
}

#[test]
fn masked_lanes_stay_or_become_zero() {
    if !usable() {
        return;
    }
    let (sum, ones) = (lanes(|i| i as f32), Words([pair(1.0, 1.0); 16]));
    let kept = run!("vdpbf16ps zmm3{{k5}}, zmm30, zmm17", sum, ones, ones, 0b1010);
    assert_eq!(kept, lanes(|i| if i == 1 || i == 3 { i as f32 + 2.0 } else { i as f32 }));
    let zeroed = run!("vdpbf16ps zmm3{{k5}}{{z}}, zmm30, zmm17", sum, ones, ones, 0b1010);
    assert_eq!(zeroed, lanes(|i| if i == 1 || i == 3 { i as f32 + 2.0 } else { 0.0 }));
    let (a, b) = (lanes(|i| i as f32), lanes(|i| 16.0 + i as f32));
    let found = run!("vcvtne2ps2bf16 zmm3{{k5}}{{z}}, zmm30, zmm17", sum, a, b, 0x8000_0006);
    let mut expected = Words([0; 16]);
    (expected.0[0], expected.0[1], expected.0[15]) =
        (pair(0.0, 17.0), pair(18.0, 0.0), pair(0.0, 15.0));
    assert_eq!(found, expected);
}

#[test]
fn the_odd_product_comes_first_and_each_sum_is_rounded() {
    if !usable() {
        return;
    }
    // 2²⁴ + 1 is a tie that rounds down, 2²⁴ + 2 is exact: the order shows in the result.
    let big = 16_777_216.0;
    let sum = lanes(|_| big);
    let odd_first = run!(
        "vdpbf16ps zmm3, zmm30, zmm17",
        sum,
        Words([pair(-big, 1.0); 16]),
        Words([pair(1.0, 1.0); 16])
    );
    assert_eq!(odd_first, lanes(|_| 0.0));
    let ties = run!(
        "vdpbf16ps zmm3, zmm30, zmm17",
        sum,
        Words([pair(1.0, 3.0); 16]),
        Words([pair(1.0, 1.0); 16])
    );
    // 2²⁴ + 3 rounds to the even 2²⁴ + 4, and that plus 1 back to it.
    assert_eq!(ties, lanes(|_| big + 4.0));
}

#[test]
fn subnormal_numbers_count_as_zero() {
    if !usable() {
        return;
    }
    let tiny = f32::from_bits(0x0040_0000);
    let sum = lanes(|i| if i == 0 { tiny } else { 0.0 });
    let a = pair(tiny, f32::MIN_POSITIVE);
    let found =
        run!("vdpbf16ps zmm3, zmm30, zmm17", sum, Words([a; 16]), Words([pair(1e30, 0.5); 16]));
    // Neither the sum, nor a subnormal factor, nor a subnormal product is left.
    assert_eq!(found, lanes(|_| 0.0));
}

#[test]
fn narrowing_rounds_to_nearest_even() {
    if !usable() {
        return;
    }
    let numbers = [
        (1.0, 0x3f80),
        (1.0 + 1.0 / 256.0, 0x3f80),
        (1.0 + 3.0 / 256.0, 0x3f82),
        (1.0 + 1.1 / 256.0, 0x3f81),
        (-2.5, 0xc020),
        (f32::MAX, 0x7f80),
        (f32::NEG_INFINITY, 0xff80),
        (f32::from_bits(0x7f80_0001), 0x7fc0),
        (f32::from_bits(0x8000_ffff), 0x8000),
        (f32::MIN_POSITIVE, 0x0080),
        (-0.0, 0x8000),
        (0.0, 0x0000),
        (3.0, 0x4040),
        (4.0, 0x4080),
        (5.0, 0x40a0),
        (6.0, 0x40c0),
    ];
    let from = floats(numbers.map(|n| n.0));
    let expected = |i: usize| numbers[2 * i].1 | numbers[2 * i + 1].1 << 16;
    let (ones, old) = (lanes(|_| 1.0), Words([!0; 16]));
    let two = run!("vcvtne2ps2bf16 zmm3, zmm30, zmm17", old, ones, from);
    assert_eq!(two, Words(std::array::from_fn(|i| if i < 8 { expected(i) } else { 0x3f80_3f80 })));
    let two = run!("vcvtne2ps2bf16 zmm3, zmm30, [rdx]", old, from, ones);
    assert_eq!(
        two,
        Words(std::array::from_fn(|i| if i < 8 { 0x3f80_3f80 } else { expected(i - 8) }))
    );
    let one = run!("vcvtneps2bf16 ymm3, zmm17", old, ones, from);
    assert_eq!(one, Words(std::array::from_fn(|i| if i < 8 { expected(i) } else { 0 })));
    let one = run!("vcvtneps2bf16 ymm3, dword ptr [rdx + 48]{{1to16}}", old, ones, from);
    assert_eq!(one, Words(std::array::from_fn(|i| if i < 8 { 0x4040_4040 } else { 0 })));
}

#[test]
fn intrinsics_are_the_same_instructions() {
    #[target_feature(enable = "avx512f,avx512bf16")]
    unsafe fn run(x: &Words) -> f32 {
        // SAFETY: a vector is read; vectors of the same size are exchanged.
        unsafe {
            let x = _mm512_loadu_ps(x.0.as_ptr().cast());
            let narrow = _mm512_cvtne2ps_pbh(x, x);
            _mm512_reduce_add_ps(_mm512_dpbf16_ps(_mm512_setzero_ps(), narrow, narrow))
        }
    }
    if usable() {
        // SAFETY: the instructions are usable.
        let found = unsafe { run(&lanes(|i| i as f32)) };
        assert_eq!(found, 2.0 * (0..16).map(|i| (i * i) as f32).sum::<f32>());
    }
}

/// Run by the next test in a process of its own, as it ends it.
#[test]
#[ignore = "ends the process"]
fn an_unknown_instruction() {
    super::start();
    // SAFETY: the process ends here.
    unsafe { asm!("ud2") }
}

#[test]
fn anything_else_ends_the_process_with_a_message() {
    if !usable() || is_x86_feature_detected!("avx512bf16") {
        return;
    }
    let name = "emulation::tests::an_unknown_instruction";
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--ignored", "--nocapture"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(text.contains("not emulated: 0f0b"), "{text}");
}
