//! Resampling; most of the expected numbers are those of coremltools' tests of the same ops.

use crate::common::{Named, bools, check, check_near, dtype, floats, ints, run, string, vector};
use anemone_interp::Array;
use mil::{DataType, Op};

fn with<'n>(inputs: &[Named<'n>], more: &[Named<'n>]) -> Vec<Named<'n>> {
    inputs.iter().chain(more).cloned().collect()
}

fn int(v: i64) -> Array {
    ints(&[], &[v])
}

fn float(v: f64) -> Array {
    floats(&[], &[v])
}

/// Checks within the precision that expected numbers are written in.
#[track_caller]
fn check_about(op: Op, inputs: &[Named], expected: Array) {
    let out = run(op, inputs).unwrap().remove(0);
    assert_eq!(out.dims(), expected.dims());
    for (found, expected) in out.to_f64s().into_iter().zip(expected.to_f64s()) {
        assert!((found - expected).abs() < 1e-4, "{}: {found} is not {expected}", op.name());
    }
}

#[test]
fn every_sampling_mode_places_its_points() {
    let x = floats(&[1, 1, 2], &[0.0, 1.0]);
    let of = |mode, out: i64, expected: &[f64]| {
        let sizes = [("target_size_height", int(1)), ("target_size_width", int(out))];
        let inputs = with(&[("x", x.clone()), ("sampling_mode", string(mode))], &sizes);
        check_near(Op::ResizeBilinear, &inputs, floats(&[1, 1, expected.len()], expected));
    };
    let third = 1.0 / 3.0;
    of("STRICT_ALIGN_CORNERS", 5, &[0.0, 0.25, 0.5, 0.75, 1.0]);
    of("ALIGN_CORNERS", 6, &[0.0, 0.2, 0.4, 0.6, 0.8, 1.0]);
    of("DEFAULT", 5, &[0.0, 0.4, 0.8, 1.0, 1.0]);
    of("DEFAULT", 6, &[0.0, third, 2.0 * third, 1.0, 1.0, 1.0]);
    of("OFFSET_CORNERS", 5, &[0.1, 0.3, 0.5, 0.7, 0.9]);
    of("OFFSET_CORNERS", 6, &[1.0, 3.0, 5.0, 7.0, 9.0, 11.0].map(|v| v / 12.0));
    of("UNALIGN_CORNERS", 5, &[0.0, 0.1, 0.5, 0.9, 1.0]);
    of("UNALIGN_CORNERS", 6, &[0.0, 0.0, third, 2.0 * third, 1.0, 1.0]);
    // A single point.
    of("STRICT_ALIGN_CORNERS", 1, &[0.0]);
    of("ALIGN_CORNERS", 1, &[0.5]);
    of("DEFAULT", 1, &[0.0]);
    of("OFFSET_CORNERS", 1, &[0.5]);
    of("UNALIGN_CORNERS", 1, &[0.5]);
    // Sizes are 1 unless given.
    let plain = [("x", floats(&[1, 2, 2], &[3.0, 4.0, 5.0, 6.0]))];
    check(Op::ResizeBilinear, &plain, floats(&[1, 1, 1], &[3.0]));
}

#[test]
fn upsampling_between_elements() {
    let x = floats(&[1, 1, 1, 2], &[1.0, 2.0]);
    let base = [("x", x), ("scale_factor_height", int(2)), ("scale_factor_width", int(3))];
    let of = |more: &[Named], row: [f64; 6]| {
        let both: Vec<f64> = row.iter().chain(&row).copied().collect();
        check_near(Op::UpsampleBilinear, &with(&base, more), floats(&[1, 1, 2, 6], &both));
    };
    let flag = |name: &'static str, v| (name, bools(&[], &[v]));
    let (aligned, half) =
        ([1.0, 1.2, 1.4, 1.6, 1.8, 2.0], [1.0, 1.0, 4.0 / 3.0, 5.0 / 3.0, 2.0, 2.0]);
    of(&[], aligned);
    of(&[flag("align_corners", true)], aligned);
    of(&[flag("align_corners", false)], half);
    of(&[flag("align_corners", false), flag("half_pixel_centers", true)], half);
    let neither = [1.0, 4.0 / 3.0, 5.0 / 3.0, 2.0, 2.0, 2.0];
    of(&[flag("align_corners", false), flag("half_pixel_centers", false)], neither);
    let both = with(&base, &[flag("align_corners", true), flag("half_pixel_centers", true)]);
    let error = run(Op::UpsampleBilinear, &both).unwrap_err().to_string();
    assert!(error.contains("exclude each other"), "{error}");
    // 2·2.6 is rounded down, and the points are those of 5 elements.
    let broken = [
        ("x", floats(&[1, 1, 2], &[0.0, 1.0])),
        ("scale_factor_height", float(1.0)),
        ("scale_factor_width", float(2.6)),
        flag("align_corners", false),
    ];
    check_near(Op::UpsampleBilinear, &broken, floats(&[1, 1, 5], &[0.0, 0.1, 0.5, 0.9, 1.0]));
    // Both axes.
    let square = [
        ("x", floats(&[1, 2, 2], &[0.0, 1.0, 2.0, 3.0])),
        ("scale_factor_height", float(1.5)),
        ("scale_factor_width", float(1.5)),
    ];
    let expected = [0.0, 0.5, 1.0, 1.0, 1.5, 2.0, 2.0, 2.5, 3.0];
    check_near(Op::UpsampleBilinear, &square, floats(&[1, 3, 3], &expected));
}

#[test]
fn nearest_elements() {
    let x = floats(&[1, 1, 1, 3], &[1.5, -2.5, 3.5]);
    let up = |h: f64, w: f64, dims: &[usize], expected: &[f64]| {
        let inputs =
            [("x", x.clone()), ("scale_factor_height", float(h)), ("scale_factor_width", float(w))];
        check(Op::UpsampleNearestNeighbor, &inputs, floats(dims, expected));
    };
    up(1.0, 1.0, &[1, 1, 1, 3], &[1.5, -2.5, 3.5]);
    up(3.17, 0.67, &[1, 1, 3, 2], &[1.5, -2.5, 1.5, -2.5, 1.5, -2.5]);
    up(2.0, 1.12, &[1, 1, 2, 3], &[1.5, -2.5, 3.5, 1.5, -2.5, 3.5]);
    let whole = [("x", x), ("scale_factor_width", int(2))];
    let expected = [1.5, 1.5, -2.5, -2.5, 3.5, 3.5];
    check(Op::UpsampleNearestNeighbor, &whole, floats(&[1, 1, 1, 6], &expected));
    let small = floats(&[1, 1, 2, 1], &[0.37, 6.17]);
    let size = [("x", small), ("target_size_height", int(3)), ("target_size_width", int(2))];
    let expected = [0.37, 0.37, 0.37, 0.37, 6.17, 6.17];
    check(Op::ResizeNearestNeighbor, &size, floats(&[1, 1, 3, 2], &expected));
    // The product is that of single precision: 0.7·10 is 7.
    let ten = [("x", floats(&[1, 1, 10], &[0.0; 10])), ("scale_factor_width", float(0.7))];
    assert_eq!(run(Op::UpsampleNearestNeighbor, &ten).unwrap()[0].dims(), [1, 1, 7]);
    // Whole quotients are not lost to rounding: element i of 49 from 7 is ⌊i/7⌋.
    let seven = floats(&[1, 1, 7], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let to = [("x", seven), ("target_size_height", int(1)), ("target_size_width", int(49))];
    let expected: Vec<f64> = (0..49).map(|i| f64::from(i / 7)).collect();
    check(Op::ResizeNearestNeighbor, &to, floats(&[1, 1, 49], &expected));
}

#[test]
fn resizing_any_number_of_axes() {
    let mode = |name: &str| ("interpolation_mode", string(name));
    let x = floats(&[1, 1, 1, 2, 1], &[-6.174, 9.371]);
    let base = [("x", x), ("shape", vector(&[1, 1, 3, 2])), ("resized_dims", int(2))];
    let (a, b) = (-6.174, 9.371);
    let expected = floats(&[1, 1, 1, 3, 2], &[a, a, b, b, b, b]).rounded();
    let near = with(&base, &[mode("NEAREST_NEIGHBOR")]);
    assert_eq!(run(Op::Resize, &near).unwrap()[0].dims(), expected.dims());
    check(Op::Resize, &near, floats(&[1, 1, 1, 3, 2], &[a, a, a, a, b, b]));
    let line = [("x", floats(&[1, 1, 2], &[0.0, 1.0])), ("resized_dims", int(2))];
    let of = |shape: &[i64], more: &[Named], expected: &[f64]| {
        let inputs = with(&with(&line, &[("shape", vector(shape))]), more);
        check_near(Op::Resize, &inputs, floats(&[1, 1, expected.len()], expected));
    };
    of(&[1, 1, 5], &[], &[0.0, 0.4, 0.8, 1.0, 1.0]);
    // 0 keeps a size; entries before the last `resized_dims` say nothing.
    of(&[9, 0, 0], &[], &[0.0, 1.0]);
    of(&[0, 4], &[("sampling_mode", string("UNALIGN_CORNERS"))], &[0.0, 0.25, 0.75, 1.0]);
    let corners = ("sampling_mode", string("STRICT_ALIGN_CORNERS"));
    of(&[1, 4], &[corners, mode("NEAREST_NEIGHBOR")], &[0.0, 0.0, 1.0, 1.0]);
    // One axis of integers, cut after interpolation; and every axis.
    let whole = [("x", ints(&[2], &[0, 3])), ("shape", vector(&[4])), ("resized_dims", int(1))];
    check(Op::Resize, &whole, ints(&[4], &[0, 1, 3, 3]));
    let none = [("x", float(2.0)), ("shape", vector(&[])), ("resized_dims", int(0))];
    check(Op::Resize, &none, float(2.0));
    let cube = [
        ("x", floats(&[1, 2, 1], &[1.0, 2.0])),
        ("shape", vector(&[2, 4, 1])),
        ("resized_dims", int(3)),
        mode("NEAREST_NEIGHBOR"),
    ];
    let expected = [1.0, 1.0, 2.0, 2.0, 1.0, 1.0, 2.0, 2.0];
    check(Op::Resize, &cube, floats(&[2, 4, 1], &expected));
}

/// `resample` of a 2×2 image at four places.
fn places(
    coordinates: Array,
    sampling: &str,
    padding: (&str, f64),
    unit: &str,
    align: bool,
    expected: [f64; 4],
) {
    let inputs = [
        ("x", floats(&[1, 1, 2, 2], &[11.0, 22.0, 33.0, 44.0])),
        ("coordinates", coordinates),
        ("sampling_mode", string(sampling)),
        ("padding_mode", string(padding.0)),
        ("padding_value", float(padding.1)),
        ("coordinates_mode", string(unit)),
        ("align_corners", bools(&[], &[align])),
    ];
    check_about(Op::Resample, &inputs, floats(&[1, 1, 2, 2], &expected));
}

#[test]
fn places_in_an_image() {
    let at = floats(&[1, 2, 2, 2], &[-1.0, -2.0, -3.7, -1.0, 0.0, 0.0, 3.5, 1.2]);
    let whole = ints(&[1, 2, 2, 2], &[0, 0, 1, 1, 0, 0, 1, 1]);
    let small = Array::ints(DataType::Uint8, &[1, 2, 2, 2], whole.to_i64s());
    let (minus, zero) = ("normalized_minus_one_to_one", "normalized_zero_to_one");
    let constant = ("constant", 6.17);
    places(at.clone(), "bilinear", constant, minus, true, [8.585, 6.17, 27.5, 6.17]);
    places(whole.clone(), "bilinear", constant, minus, true, [27.5, 44.0, 27.5, 44.0]);
    let border = ("border", -1.0);
    places(at.clone(), "nearest", border, "unnormalized", false, [11.0, 11.0, 11.0, 44.0]);
    places(small, "nearest", border, "unnormalized", false, [11.0, 44.0, 11.0, 44.0]);
    let reflection = ("reflection", -1.0);
    places(at.clone(), "bilinear", reflection, zero, true, [22.0, 36.3, 11.0, 34.1]);
    let symmetric = ("symmetric", -1.0);
    places(at.clone(), "nearest", symmetric, zero, false, [22.0, 33.0, 11.0, 33.0]);
    places(whole, "nearest", symmetric, zero, false, [11.0, 44.0, 11.0, 44.0]);
    let far = floats(&[1, 2, 2, 2], &[1e30, 0.0, f64::INFINITY, 0.0, f64::NAN, 0.0, -1e30, 1e30]);
    places(far, "bilinear", constant, "unnormalized", false, [6.17; 4]);
    // On the last element nothing outside has a share, not even an infinite one.
    let corner = floats(&[1, 2, 2, 2], &[1.0, 1.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0]);
    let infinite = ("constant", f64::INFINITY);
    places(corner, "bilinear", infinite, "unnormalized", true, [44.0, 33.0, 22.0, 11.0]);
}

#[test]
fn affine_transforms() {
    let matrix = floats(&[1, 6], &[-1.0, -2.0, -3.7, -1.0, 3.5, 1.2]);
    let of = |h: usize, w: usize, matrix: &Array, expected: &[f64]| {
        let inputs = [
            ("x", floats(&[1, 1, 2, 2], &[11.0, 22.0, 33.0, 44.0])),
            ("transform_matrix", matrix.clone()),
            ("output_height", int(h as i64)),
            ("output_width", int(w as i64)),
            ("sampling_mode", string("bilinear")),
            ("padding_mode", string("constant")),
            ("padding_value", float(0.0)),
            ("coordinates_mode", string("normalized_minus_one_to_one")),
            ("align_corners", bools(&[], &[true])),
        ];
        check_about(Op::Affine, &inputs, floats(&[1, 1, h, w], expected));
    };
    of(3, 3, &matrix, &[10.7525, 2.5025, 0.0, 1.98, 0.0, 0.0, 0.0, 0.0, 0.0]);
    of(2, 5, &matrix, &[10.7525, 5.94, 2.5025, 0.44, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
    let identity = floats(&[1, 6], &[1.0, 0.0, 0.0, 0.0, 1.0, 0.0]);
    of(2, 2, &identity, &[11.0, 22.0, 33.0, 44.0]);
    of(1, 1, &identity, &[27.5]);
}

fn sixteen() -> Array {
    floats(&[1, 1, 4, 4], &(1..=16).map(f64::from).collect::<Vec<_>>())
}

#[test]
fn boxes_by_corners() {
    let sized = |h: i64, w: i64| {
        vec![
            ("x", sixteen()),
            ("target_height", int(h)),
            ("target_width", int(w)),
            ("sampling_mode", string("ALIGN_CORNERS")),
        ]
    };
    let roi = |values: &[f64]| ("roi", floats(&[1, 1, values.len(), 1, 1], values));
    let of = |h: i64, w: i64, more: &[Named], expected: &[f64]| {
        let dims = [1, 1, 1, h as usize, w as usize];
        check_about(Op::CropResize, &with(&sized(h, w), more), floats(&dims, expected));
    };
    of(2, 2, &[roi(&[1.0, 1.0, 2.0, 2.0])], &[6.0, 7.0, 10.0, 11.0]);
    of(1, 1, &[roi(&[1.0, 1.0, 2.0, 2.0])], &[8.5]);
    let (third, two) = (1.0 / 3.0, 2.0 / 3.0);
    let fine = [
        6.0,
        6.0 + third,
        6.0 + two,
        7.0,
        7.0 + third,
        7.0 + two,
        8.0,
        8.0 + third,
        8.0 + two,
        9.0,
        9.0 + third,
        9.0 + two,
        10.0,
        10.0 + third,
        10.0 + two,
        11.0,
    ];
    of(4, 4, &[roi(&[1.0, 1.0, 2.0, 2.0])], &fine);
    // Backwards; normalized, with the index of the image; columns first; half as far.
    of(2, 2, &[roi(&[2.0, 2.0, 1.0, 1.0])], &[11.0, 10.0, 7.0, 6.0]);
    let normalized = ("normalized_coordinates", bools(&[], &[true]));
    of(2, 2, &[roi(&[0.0, 0.0, 0.0, third, third]), normalized], &[1.0, 2.0, 5.0, 6.0]);
    let columns = ("box_coordinate_mode", string("CORNERS_WIDTH_FIRST"));
    of(1, 2, &[roi(&[0.0, 1.0, 3.0, 1.0]), columns], &[5.0, 8.0]);
    let half = ("spatial_scale", float(0.5));
    of(2, 2, &[roi(&[2.0, 2.0, 4.0, 4.0]), half], &[6.0, 7.0, 10.0, 11.0]);
    let middle = ("box_coordinate_mode", string("CENTER_SIZE_HEIGHT_FIRST"));
    of(2, 2, &[roi(&[1.5, 1.5, 1.0, 1.0]), middle], &[6.0, 7.0, 10.0, 11.0]);
}

#[test]
fn boxes_beyond_the_image_are_padded() {
    let boxes = [[0.1, 0.3, 1.3, 1.0], [0.5, 1.8, 1.0, 0.3], [0.0, 0.4, 0.6, 0.7]];
    let base = [
        ("x", sixteen()),
        ("target_height", int(2)),
        ("target_width", int(2)),
        ("normalized_coordinates", bools(&[], &[true])),
        ("sampling_mode", string("ALIGN_CORNERS")),
        ("pad_value", float(10.0)),
    ];
    let values = [3.1, 5.2, 10.0, 10.0, 10.0, 7.9, 10.0, 13.9, 2.2, 3.1, 9.4, 10.3];
    let new = [
        ("boxes", floats(&[3, 4], boxes.as_flattened())),
        ("box_indices", dtype(DataType::Uint16, vector(&[0, 0, 0]))),
    ];
    check_about(Op::CropResize, &with(&base, &new), floats(&[3, 1, 2, 2], &values));
    let roi: Vec<f64> = boxes.iter().flat_map(|b| [&[0.0], &b[..]].concat()).collect();
    let old = [("roi", floats(&[3, 1, 5, 1, 1], &roi))];
    check_about(Op::CropResize, &with(&base, &old), floats(&[3, 1, 1, 2, 2], &values));
}

#[test]
fn boxes_of_every_image_or_of_one() {
    let x = floats(&[2, 1, 1, 2], &[1.0, 2.0, 3.0, 4.0]);
    let base = [("x", x), ("target_width", int(2)), ("sampling_mode", string("ALIGN_CORNERS"))];
    let all = [("roi", floats(&[1, 1, 4, 1, 1], &[0.0, 0.0, 0.0, 1.0]))];
    check(Op::CropResize, &with(&base, &all), floats(&[1, 2, 1, 1, 2], &[1.0, 2.0, 3.0, 4.0]));
    let each = [("boxes", floats(&[2, 4], &[0.0, 0.0, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0]))];
    check(Op::CropResize, &with(&base, &each), floats(&[2, 1, 1, 2], &[1.0, 2.0, 4.0, 3.0]));
    let error = |more: &[Named]| run(Op::CropResize, &with(&base, more)).unwrap_err().to_string();
    let one = ("boxes", floats(&[1, 4], &[0.0; 4]));
    let beyond = error(&[one.clone(), ("box_indices", vector(&[2]))]);
    assert_eq!(beyond, "crop_resize: a box is of image 2, there are 2");
    assert!(error(&[one.clone(), ("box_indices", vector(&[-1]))]).contains("of image -1"));
    assert!(error(&[one.clone(), ("box_indices", vector(&[0, 0]))]).contains("there are 1 boxes"));
    let three = ("boxes", floats(&[3, 4], &[0.0; 12]));
    assert!(error(&[three]).contains("3 boxes of 2 images need `box_indices`"));
    assert!(error(&[]).contains("either `roi` or `boxes`"));
    assert!(
        error(&[all[0].clone(), one.clone()]).contains("must be the same")
            || error(&[all[0].clone(), one]).contains("either")
    );
    let nan = ("roi", floats(&[1, 1, 5, 1, 1], &[f64::NAN, 0.0, 0.0, 0.0, 0.0]));
    assert!(error(&[nan]).contains("of image NaN"));
}

#[test]
fn arguments_that_do_not_fit_are_errors() {
    let x = floats(&[1, 1, 2], &[0.0, 1.0]);
    let error =
        |op, more: &[Named]| run(op, &with(&[("x", x.clone())], more)).unwrap_err().to_string();
    for bad in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e30] {
        let found = error(Op::UpsampleBilinear, &[("scale_factor_width", float(bad))]);
        assert!(found.contains("`scale_factor_width` is"), "{found}");
    }
    let found = error(Op::UpsampleNearestNeighbor, &[("scale_factor_height", int(-2))]);
    assert!(found.contains("`scale_factor_height` is -2"), "{found}");
    let found = error(Op::ResizeBilinear, &[("target_size_width", int(-1))]);
    assert!(found.contains("`target_size_width` is -1"), "{found}");
    let found = error(Op::ResizeBilinear, &[("sampling_mode", string("BEST"))]);
    assert!(found.contains("`sampling_mode` is \"BEST\""), "{found}");
    let resize = |shape: &[i64], dims: i64| {
        error(Op::Resize, &[("shape", vector(shape)), ("resized_dims", int(dims))])
    };
    assert!(resize(&[1, 1, 1, 5], 2).contains("`shape` has 4 elements; it must have 2 to 3"));
    assert!(resize(&[5], 2).contains("`shape` has 1 elements"));
    assert!(resize(&[1, 5], 4).contains("`resized_dims` is 4, x has rank 3"));
    assert!(resize(&[1, 5], -1).contains("`resized_dims` is -1"));
    assert!(resize(&[1, -5], 2).contains("`shape` is -5"));
    let flat = run(Op::UpsampleBilinear, &[("x", floats(&[2], &[0.0; 2]))]);
    assert!(flat.unwrap_err().to_string().contains("x has rank 1; it must be 3 or more"));
    let empty = [
        ("x", floats(&[1, 1, 0], &[])),
        ("target_size_height", int(1)),
        ("target_size_width", int(2)),
    ];
    let found = run(Op::ResizeNearestNeighbor, &empty).unwrap_err().to_string();
    assert!(found.contains("axis 2 of x has no elements to resize"), "{found}");
}
