//! AVX512_BF16 for tests on machines that have AVX-512 but not these instructions.
//!
//! An instruction that the processor does not know raises SIGILL. The handler here decodes the
//! three instructions of AVX512_BF16 in their 512-bit forms, computes them on the registers that
//! the kernel has saved in the signal frame, and goes on behind them. Anything else ends the
//! process with a message. Sources: Intel's Software Developer's Manual, volume 2, for the
//! encodings (2.7) and the instructions' pseudocode, and volume 1, chapter 13, for the frame.

use std::arch::x86_64::__cpuid_count;
use std::sync::OnceLock;

/// Installs the handler, once; whether the machine has AVX-512 in the first place.
pub(crate) fn start() -> bool {
    static STARTED: OnceLock<bool> = OnceLock::new();
    *STARTED.get_or_init(|| {
        if !is_x86_feature_detected!("avx512f") {
            return false;
        }
        // SAFETY: an action is plain data, and the handler has the signature that SA_SIGINFO
        // asks for.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = handle as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO;
            libc::sigaction(libc::SIGILL, &action, std::ptr::null_mut()) == 0
        }
    })
}

unsafe extern "C" fn handle(_: i32, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the system passes the interrupted thread's context, which nobody else has; RIP is
    // at an instruction, of which no more is read than its bytes say.
    unsafe {
        let context = &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext;
        let code = context.gregs[libc::REG_RIP as usize] as *const u8;
        let Some(instruction) = decode(code, &context.gregs) else { stop(code) };
        let Some(mut vectors) = Vectors::new(context.fpregs.cast()) else { stop(code) };
        execute(&instruction, &mut vectors);
        context.gregs[libc::REG_RIP as usize] += instruction.length as i64;
    }
}

