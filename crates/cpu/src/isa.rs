//! Which instructions the kernels may use.

use std::fmt;
use std::str::FromStr;

/// The environment variable that pins the instruction set.
pub const ISA_VARIABLE: &str = "ANEMONE_CPU_ISA";

/// A family of kernels, by what it needs of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Isa {
    /// As [`Isa::Avx512`], and dot products of bf16 pairs (AVX512_BF16).
    Avx512Bf16,
    /// AVX-512 F, BW, VL and DQ, with FMA and F16C.
    Avx512,
    /// AVX2, FMA and F16C.
    Avx2,
    /// As [`Isa::Neon`], and matrix products of bf16 (FEAT_BF16).
    NeonBf16,
    /// NEON, which 64-bit Arm processors have.
    Neon,
    /// What every machine has.
    Portable,
}

/// Why no instruction set could be picked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The word names none.
    #[error("unknown instruction set {0:?}, expected one of {all}", all = names(Isa::ALL))]
    Unknown(String),
    /// The machine lacks it.
    #[error("this machine has no {0}, only: {found}", found = names(Isa::available()))]
    Missing(Isa),
}

impl Isa {
    /// Every set, best first.
    pub const ALL: [Isa; 6] =
        [Isa::Avx512Bf16, Isa::Avx512, Isa::Avx2, Isa::NeonBf16, Isa::Neon, Isa::Portable];

    /// The set named by `ANEMONE_CPU_ISA`, otherwise the best that the machine offers.
    pub fn detect() -> Result<Isa, Error> {
        match std::env::var_os(ISA_VARIABLE) {
            Some(word) => Isa::pinned(&word.to_string_lossy()),
            None => Ok(Isa::best()),
        }
    }

    /// The set that `word` names, if the machine has it.
    pub fn pinned(word: &str) -> Result<Isa, Error> {
        let isa: Isa = word.parse()?;
        if isa.is_available() { Ok(isa) } else { Err(Error::Missing(isa)) }
    }

    /// The best set of this machine.
    pub fn best() -> Isa {
        Isa::available().next().expect("the portable set is everywhere")
    }

    /// Every set of this machine, best first.
    pub fn available() -> impl Iterator<Item = Isa> {
        Isa::ALL.into_iter().filter(|isa| isa.is_available())
    }

    /// Whether the machine has it.
    pub fn is_available(self) -> bool {
        match self {
            Isa::Portable => true,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => avx2(),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => {
                avx2()
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512dq")
            }
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Bf16 => Isa::Avx512.is_available() && avx512_bf16(),
            #[cfg(not(target_arch = "x86_64"))]
            Isa::Avx2 | Isa::Avx512 | Isa::Avx512Bf16 => false,
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => std::arch::is_aarch64_feature_detected!("neon"),
            #[cfg(target_arch = "aarch64")]
            Isa::NeonBf16 => {
                Isa::Neon.is_available() && std::arch::is_aarch64_feature_detected!("bf16")
            }
            #[cfg(not(target_arch = "aarch64"))]
            Isa::Neon | Isa::NeonBf16 => false,
        }
    }

    /// The word that names it.
    pub fn name(self) -> &'static str {
        match self {
            Isa::Avx512Bf16 => "avx512bf16",
            Isa::Avx512 => "avx512",
            Isa::Avx2 => "avx2",
            Isa::NeonBf16 => "neonbf16",
            Isa::Neon => "neon",
            Isa::Portable => "portable",
        }
    }
}

#[cfg(target_arch = "x86_64")]
fn avx2() -> bool {
    is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("fma")
        && is_x86_feature_detected!("f16c")
}

/// In tests the instructions are there on every machine with AVX-512: see [`crate::emulation`].
#[cfg(target_arch = "x86_64")]
fn avx512_bf16() -> bool {
    let found = is_x86_feature_detected!("avx512bf16");
    #[cfg(all(test, target_os = "linux"))]
    let found = found || crate::emulation::start();
    found
}

fn names(sets: impl IntoIterator<Item = Isa>) -> String {
    sets.into_iter().map(Isa::name).collect::<Vec<_>>().join(", ")
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Isa {
    type Err = Error;

    fn from_str(word: &str) -> Result<Isa, Error> {
        let named = Isa::ALL.into_iter().find(|isa| isa.name() == word);
        named.ok_or_else(|| Error::Unknown(word.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_available_set_can_be_pinned_and_no_other() {
        for isa in Isa::ALL {
            let offered = Isa::available().any(|i| i == isa);
            let expected = if offered { Ok(isa) } else { Err(Error::Missing(isa)) };
            assert_eq!(Isa::pinned(isa.name()), expected);
        }
        assert_eq!(Isa::available().last(), Some(Isa::Portable));
    }

    #[test]
    fn an_unknown_word_is_an_error_that_lists_the_known() {
        let message = Isa::pinned("sse9").unwrap_err().to_string();
        assert!(message.contains("\"sse9\"") && message.contains("avx512, avx2"), "{message}");
    }
}
