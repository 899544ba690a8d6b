use crate::common::{Named, check, floats, ints, run, vector};
use anemone_interp::Array;
use mil::{DataType, Op};

fn count(dims: &[usize]) -> Array {
    let values: Vec<f64> = (0..dims.iter().product::<usize>()).map(|v| v as f64).collect();
    floats(dims, &values)
}

#[test]
fn depth_to_space_takes_the_block_before_the_channel_and_pixel_shuffle_after() {
    let x = floats(&[1, 8, 1, 1], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]);
    let two = ints(&[], &[2]);
    let depth = floats(&[1, 2, 2, 2], &[0.0, 2.0, 4.0, 6.0, 1.0, 3.0, 5.0, 7.0]);
    let pixel = floats(&[1, 2, 2, 2], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]);
    check(Op::DepthToSpace, &[("x", x.clone()), ("block_size", two.clone())], depth.clone());
    check(Op::PixelShuffle, &[("x", x.clone()), ("upscale_factor", two.clone())], pixel.clone());
    check(Op::SpaceToDepth, &[("x", depth), ("block_size", two.clone())], x.clone());
    let factor = Array::ints(DataType::Uint32, &[], vec![2]);
    check(Op::PixelUnshuffle, &[("x", pixel), ("downscale_factor", factor)], x);
    // Two rows of two blocks.
    let wide = floats(&[1, 4, 1, 2], &[0.0, 1.0, 10.0, 11.0, 20.0, 21.0, 30.0, 31.0]);
    let expected = floats(&[1, 1, 2, 4], &[0.0, 10.0, 1.0, 11.0, 20.0, 30.0, 21.0, 31.0]);
    check(Op::DepthToSpace, &[("x", wide), ("block_size", two)], expected);
}

#[test]
fn opposites_give_x_back() {
    for (h, w) in [(2, 3), (3, 2), (1, 1)] {
        for size in [1, 2, 3] {
            let block = || ints(&[], &[size]);
            let side = size as usize;
            let x = count(&[2, 3 * side * side, h, w]);
            for (there, back, name, other) in [
                (Op::DepthToSpace, Op::SpaceToDepth, "block_size", "block_size"),
                (Op::PixelShuffle, Op::PixelUnshuffle, "upscale_factor", "downscale_factor"),
            ] {
                let y = run(there, &[("x", x.clone()), (name, block())]).unwrap().remove(0);
                assert_eq!(y.dims(), [2, 3, h * side, w * side]);
                check(back, &[("x", y), (other, block())], x.clone());
            }
        }
    }
}

#[test]
fn blocks_of_pixels_go_to_the_batch_and_back() {
    let x: Vec<f64> = (1..=16).map(f64::from).collect();
    let x = floats(&[2, 1, 2, 4], &x);
    let z = [
        [0.0, 1.0, 3.0],
        [0.0, 9.0, 11.0],
        [0.0, 2.0, 4.0],
        [0.0, 10.0, 12.0],
        [0.0, 5.0, 7.0],
        [0.0, 13.0, 15.0],
        [0.0, 6.0, 8.0],
        [0.0, 14.0, 16.0],
    ];
    let z = floats(&[8, 1, 1, 3], z.as_flattened());
    let block = || ("block_shape", vector(&[2, 2]));
    let margins = || ints(&[2, 2], &[0, 0, 2, 0]);
    check(Op::SpaceToBatch, &[("x", x.clone()), block(), ("paddings", margins())], z.clone());
    check(Op::BatchToSpace, &[("x", z), block(), ("crops", margins())], x);
    let odd = [
        ("x", ints(&[1, 1, 1, 3], &[1, 2, 3])),
        ("block_shape", vector(&[1, 2])),
        ("paddings", ints(&[2, 2], &[1, 0, 0, 1])),
    ];
    check(Op::SpaceToBatch, &odd, ints(&[2, 1, 2, 2], &[0, 0, 1, 3, 0, 0, 2, 0]));
}

#[test]
fn windows_along_an_axis() {
    let x = floats(&[1, 4, 1, 1], &[9.0, 5.0, 1.0, 3.0]);
    let of = |axis: i64, size: i64, stride: i64| {
        let scalar = |v| ints(&[], &[v]);
        vec![
            ("x", x.clone()),
            ("axis", scalar(axis)),
            ("size", scalar(size)),
            ("stride", scalar(stride)),
        ]
    };
    let expected = floats(&[1, 3, 2, 1, 1], &[9.0, 5.0, 5.0, 1.0, 1.0, 3.0]);
    check(Op::SlidingWindows, &of(1, 2, 1)[..3], expected.clone());
    check(Op::SlidingWindows, &of(-3, 2, 1), expected);
    let expected = floats(&[1, 2, 1, 1, 1], &[9.0, 3.0]);
    check(Op::SlidingWindows, &of(1, 1, 3), expected);
    let inner = [
        ("x", ints(&[2, 3], &[1, 2, 3, 4, 5, 6])),
        ("axis", ints(&[], &[-1])),
        ("size", ints(&[], &[2])),
    ];
    check(Op::SlidingWindows, &inner, ints(&[2, 2, 2], &[1, 2, 2, 3, 4, 5, 5, 6]));
}

