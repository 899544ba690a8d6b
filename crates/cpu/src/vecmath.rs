//! Elementary functions in `f32` without branches or calls, so that loops over them vectorize.
//!
//! The polynomials interpolate at Chebyshev nodes. With the parameter `FMA`, products and sums are
//! fused, which is fast only inside functions compiled for instruction sets that have it. The tests
//! state each function's error; subnormal, infinite and NaN arguments and results are right
//! unless said otherwise.
#![allow(clippy::excessive_precision)] // The last digits pin the nearest f32.

/// Whether plain code has a fast fused multiply-add.
pub(crate) const FUSED: bool = cfg!(any(target_arch = "aarch64", target_feature = "fma"));

/// Beyond this magnitude [`sin`] and [`cos`] are meaningless.
pub(crate) const LARGEST_ANGLE: f32 = 1e8;

#[inline(always)]
fn mul_add<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

/// The polynomial with these coefficients, constant first, at `x`.
#[inline(always)]
fn polynomial<const FMA: bool, const N: usize>(x: f32, coefficients: [f32; N]) -> f32 {
    let mut sum = coefficients[N - 1];
    let mut i = N - 1;
    while i > 0 {
        i -= 1;
        sum = mul_add::<FMA>(sum, x, coefficients[i]);
    }
    sum
}

/// `2ⁿ` for an integer from -126 to 127; nonsense, but no overflow, for others.
#[inline(always)]
fn power_of_two(n: i32) -> f32 {
    f32::from_bits((n.wrapping_add(127) << 23) as u32)
}

/// `eˣ`.
#[inline(always)]
pub(crate) fn exp<const FMA: bool>(x: f32) -> f32 {
    // Beyond these bounds the result is infinite or zero. Comparisons let NaN through. What gives
    // zero is computed as e⁰: hidden scores are many, and a processor takes a hundred times as long
    // for a product that underflows.
    let x = if x > 89.0 { 89.0 } else { x };
    let vanishes = x < -104.0;
    let x = if vanishes { 0.0 } else { x };
    // Adding 1.5·2²³ rounds to an integer, which is then in the low bits.
    const MAGIC: f32 = 12_582_912.0;
    let shifted = mul_add::<FMA>(x, std::f32::consts::LOG2_E, MAGIC);
    let n = shifted - MAGIC;
    // ln 2 in two parts: the products with the first, of 14 bits, are exact.
    let r = mul_add::<FMA>(n, -0.693_115_234_375, x);
    let r = mul_add::<FMA>(n, -3.194_618_494_1e-5, r);
    let tail = polynomial::<FMA, 6>(
        r,
        [0.5, 0.16666667, 0.041666448, 0.0083333086, 0.0013935452, 0.00019892992],
    );
    let power = mul_add::<FMA>(r * r, tail, r) + 1.0;
    // In two factors, because 2ⁿ itself may not be a normal number.
    let n = (shifted.to_bits() as i32).wrapping_sub(MAGIC.to_bits() as i32);
    let half = n >> 1;
    let result = power * power_of_two(half) * power_of_two(n.wrapping_sub(half));
    if vanishes { 0.0 } else { result }
}

/// Natural logarithm.
#[inline(always)]
pub(crate) fn log<const FMA: bool>(x: f32) -> f32 {
    let small = x < f32::MIN_POSITIVE;
    let scaled = if small { x * 8_388_608.0 } else { x };
    let lift = if small { -23 } else { 0 };
    // The exponent that leaves a fraction from √½ to √2.
    const ROOT_HALF: i32 = 0x3f35_04f3;
    let bits = scaled.to_bits() as i32;
    let exponent = bits.wrapping_sub(ROOT_HALF) >> 23;
    let f = f32::from_bits(bits.wrapping_sub(exponent << 23) as u32) - 1.0;
    let e = (exponent + lift) as f32;
    let tail = polynomial::<FMA, 10>(
        f,
        [
            0.33333334,
            -0.2499999,
            0.20000011,
            -0.16668001,
            0.14286524,
            -0.12450743,
            0.11037783,
            -0.10646192,
            0.10530864,
            -0.062015,
        ],
    );
    let square = f * f;
    // Small terms first: f - f²/2 + f³·tail + e·ln 2.
    let low = mul_add::<FMA>(e, -2.121_944_4e-4, square * f * tail);
    let low = mul_add::<FMA>(square, -0.5, low);
    let result = mul_add::<FMA>(e, 0.693_359_375, f + low);
    let result = if x == f32::INFINITY { x } else { result };
    let result = if x == 0.0 { f32::NEG_INFINITY } else { result };
    if (x < 0.0) | x.is_nan() { f32::NAN } else { result }
}

