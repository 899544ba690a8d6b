use crate::common::{Named, bools, check, check_near, floats, ints, run, string, vector};
use mil::Op;

fn pool<'n>(
    x: anemone_interp::Array,
    kernel: &[i64],
    strides: &[i64],
    kind: &str,
) -> Vec<Named<'n>> {
    vec![
        ("x", x),
        ("kernel_sizes", vector(kernel)),
        ("strides", vector(strides)),
        ("pad_type", string(kind)),
    ]
}

fn with<'n>(inputs: &[Named<'n>], more: &[Named<'n>]) -> Vec<Named<'n>> {
    inputs.iter().chain(more).cloned().collect()
}

#[test]
fn one_axis() {
    let x = floats(&[1, 1, 7], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]);
    let skip = pool(x.clone(), &[1], &[2], "valid");
    let same = pool(x.clone(), &[3], &[3], "same");
    let exclude = with(&same, &[("exclude_padding_from_average", bools(&[], &[true]))]);
    let (four, three) = ([1.0, 3.0, 5.0, 7.0], &[1usize, 1, 3]);
    check(Op::MaxPool, &skip, floats(&[1, 1, 4], &four));
    check(Op::AvgPool, &skip, floats(&[1, 1, 4], &four));
    check(Op::L2Pool, &skip, floats(&[1, 1, 4], &four));
    check(Op::MaxPool, &same, floats(three, &[2.0, 5.0, 7.0]));
    check(Op::AvgPool, &exclude, floats(three, &[1.5, 4.0, 6.5]));
    check_near(Op::AvgPool, &same, floats(three, &[1.0, 4.0, 13.0 / 3.0]));
    check_near(Op::L2Pool, &same, floats(three, &[5f64.sqrt(), 50f64.sqrt(), 85f64.sqrt()]));
    // Strides are 1 unless given.
    let plain = [("x", x), ("kernel_sizes", vector(&[6])), ("pad_type", string("valid"))];
    check(Op::MaxPool, &plain, floats(&[1, 1, 2], &[6.0, 7.0]));
}

#[test]
fn the_odd_element_of_padding_is_at_the_end_or_the_start() {
    let x = floats(&[1, 1, 2, 2], &[1.0, 2.0, 3.0, 4.0]);
    let of = |op, kind, expected: &[f64]| {
        check_near(op, &pool(x.clone(), &[2, 2], &[1, 1], kind), floats(&[1, 1, 2, 2], expected));
    };
    of(Op::AvgPool, "same_lower", &[0.25, 0.75, 1.0, 2.5]);
    of(Op::MaxPool, "same_lower", &[1.0, 2.0, 3.0, 4.0]);
    of(Op::L2Pool, "same_lower", &[1.0, 5f64.sqrt(), 10f64.sqrt(), 30f64.sqrt()]);
    of(Op::AvgPool, "same", &[2.5, 1.5, 1.75, 1.0]);
    of(Op::MaxPool, "same", &[4.0, 4.0, 4.0, 4.0]);
}

#[test]
fn padding_is_counted_or_not_and_what_is_beyond_never() {
    // Windows begin at −1, 1 and 3 of five elements; padded they are 7, so the last is whole.
    let x = floats(&[1, 1, 5], &[2.0, 4.0, 6.0, 8.0, 10.0]);
    let custom = with(&pool(x, &[3], &[2], "custom"), &[("pad", vector(&[1, 1]))]);
    check(Op::AvgPool, &custom, floats(&[1, 1, 3], &[2.0, 6.0, 6.0]));
    let exclude = with(&custom, &[("exclude_padding_from_average", bools(&[], &[true]))]);
    check(Op::AvgPool, &exclude, floats(&[1, 1, 3], &[3.0, 6.0, 9.0]));
    // `ceil_mode`: the third window has the last element, one of padding, and one beyond.
    let x = floats(&[1, 1, 4], &[2.0, 4.0, 6.0, 8.0]);
    let ceil = with(
        &pool(x, &[3], &[2], "custom"),
        &[("pad", vector(&[1, 1])), ("ceil_mode", bools(&[], &[true]))],
    );
    check(Op::AvgPool, &ceil, floats(&[1, 1, 3], &[2.0, 6.0, 4.0]));
    check(Op::MaxPool, &ceil, floats(&[1, 1, 3], &[4.0, 8.0, 8.0]));
}

