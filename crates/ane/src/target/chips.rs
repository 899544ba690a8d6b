//! The numbers of each chip, read from `data/chips.toml`.

use super::{Chip, Target, rule};
use serde::Deserialize;
use std::sync::OnceLock;

/// What the compiler's hardware table allows on a generation. Lengths in elements.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChipData {
    /// The name, such as `m4`; more names than [`Chip`] has are known.
    pub name: String,
    /// The system that a target has when none is given.
    pub os: Option<u32>,
    /// The longest axis W or H of a tensor.
    pub max_width: usize,
    /// The longest axis D.
    pub max_depth: usize,
    /// Most channels.
    pub max_channels: usize,
    /// The longest first axis.
    pub max_batch: usize,
    /// The widest kernel of a convolution.
    pub conv_kernel_width: usize,
    /// The same where the weights are fp16.
    pub conv_kernel_width_fp16: usize,
    /// The highest kernel of a convolution.
    pub conv_kernel_height: usize,
    /// An operand of more bytes is streamed instead of held.
    pub operand_bytes: usize,
    /// Whether there is a unit for resizing, gathering and reflecting pads.
    pub texture_engine: bool,
    /// Whether there are sin and cos.
    pub native_trigonometry: bool,
}

/// The numbers of a target that programs are cut, packed and bound by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The longest innermost axis.
    pub max_width: usize,
    /// Most channels of a tensor.
    pub max_channels: usize,
    /// Narrower inputs and outputs make evaluation fail.
    pub min_width: usize,
    /// Widths that are multiples of this have no padding between rows: 64 bytes of fp16.
    pub width_multiple: usize,
    /// Smaller surfaces make evaluation fail; the allocation counts, not the tensor.
    pub min_surface_bytes: usize,
    /// Weight tensors in a program. Contested: not everybody meets this limit, and nobody by e5rt.
    pub max_weight_files: usize,
    /// Programs that a process can compile, where there is such a limit.
    pub max_compiles: Option<usize>,
    /// Programs loaded at a time.
    pub max_loaded: usize,
    /// Larger operands of products are streamed, which is slower; in bytes.
    pub operand_bytes: usize,
}

/// Every record of `data/chips.toml`.
pub fn chips() -> &'static [ChipData] {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct File {
        chip: Vec<ChipData>,
    }
    static CHIPS: OnceLock<Vec<ChipData>> = OnceLock::new();
    CHIPS.get_or_init(|| {
        let file: File = toml::from_str(include_str!("../../data/chips.toml"))
            .expect("the file is part of this crate, and a test reads it");
        file.chip
    })
}

impl Chip {
    /// The numbers of this chip.
    pub fn data(self) -> &'static ChipData {
        let found = chips().iter().find(|chip| chip.name == self.name());
        found.expect("every chip has a record, as a test checks")
    }
}

impl Target {
    /// The numbers that programs are cut, packed and bound by.
    pub fn limits(&self) -> Limits {
        let chip = self.chip.data();
        let limit = |id: &str| -> Option<usize> {
            rule(id).filter(|rule| rule.holds(self))?.limit.map(|limit| limit as usize)
        };
        let always = |id| limit(id).expect("a rule of every target, as a test checks");
        Limits {
            max_width: chip.max_width,
            max_channels: chip.max_channels,
            min_width: always("width-minimum"),
            width_multiple: always("row-stride"),
            min_surface_bytes: always("surface-minimum"),
            max_weight_files: limit("weight-tensors").unwrap_or(usize::MAX),
            max_compiles: limit("compile-budget"),
            max_loaded: always("loaded-programs"),
            operand_bytes: chip.operand_bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::Route;

    #[test]
    fn every_chip_has_a_record() {
        for chip in Chip::ALL {
            assert_eq!(chip.data().name, chip.name());
            assert_eq!(Target::parse(chip.name()), Ok(Target::of(chip)));
        }
        assert!(chips().len() > Chip::ALL.len());
    }

    #[test]
    fn limits_follow_the_chip_and_the_route() {
        for chip in Chip::ALL {
            for route in Route::ALL {
                let limits = Target::of(chip).by(route).limits();
                let wide = chip >= Chip::M4;
                assert_eq!(limits.max_width, if wide { 65_536 } else { 16_384 });
                assert_eq!(limits.max_compiles, (route == Route::InMemory).then_some(119));
                let files = if route == Route::E5rt { usize::MAX } else { 16 };
                assert_eq!((limits.max_loaded, limits.max_weight_files), (127, files));
                assert_eq!((limits.min_width, limits.width_multiple), (16, 32));
                assert_eq!(limits.min_surface_bytes, 16_384);
            }
        }
    }

    #[test]
    fn targets_are_read_and_refused_by_name() {
        let target = Target::parse("m2:26").unwrap();
        assert_eq!(target, Target::new(Chip::M2, 26, Route::InMemory));
        assert_eq!(target.by(Route::E5rt).to_string(), "m2, macOS 26, e5rt");
        assert_eq!(Target::parse("m5").unwrap().os, 26);
        let message = |text| Target::parse(text).unwrap_err().to_string();
        assert_eq!(message("m9"), "there is no chip `m9`; expected m1, m2, m3, m4, m5");
        assert!(message("m4:x").starts_with("there is no system `x`; expected the major version"));
        assert!(message("m4:7").contains("`7`"));
        assert_eq!("client".parse(), Ok(Route::Client));
        assert!(
            "usb".parse::<Route>().unwrap_err().to_string().ends_with("client, in-memory, e5rt")
        );
    }
}