/// `1 / (1 + e⁻ˣ)`.
#[inline(always)]
pub(crate) fn sigmoid<const FMA: bool>(x: f32) -> f32 {
    // The exponential of a negative number neither overflows nor cancels.
    let e = exp::<FMA>(-x.abs());
    let numerator = if x < 0.0 { e } else { 1.0 };
    numerator / (1.0 + e)
}

/// Hyperbolic tangent.
#[inline(always)]
pub(crate) fn tanh<const FMA: bool>(x: f32) -> f32 {
    let magnitude = x.abs();
    let e = exp::<FMA>(-2.0 * magnitude);
    let large = ((1.0 - e) / (1.0 + e)).copysign(x);
    let square = x * x;
    let odd = polynomial::<FMA, 6>(
        square,
        [-0.33333334, 0.13333297, -0.053957596, 0.021755701, -0.0083016949, 0.002246003598],
    );
    let small = mul_add::<FMA>(x * square, odd, x);
    if magnitude < 0.625 { small } else { large }
}

/// The error function.
#[inline(always)]
pub(crate) fn erf<const FMA: bool>(x: f32) -> f32 {
    let t = x.abs();
    // The result is 1 from 3.92 on.
    let t = if t > 4.0 { 4.0 } else { t };
    // ln(1 - erf t)
    let log = polynomial::<FMA, 8>(
        t,
        [
            -0.00050429453,
            -1.1267625,
            -0.63795382,
            -0.10414881,
            0.022971913,
            -0.0035225644,
            0.00032889072,
            -1.393306e-5,
        ],
    );
    let large = (1.0 - exp::<FMA>(log)).copysign(x);
    let odd = polynomial::<FMA, 7>(
        x * x,
        [
            0.12837917,
            -0.37612635,
            0.11283691,
            -0.026859151,
            0.0052003688,
            -0.00081347092,
            8.3347186e-5,
        ],
    );
    let small = mul_add::<FMA>(x, odd, x);
    if t < 0.92 { small } else { large }
}

/// `x · (1 + tanh(√(2/π) · (x + 0.044715 x³))) / 2`.
#[inline(always)]
pub(crate) fn gelu_tanh<const FMA: bool>(x: f32) -> f32 {
    // (1 + tanh z) / 2 = sigmoid(2 z), which does not cancel.
    let z = 2.0 * 0.797_884_56 * x * mul_add::<FMA>(0.044_715 * x, x, 1.0);
    x * sigmoid::<FMA>(z)
}

/// Sine, up to [`LARGEST_ANGLE`].
#[inline(always)]
pub(crate) fn sin(x: f32) -> f32 {
    let (quarter, sin, cos) = quarter_turn(x);
    let value = if quarter & 1 == 0 { sin } else { cos };
    (if quarter & 2 == 0 { value } else { -value }) as f32
}

/// Cosine, up to [`LARGEST_ANGLE`].
#[inline(always)]
pub(crate) fn cos(x: f32) -> f32 {
    let (quarter, sin, cos) = quarter_turn(x);
    let value = if quarter & 1 == 0 { cos } else { sin };
    (if (quarter + 1) & 2 == 0 { value } else { -value }) as f32
}

/// The nearest multiple of a quarter turn, and sine and cosine of the rest, in double precision: a
/// reduction to the last bit in `f32` would take three times as many steps.
#[inline(always)]
fn quarter_turn(x: f32) -> (i64, f64, f64) {
    let x = x as f64;
    const MAGIC: f64 = 6_755_399_441_055_744.0;
    let shifted = x * std::f64::consts::FRAC_2_PI + MAGIC;
    let n = shifted - MAGIC;
    // π/2 in two parts: the first has 27 bits, so that the products with it are exact.
    let r = (x - n * 1.570_796_325_802_803) - n * 9.920_935_796_805_404e-10;
    let s = r * r;
    let sin = 1.0
        + s * (-1.0 / 6.0
            + s * (1.0 / 120.0 + s * (-1.0 / 5040.0 + s * (1.0 / 362_880.0 - s / 39_916_800.0))));
    let cos = 1.0
        + s * (-0.5
            + s * (1.0 / 24.0
                + s * (-1.0 / 720.0 + s * (1.0 / 40_320.0 - s * (1.0 / 3_628_800.0)))));
    (shifted.to_bits() as i64, r * sin, cos)
}