#[test]
fn rounding_up_leaves_out_a_window_of_padding_alone() {
    let out = |n: usize, k: i64, s: i64, p: i64| {
        let x = floats(&[1, 1, n], &vec![1.0; n]);
        let inputs = with(
            &pool(x, &[k], &[s], "custom"),
            &[("pad", vector(&[p, p])), ("ceil_mode", bools(&[], &[true]))],
        );
        run(Op::MaxPool, &inputs).unwrap()[0].dims()[2]
    };
    assert_eq!(out(8, 2, 2, 1), 5);
    assert_eq!(out(3, 2, 2, 1), 2);
    assert_eq!(out(5, 3, 2, 1), 3);
    assert_eq!(out(6, 3, 2, 0), 3);
    // A window of which less than a stride is missing counts; of this one there is all but one.
    assert_eq!(out(3, 4, 2, 0), 1);
    let lower = with(
        &pool(floats(&[1, 1, 6], &[1.0; 6]), &[4], &[2], "same_lower"),
        &[("ceil_mode", bools(&[], &[true]))],
    );
    assert_eq!(run(Op::MaxPool, &lower).unwrap()[0].dims(), [1, 1, 3]);
    // Three windows of 2 in 6 with stride 4 would begin at 0, 4 and 8.
    assert_eq!(out(4, 2, 4, 1), 2);
}

#[test]
fn three_axes() {
    let x: Vec<f64> = (1..=8).map(f64::from).collect();
    let x = floats(&[1, 1, 2, 2, 2], &x);
    let inputs = pool(x, &[2, 2, 2], &[1, 1, 1], "same_lower");
    let expected = [0.125, 0.375, 0.5, 1.25, 0.75, 1.75, 2.0, 4.5];
    check(Op::AvgPool, &inputs, floats(&[1, 1, 2, 2, 2], &expected));
}

#[test]
fn a_window_of_padding_alone_has_no_elements() {
    let x = floats(&[1, 1, 1], &[5.0]);
    let inputs = with(&pool(x, &[1], &[2], "custom"), &[("pad", vector(&[2, 2]))]);
    let low = f64::NEG_INFINITY;
    check(Op::MaxPool, &inputs, floats(&[1, 1, 3], &[low, 5.0, low]));
    check(Op::L2Pool, &inputs, floats(&[1, 1, 3], &[0.0, 5.0, 0.0]));
    let exclude = with(&inputs, &[("exclude_padding_from_average", bools(&[], &[true]))]);
    check(Op::AvgPool, &exclude, floats(&[1, 1, 3], &[0.0, 5.0, 0.0]));
}