#[test]
fn crops_cut_before_and_after() {
    let x = count(&[1, 1, 4, 4]);
    let cut = |h: &[i64], w: &[i64]| {
        vec![("x", x.clone()), ("crop_height", vector(h)), ("crop_width", vector(w))]
    };
    let expected = floats(&[1, 1, 3, 2], &[1.0, 2.0, 5.0, 6.0, 9.0, 10.0]);
    check(Op::Crop, &cut(&[0, 1], &[1, 1]), expected);
    check(Op::Crop, &cut(&[2, 2], &[0, 0]), floats(&[1, 1, 0, 4], &[]));
    let error = |inputs: &[Named]| run(Op::Crop, inputs).unwrap_err().to_string();
    assert_eq!(error(&cut(&[3, 2], &[0, 0])), "crop: 3 and 2 leave an axis of size 4");
    let negative = "crop: `crop_height` is [-1, 0]; it must be two amounts";
    assert_eq!(error(&cut(&[-1, 0], &[0, 0])), negative);
    let one = "crop: `crop_width` is [1]; it must be two amounts";
    assert_eq!(error(&cut(&[0, 0], &[1])), one);
}

#[test]
fn arguments_that_do_not_fit_are_errors() {
    let x = count(&[1, 4, 2, 3]);
    let error = |op, inputs: &[Named]| {
        let inputs: Vec<Named> = [("x", x.clone())].iter().chain(inputs).cloned().collect();
        run(op, &inputs).unwrap_err().to_string()
    };
    let size = |name: &'static str, v: i64| [(name, ints(&[], &[v]))];
    assert_eq!(
        error(Op::DepthToSpace, &size("block_size", 0)),
        "depth_to_space: `block_size` is 0, it must be 1 or more"
    );
    assert!(error(Op::DepthToSpace, &size("block_size", 3)).contains("4 is not a multiple of 9"));
    assert!(error(Op::SpaceToDepth, &size("block_size", 2)).contains("3 is not a multiple of 2"));
    let huge = [("block_size", Array::ints(DataType::Int64, &[], vec![i64::MAX]))];
    assert!(error(Op::DepthToSpace, &huge).contains("are too large"));
    assert!(error(Op::SpaceToDepth, &huge).contains("are too large"));
    let batch = |block: &[i64], margins: &[i64]| {
        [("block_shape", vector(block)), ("paddings", ints(&[margins.len() / 2, 2], margins))]
    };
    let to = |block: &[i64], margins: &[i64]| error(Op::SpaceToBatch, &batch(block, margins));
    assert!(to(&[2, 0], &[0; 4]).contains("`block_shape` is [2, 0]"));
    assert!(to(&[2, -2], &[0; 4]).contains("`block_shape` is [2, -2]"));
    assert!(to(&[2], &[0; 4]).contains("`block_shape` is [2]"));
    assert!(to(&[2, 3], &[0, 0, -1, 1]).contains("`paddings` must be [2, 2] and not negative"));
    assert!(to(&[2, 3], &[0, 0]).contains("`paddings` must be [2, 2]"));
    let crops = [("block_shape", vector(&[1, 1])), ("crops", ints(&[2, 2], &[2, 1, 0, 0]))];
    assert!(error(Op::BatchToSpace, &crops).contains("`crops` take 3 of 2 elements"));
    let windows = |axis: i64, size: i64, stride: i64| {
        let scalar = |v: i64| ints(&[], &[v]);
        let inputs = [("axis", scalar(axis)), ("size", scalar(size)), ("stride", scalar(stride))];
        error(Op::SlidingWindows, &inputs)
    };
    assert!(windows(4, 1, 1).contains("`axis` = 4 is out of range"));
    assert!(windows(3, 4, 1).contains("windows of 4 elements do not fit into 3"));
    assert!(windows(3, 0, 1).contains("`size` is 0"));
    assert!(windows(3, 1, -1).contains("`stride` is -1"));
    let flat = run(Op::PixelShuffle, &[("x", count(&[4])), ("upscale_factor", ints(&[], &[2]))]);
    assert!(flat.unwrap_err().to_string().contains("it must have rank 4"));
}