/// The remainder of the floored quotient: it has the sign of `b`.
#[inline(always)]
pub(crate) fn floored_remainder(a: f32, b: f32) -> f32 {
    let remainder = a % b;
    if (remainder != 0.0) & ((remainder < 0.0) != (b < 0.0)) { remainder + b } else { remainder }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hint::black_box;

    /// Arguments with every exponent and both signs, and the special ones.
    fn arguments() -> impl Iterator<Item = f32> {
        let special = [0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, 1e-45, f32::MAX];
        (0..u32::MAX).step_by(4093).map(f32::from_bits).chain(special)
    }

    fn ulp_distance(got: f32, want: f64) -> f64 {
        let rounded = want as f32;
        if got.is_nan() || want.is_nan() {
            return if got.is_nan() && want.is_nan() { 0.0 } else { f64::INFINITY };
        }
        if got == rounded {
            return 0.0;
        }
        if got.is_infinite() || rounded.is_infinite() {
            return f64::INFINITY;
        }
        let exponent = (rounded.abs().max(f32::MIN_POSITIVE).to_bits() >> 23) as i32 - 127;
        (got as f64 - want).abs() / 2f64.powi(exponent - 23)
    }

    /// Checks the fused and the plain form against a function in double precision.
    fn check(
        name: &str,
        limit: f64,
        functions: [fn(f32) -> f32; 2],
        want: fn(f64) -> f64,
        domain: impl Fn(f32) -> bool,
    ) {
        for (form, function) in ["fused", "plain"].into_iter().zip(functions) {
            let mut worst = (0.0, 0.0);
            for x in arguments().filter(|&x| domain(x)) {
                let distance = ulp_distance(function(black_box(x)), want(x as f64));
                if distance > worst.0 {
                    worst = (distance, x);
                }
            }
            assert!(worst.0 <= limit, "{form} {name}: {} ulp at {:e}", worst.0, worst.1);
        }
    }

    #[test]
    fn exp_is_right_to_two_ulp_everywhere() {
        check("exp", 1.5, [exp::<true>, exp::<false>], f64::exp, |_| true);
    }

    #[test]
    fn log_is_right_to_two_ulp_everywhere() {
        check("log", 1.5, [log::<true>, log::<false>], f64::ln, |_| true);
    }

    #[test]
    fn sigmoid_is_right_to_three_ulp_everywhere() {
        let want = |x: f64| 1.0 / (1.0 + (-x).exp());
        check("sigmoid", 3.0, [sigmoid::<true>, sigmoid::<false>], want, |_| true);
    }

    #[test]
    fn tanh_is_right_to_three_ulp_everywhere() {
        check("tanh", 3.0, [tanh::<true>, tanh::<false>], f64::tanh, |_| true);
    }

    #[test]
    fn erf_is_right_to_four_ulp_everywhere() {
        fn want(x: f64) -> f64 {
            if x.is_nan() {
                return x;
            } else if x.abs() > 6.0 {
                return 1f64.copysign(x);
            } else if x.abs() < 1e-6 {
                return x * std::f64::consts::FRAC_2_SQRT_PI;
            }
            let mut term = x;
            let mut sum = x;
            for n in 1..200 {
                term *= -x * x / n as f64;
                sum += term / (2 * n + 1) as f64;
            }
            sum * std::f64::consts::FRAC_2_SQRT_PI
        }
        // The series loses digits to cancellation beyond 4, where the result is 1 to the last bit.
        let want =
            |x: f64| if x.abs() > 4.0 && x.abs() <= 6.0 { 1f64.copysign(x) } else { want(x) };
        check("erf", 4.0, [erf::<true>, erf::<false>], want, |_| true);
    }

    #[test]
    fn sine_and_cosine_are_right_to_one_ulp_up_to_the_largest_angle() {
        let domain = |x: f32| x.is_nan() || x.abs() <= LARGEST_ANGLE;
        check("sin", 1.0, [sin, sin], f64::sin, domain);
        check("cos", 1.0, [cos, cos], f64::cos, domain);
    }

    #[test]
    fn the_floored_remainder_has_the_sign_of_the_divisor() {
        let cases = [(7.0, 3.0, 1.0), (-7.0, 3.0, 2.0), (7.0, -3.0, -2.0), (-6.0, 3.0, 0.0)];
        for (a, b, want) in cases {
            assert_eq!(floored_remainder(a, b), want);
        }
        assert!(floored_remainder(1.0, 0.0).is_nan());
    }
}