#[test]
fn arguments_that_do_not_fit_are_errors() {
    let x = floats(&[1, 1, 4], &[0.0; 4]);
    let error = |inputs: &[Named]| run(Op::MaxPool, inputs).unwrap_err().to_string();
    let of = |kernel: &[i64], strides: &[i64], kind: &str| {
        error(&pool(x.clone(), kernel, strides, kind))
    };
    assert_eq!(of(&[0], &[1], "valid"), "max_pool: `kernel_sizes` must hold numbers above 0");
    assert_eq!(of(&[2], &[0], "valid"), "max_pool: `strides` must hold numbers above 0");
    assert_eq!(of(&[-2], &[1], "valid"), "max_pool: `kernel_sizes` must hold numbers above 0");
    assert_eq!(of(&[2, 2], &[1], "valid"), "max_pool: `kernel_sizes` has 2 elements, not 1");
    assert_eq!(of(&[2], &[1], "full"), "max_pool: `pad_type` is \"full\"");
    assert!(of(&[5], &[1], "valid").contains("spans 5 elements, the padded input has 4"));
    let flat = pool(floats(&[4], &[0.0; 4]), &[1], &[1], "valid");
    assert_eq!(error(&flat), "max_pool: x has rank 1; it must be 3, 4 or 5");
    let base = pool(x.clone(), &[2], &[1], "custom");
    let negative = with(&base, &[("pad", vector(&[-1, 1]))]);
    assert_eq!(error(&negative), "max_pool: `pad` must not be negative");
    let long = anemone_interp::Array::ints(mil::DataType::Int64, &[2], vec![i64::MAX, i64::MAX]);
    assert!(error(&with(&base, &[("pad", long)])).contains("is too large"));
    let same = with(&pool(x, &[2], &[1], "same"), &[("ceil_mode", bools(&[], &[true]))]);
    assert!(error(&same).contains("`ceil_mode` does not go with"));
    // A window that is large because the padding is looks at no more than there is.
    let x = floats(&[1, 1, 2], &[1.0, 2.0]);
    let inputs = [
        ("x", x),
        ("kernel_sizes", ints(&[1], &[1 << 30])),
        ("pad_type", string("custom")),
        ("pad", vector(&[1 << 29, (1 << 29) - 2])),
    ];
    check(Op::MaxPool, &inputs, floats(&[1, 1, 1], &[2.0]));
}

/// Pools by their definition over an array that is padded in memory.
#[test]
fn ragged_pools_agree_with_padded_arrays() {
    let mut seed = 1u64;
    let mut below = |n: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((seed >> 33) % n as u64) as usize
    };
    for _ in 0..200 {
        let (h, w) = (1 + below(7), 1 + below(7));
        let (kh, kw) = (1 + below(3), 1 + below(3));
        let (sh, sw) = (1 + below(3), 1 + below(3));
        let pads = [below(kh), below(kh), below(kw), below(kw)];
        let (rows, columns) = (h + pads[0] + pads[1], w + pads[2] + pads[3]);
        if kh > rows || kw > columns {
            continue;
        }
        let values: Vec<f64> = (0..h * w).map(|_| below(19) as f64 - 9.0).collect();
        let mut padded = vec![None; rows * columns];
        for r in 0..h {
            for c in 0..w {
                padded[(r + pads[0]) * columns + c + pads[2]] = Some(values[r * w + c]);
            }
        }
        let dims = [1, 1, (rows - kh) / sh + 1, (columns - kw) / sw + 1];
        let (mut max, mut mean, mut inner, mut l2) = (vec![], vec![], vec![], vec![]);
        for r in 0..dims[2] {
            for c in 0..dims[3] {
                let window =
                    (0..kh * kw).map(|k| padded[(r * sh + k / kw) * columns + c * sw + k % kw]);
                let seen: Vec<f64> = window.flatten().collect();
                let sum: f64 = seen.iter().sum();
                max.push(seen.iter().copied().fold(f64::NEG_INFINITY, f64::max));
                mean.push(sum / (kh * kw) as f64);
                inner.push(if seen.is_empty() { 0.0 } else { sum / seen.len() as f64 });
                l2.push(seen.iter().map(|v| v * v).sum::<f64>().sqrt());
            }
        }
        let ints = |v: &[usize]| v.iter().map(|&v| v as i64).collect::<Vec<_>>();
        let inputs = with(
            &pool(floats(&[1, 1, h, w], &values), &ints(&[kh, kw]), &ints(&[sh, sw]), "custom"),
            &[("pad", vector(&ints(&pads)))],
        );
        let exclude = with(&inputs, &[("exclude_padding_from_average", bools(&[], &[true]))]);
        check(Op::MaxPool, &inputs, floats(&dims, &max));
        check_near(Op::AvgPool, &inputs, floats(&dims, &mean));
        check_near(Op::AvgPool, &exclude, floats(&dims, &inner));
        check_near(Op::L2Pool, &inputs, floats(&dims, &l2));
    }
}