/// Says which instruction nobody knows, without allocating, and ends the process.
unsafe fn stop(code: *const u8) -> ! {
    let mut text = *b"SIGILL at an instruction that is not emulated: ................\n";
    for i in 0..8 {
        // SAFETY: code is mapped in whole pages; eight bytes are read only if all are in one.
        let byte = if code as usize % 4096 <= 4088 { unsafe { *code.add(i) } } else { 0 };
        text[47 + 2 * i] = b"0123456789abcdef"[usize::from(byte >> 4)];
        text[48 + 2 * i] = b"0123456789abcdef"[usize::from(byte & 15)];
    }
    // SAFETY: both are allowed in signal handlers.
    unsafe {
        libc::write(2, text.as_ptr().cast(), text.len());
        libc::abort()
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Operation {
    /// VDPBF16PS
    Dot,
    /// VCVTNE2PS2BF16
    NarrowTwo,
    /// VCVTNEPS2BF16
    NarrowOne,
}

enum Source {
    Register(u8),
    Memory { at: *const u8, broadcast: bool },
}

struct Instruction {
    operation: Operation,
    mask: u8,
    zeroing: bool,
    destination: u8,
    first: u8,
    second: Source,
    length: usize,
}

/// The general registers by their number in an encoding.
const REGISTERS: [i32; 16] = [
    libc::REG_RAX,
    libc::REG_RCX,
    libc::REG_RDX,
    libc::REG_RBX,
    libc::REG_RSP,
    libc::REG_RBP,
    libc::REG_RSI,
    libc::REG_RDI,
    libc::REG_R8,
    libc::REG_R9,
    libc::REG_R10,
    libc::REG_R11,
    libc::REG_R12,
    libc::REG_R13,
    libc::REG_R14,
    libc::REG_R15,
];

/// # Safety
/// There is an instruction at `code`.
unsafe fn decode(code: *const u8, registers: &[i64; 23]) -> Option<Instruction> {
    // SAFETY: the encoding says that each byte asked for is there.
    let byte = |at: usize| unsafe { *code.add(at) };
    let flag = |byte: u8, bit: u8| byte >> bit & 1;
    if byte(0) != 0x62 {
        return None;
    }
    let (p0, p1, p2) = (byte(1), byte(2), byte(3));
    // Map 0F38, no width bit, 512 bits.
    if p0 & 0b1111 != 0b0010 || p1 & 0b1000_0100 != 0b0000_0100 || p2 & 0b0110_0000 != 0b0100_0000 {
        return None;
    }
    let operation = match (p1 & 0b11, byte(4)) {
        (2, 0x52) => Operation::Dot,
        (3, 0x72) => Operation::NarrowTwo,
        (2, 0x72) => Operation::NarrowOne,
        _ => return None,
    };
    let (zeroing, broadcast, mask) = (flag(p2, 7) == 1, flag(p2, 4) == 1, p2 & 0b111);
    // These bits are stored inverted.
    let (r, x, b, r_high) = (1 - flag(p0, 7), 1 - flag(p0, 6), 1 - flag(p0, 5), 1 - flag(p0, 4));
    let first = (!p1 >> 3 & 0b1111) | (1 - flag(p2, 3)) << 4;
    let unused = operation == Operation::NarrowOne && first != 0;
    if unused || zeroing && mask == 0 {
        return None;
    }
    let form = byte(5);
    let (mode, low) = (form >> 6, form & 0b111);
    let destination = (form >> 3 & 0b111) | r << 3 | r_high << 4;
    let mut instruction = Instruction {
        operation,
        mask,
        zeroing,
        destination,
        first,
        second: Source::Register(low | b << 3 | x << 4),
        length: 6,
    };
    if mode == 3 {
        // With registers this bit would ask for a rounding mode, which none of these have.
        return (!broadcast).then_some(instruction);
    }
    let register = |number: u8| registers[REGISTERS[usize::from(number)] as usize];
    let long = |at: usize| i64::from(i32::from_le_bytes(std::array::from_fn(|i| byte(at + i))));
    let mut length = 6;
    let mut from_next = false;
    let mut address = if low == 4 {
        let sib = byte(6);
        length = 7;
        let (scale, index, base) = (sib >> 6, sib >> 3 & 0b111 | x << 3, sib & 0b111);
        let index = if index == 4 { 0 } else { register(index) << scale };
        let base = if base == 5 && mode == 0 {
            length = 11;
            long(7)
        } else {
            register(base | b << 3)
        };
        base.wrapping_add(index)
    } else if low == 5 && mode == 0 {
        length = 10;
        from_next = true;
        long(6)
    } else {
        register(low | b << 3)
    };
    if mode == 1 {
        // A short displacement counts in operands.
        let size = if broadcast { 4 } else { 64 };
        address = address.wrapping_add(i64::from(byte(length) as i8) * size);
        length += 1;
    } else if mode == 2 {
        address = address.wrapping_add(long(length));
        length += 4;
    }
    if from_next {
        address = address.wrapping_add(code as i64 + length as i64);
    }
    instruction.second = Source::Memory { at: address as *const u8, broadcast };
    instruction.length = length;
    Some(instruction)
}

/// Parts of the extended state, by their bit.
const SSE: usize = 1;
const AVX: usize = 2;
const MASKS: usize = 5;
const HIGH_HALVES: usize = 6;
const HIGH_REGISTERS: usize = 7;

/// The vector registers in a signal frame.
struct Vectors(*mut u8);

impl Vectors {
    /// # Safety
    /// `state` is the floating-point state of a signal frame that nobody else accesses.
    unsafe fn new(state: *mut u8) -> Option<Vectors> {
        /// Says that the extended state follows the 512 bytes of the old one.
        const MAGIC: u32 = 0x4650_5853;
        // SAFETY: the bytes from 464 on are the system's, the first word being this mark.
        let extended = unsafe { state.add(464).cast::<u32>().read_unaligned() } == MAGIC;
        extended.then_some(Vectors(state))
    }

    /// Which parts differ from their initial state, which is zero.
    fn present(&self) -> *mut u64 {
        self.0.wrapping_add(512).cast()
    }

    /// Where a part starts; if it was in its initial state, it is zeroed first.
    unsafe fn part(&mut self, part: usize) -> *mut u8 {
        let (at, size) = if part == SSE {
            (160, 256)
        } else {
            let leaf = __cpuid_count(0xd, part as u32);
            (leaf.ebx as usize, leaf.eax as usize)
        };
        let start = self.0.wrapping_add(at);
        // SAFETY: the frame holds all parts that the processor has, at these places.
        unsafe {
            let present = self.present().read_unaligned();
            if present >> part & 1 == 0 {
                start.write_bytes(0, size);
                self.present().write_unaligned(present | 1 << part);
            }
        }
        start
    }

    /// The places of the bytes of a register: of each part the start, and how many bytes.
    unsafe fn pieces(&mut self, register: u8) -> [(*mut u8, usize); 3] {
        let n = usize::from(register);
        // SAFETY: passed on.
        unsafe {
            if n >= 16 {
                let start = self.part(HIGH_REGISTERS).wrapping_add(64 * (n - 16));
                return [(start, 64), (start, 0), (start, 0)];
            }
            [
                (self.part(SSE).wrapping_add(16 * n), 16),
                (self.part(AVX).wrapping_add(16 * n), 16),
                (self.part(HIGH_HALVES).wrapping_add(32 * n), 32),
            ]
        }
    }

    unsafe fn get(&mut self, register: u8) -> [u32; 16] {
        let mut words = [0; 16];
        let mut to = words.as_mut_ptr().cast::<u8>();
        // SAFETY: the pieces are 64 bytes together.
        unsafe {
            for (from, size) in self.pieces(register) {
                to.copy_from_nonoverlapping(from, size);
                to = to.wrapping_add(size);
            }
        }
        words
    }

    unsafe fn set(&mut self, register: u8, words: [u32; 16]) {
        let mut from = words.as_ptr().cast::<u8>();
        // SAFETY: as above.
        unsafe {
            for (to, size) in self.pieces(register) {
                to.copy_from_nonoverlapping(from, size);
                from = from.wrapping_add(size);
            }
        }
    }

    /// The lanes that an instruction under this mask changes.
    unsafe fn mask(&mut self, mask: u8) -> u64 {
        if mask == 0 {
            return !0;
        }
        // SAFETY: eight masks of eight bytes.
        unsafe { self.part(MASKS).cast::<u64>().add(usize::from(mask)).read_unaligned() }
    }
}

unsafe fn execute(i: &Instruction, vectors: &mut Vectors) {
    // SAFETY: the instruction names registers, and memory that it would have read itself.
    unsafe {
        let mask = vectors.mask(i.mask);
        let old = vectors.get(i.destination);
        let first = vectors.get(i.first);
        let second = match i.second {
            Source::Register(register) => vectors.get(register),
            Source::Memory { at, broadcast: true } => [at.cast::<u32>().read_unaligned(); 16],
            Source::Memory { at, broadcast: false } => at.cast::<[u32; 16]>().read_unaligned(),
        };
        let kept = |old: u32| if i.zeroing { 0 } else { old };
        let new = match i.operation {
            Operation::Dot => std::array::from_fn(|lane| match mask >> lane & 1 {
                1 => dot(old[lane], first[lane], second[lane]),
                _ => kept(old[lane]),
            }),
            Operation::NarrowTwo => halves(|lane| match (mask >> lane & 1, lane) {
                (1, 0..16) => narrow(second[lane]),
                (1, _) => narrow(first[lane - 16]),
                _ => kept(half(&old, lane)) as u16,
            }),
            // The rest of the register becomes zero.
            Operation::NarrowOne => halves(|lane| match (mask >> lane & 1, lane) {
                (_, 16..) => 0,
                (1, _) => narrow(second[lane]),
                _ => kept(half(&old, lane)) as u16,
            }),
        };
        vectors.set(i.destination, new);
    }
}

fn half(words: &[u32; 16], lane: usize) -> u32 {
    words[lane / 2] >> (lane % 2 * 16) & 0xffff
}

fn halves(f: impl Fn(usize) -> u16) -> [u32; 16] {
    std::array::from_fn(|i| u32::from(f(2 * i)) | u32::from(f(2 * i + 1)) << 16)
}

fn without_subnormals(x: f32) -> f32 {
    if x.is_subnormal() { 0.0f32.copysign(x) } else { x }
}

/// The sum and both products of a pair, the odd one first, each rounded once.
fn dot(sum: u32, a: u32, b: u32) -> u32 {
    let number = |bits: u32| without_subnormals(f32::from_bits(bits));
    let mut sum = number(sum);
    for (a, b) in [(a & 0xffff_0000, b & 0xffff_0000), (a << 16, b << 16)] {
        sum = without_subnormals(number(a).mul_add(number(b), sum));
    }
    sum.to_bits()
}

/// The nearest bf16, ties to even; subnormal numbers become zero, NaN stays NaN.
fn narrow(bits: u32) -> u16 {
    let x = f32::from_bits(bits);
    let high = (bits >> 16) as u16;
    match x {
        _ if x.is_nan() => high | 0x40,
        _ if x.is_subnormal() => high & 0x8000,
        _ if x.is_infinite() => high,
        _ => (bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16) as u16,
    }
}

#[cfg(test)]
mod tests;
