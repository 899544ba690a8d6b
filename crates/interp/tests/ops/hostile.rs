//! Any op on any small arguments gives results of the types that inference promises, or an error:
//! it does not panic.

use anemone_interp::{Array, apply};
use mil::{
    Arg, DataType, Env, OPS, Op, OpSpec, Operation, ParamType, Span, Tensor, Type, ValueId, infer,
};
use std::collections::{BTreeMap, BTreeSet};

/// SplitMix64 (Steele, Lea, Flood 2014).
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % n as u64) as usize
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }
}

#[derive(Default)]
struct Values(Vec<(Type, Array)>);

impl Values {
    fn define(&mut self, array: Array) -> ValueId {
        self.0.push((Type::tensor(array.dtype(), array.dims()), array));
        ValueId(self.0.len() as u32 - 1)
    }
}

impl Env for Values {
    fn ty(&self, id: ValueId) -> &Type {
        &self.0[id.index()].0
    }

    fn constant(&self, id: ValueId) -> Option<Tensor> {
        Some(self.0[id.index()].1.to_tensor())
    }
}

/// Words of all parameters that are strings.
const WORDS: &[&str] = &[
    "valid",
    "same",
    "same_lower",
    "custom",
    "constant",
    "reflect",
    "replicate",
    "border",
    "reflection",
    "symmetric",
    "bilinear",
    "nearest",
    "unnormalized",
    "normalized_minus_one_to_one",
    "normalized_zero_to_one",
    "DEFAULT",
    "ALIGN_CORNERS",
    "STRICT_ALIGN_CORNERS",
    "UNALIGN_CORNERS",
    "OFFSET_CORNERS",
    "LINEAR",
    "NEAREST_NEIGHBOR",
    "CORNERS_HEIGHT_FIRST",
    "CENTER_SIZE_WIDTH_FIRST",
    "EXACT",
    "TANH_APPROXIMATION",
    "add",
    "update",
    "max",
    "int32",
    "uint16",
    "int8",
    "uint8",
    "fp16",
    "fp32",
    "bool",
    "?",
];

fn words(parameter: &str) -> &'static [&'static str] {
    let at = |from: &str, to: &str| {
        let place = |word: &str| WORDS.iter().position(|w| *w == word).expect("a word of the list");
        &WORDS[place(from)..=place(to)]
    };
    match parameter {
        "pad_type" => at("valid", "custom"),
        "padding_mode" => at("constant", "symmetric"),
        "sampling_mode" => at("bilinear", "OFFSET_CORNERS"),
        "coordinates_mode" => at("unnormalized", "normalized_zero_to_one"),
        "interpolation_mode" => at("LINEAR", "NEAREST_NEIGHBOR"),
        "box_coordinate_mode" => at("CORNERS_HEIGHT_FIRST", "CENTER_SIZE_WIDTH_FIRST"),
        "output_dtype" => at("int32", "uint8"),
        _ => WORDS,
    }
}

fn array(random: &mut Random, parameter: &str, dtype: DataType, x: &[usize]) -> Array {
    if dtype == DataType::String {
        return Array::from_tensor(&Tensor::string(random.of(words(parameter))));
    }
    // Like x, a number for each axis, channel or pair of sides, or anything.
    let space = x.len().saturating_sub(2);
    let channels = x.get(1).copied().unwrap_or(1);
    let mut dims = match random.below(8) {
        0 | 1 => vec![],
        2 => vec![space],
        3 => vec![channels],
        4 => vec![2],
        5 => vec![2 * space],
        6 => x.to_vec(),
        _ => (0..random.below(6)).map(|_| random.below(4)).collect(),
    };
    let scalars = ["height", "width", "value", "corners", "size", "factor", "axis", "alpha", "k"];
    if scalars.iter().any(|part| parameter.ends_with(part)) && random.below(8) > 0 {
        dims = vec![];
    }
    match parameter {
        "x" => dims = x.to_vec(),
        "crop_height" | "crop_width" => dims = vec![2],
        "paddings" | "crops" if random.below(4) > 0 => dims = vec![2, 2],
        "coordinates" if random.below(4) > 0 => {
            dims = vec![x.first().copied().unwrap_or(1), random.below(3), random.below(3), 2];
        }
        "transform_matrix" if random.below(4) > 0 => dims = vec![1, 6],
        "roi" if random.below(4) > 0 => dims = vec![random.below(3), 1, 4 + random.below(2), 1, 1],
        "boxes" if random.below(4) > 0 => dims = vec![random.below(3), 4],
        _ => {}
    }
    let count = dims.iter().product();
    if dtype.is_float() {
        let tame = [1.0, 0.5, -1.5, 0.0, 2.0, 0.25, -0.75, 3.0];
        let wild = [f64::NAN, f64::INFINITY, -1e30, 1e300, f64::NEG_INFINITY, -0.0];
        let value = |random: &mut Random| match random.below(12) {
            0 => random.of(&wild),
            _ => random.of(&tame),
        };
        return Array::floats(dtype, &dims, (0..count).map(|_| value(random)).collect()).rounded();
    }
    let tame = [1, 2, 0, 1, 3, 2, 1, -1];
    let wild = [-2, 7, i64::MAX, i64::MIN, 1 << 40, i64::from(i32::MAX)];
    let value = |random: &mut Random| match random.below(24) {
        0 => random.of(&wild),
        _ => random.of(&tame),
    };
    Array::ints(dtype, &dims, (0..count).map(|_| value(random)).collect()).rounded()
}

/// Whether the operation was accepted and evaluated.
fn evaluates(spec: &OpSpec, random: &mut Random) -> bool {
    let rank = random.of(&[4, 4, 3, 5, 2, 1, 0, 4]);
    let x: Vec<usize> = (0..rank).map(|_| random.of(&[1, 2, 3, 4, 2, 6, 0, 8])).collect();
    let mut values = Values::default();
    let mut inputs = BTreeMap::new();
    let choice = random.below(3);
    for param in spec.params {
        if !param.required && random.below(2) == 0 {
            continue;
        }
        let arg = match &param.ty {
            ParamType::Tensor(_, set) => {
                let array = array(random, param.name, set[choice % set.len()], &x);
                Arg::from(values.define(array))
            }
            ParamType::Tuple => {
                let mut ids = vec![];
                for _ in 0..1 + random.below(2) {
                    ids.push(values.define(array(random, "x", DataType::Fp32, &x)));
                }
                Arg::from(&ids[..])
            }
            ParamType::Any => values.define(array(random, "x", DataType::Fp32, &x)).into(),
            // States, lists and the like have tests of their own.
            _ => return false,
        };
        inputs.insert(param.name.to_owned(), arg);
    }
    let operation = Operation {
        op: spec.op,
        inputs,
        attributes: BTreeMap::new(),
        outputs: vec![],
        blocks: vec![],
        span: Span::default(),
    };
    let Ok(types) = infer(&operation, &values) else { return false };
    let dims = |ty: &Type| ty.as_tensor().and_then(|t| t.fixed_dims());
    let small = |ty: &Type| dims(ty).is_some_and(|d| d.iter().product::<usize>() < 5000);
    if !types.iter().all(small) {
        return false;
    }
    let argument = |id: ValueId| values.0[id.index()].1.clone();
    let Ok(out) = apply(&operation, &values, &argument, &types) else { return false };
    for (array, ty) in out.iter().zip(&types) {
        assert_eq!(Type::tensor(array.dtype(), array.dims()), *ty, "{}", spec.name);
    }
    true
}

#[test]
fn operations_on_any_arguments_give_their_types_or_an_error() {
    let mut random = Random(5);
    let mut evaluated = BTreeSet::new();
    for spec in OPS {
        for _ in 0..2000 {
            if evaluates(spec, &mut random) {
                evaluated.insert(spec.op);
            }
        }
    }
    // For most ops chance finds arguments that fit; of those below it need not, and they have
    // tests of their own.
    let of_this_test = [
        Op::Acos,
        Op::Prelu,
        Op::ReduceArgmax,
        Op::BatchNorm,
        Op::InstanceNorm,
        Op::L2Norm,
        Op::LocalResponseNorm,
        Op::MaxPool,
        Op::AvgPool,
        Op::L2Pool,
        Op::UpsampleBilinear,
        Op::UpsampleNearestNeighbor,
        Op::ResizeBilinear,
        Op::ResizeNearestNeighbor,
        Op::Resize,
        Op::Resample,
        Op::Affine,
        Op::Crop,
        Op::CropResize,
        Op::DepthToSpace,
        Op::SpaceToDepth,
        Op::PixelShuffle,
        Op::PixelUnshuffle,
        Op::SpaceToBatch,
        Op::BatchToSpace,
        Op::SlidingWindows,
    ];
    for op in of_this_test {
        assert!(evaluated.contains(&op), "no random {} was evaluated", op.name());
    }
}
