//! Intervals of real numbers.

use std::fmt;
use std::str::FromStr;

/// All numbers from `lo` to `hi`. An infinite end means that nothing is known there.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// The smallest.
    pub lo: f64,
    /// The largest.
    pub hi: f64,
}

impl Interval {
    /// Of which nothing is known.
    pub const ALL: Interval = Interval { lo: f64::NEG_INFINITY, hi: f64::INFINITY };
    /// 0 alone.
    pub const ZERO: Interval = Interval { lo: 0.0, hi: 0.0 };

    /// From one end to the other. An end that is no number is not known.
    pub fn new(a: f64, b: f64) -> Interval {
        if a.is_nan() || b.is_nan() {
            return Interval::ALL;
        }
        Interval { lo: a.min(b), hi: a.max(b) }
    }

    /// What holds all of these; [`Interval::ALL`] if there are none.
    pub(super) fn over(values: impl IntoIterator<Item = f64>) -> Interval {
        let mut values = values.into_iter();
        let Some(first) = values.next() else { return Interval::ALL };
        values.fold(Interval::new(first, first), |all, v| all.hull(Interval::new(v, v)))
    }

    /// The largest magnitude.
    pub fn magnitude(self) -> f64 {
        self.lo.abs().max(self.hi.abs())
    }

    /// What holds both.
    pub(super) fn hull(self, other: Interval) -> Interval {
        Interval { lo: self.lo.min(other.lo), hi: self.hi.max(other.hi) }
    }

    /// A function that never falls, applied to both ends.
    pub(super) fn rising(self, f: impl Fn(f64) -> f64) -> Interval {
        Interval::new(f(self.lo), f(self.hi))
    }

    pub(super) fn plus(self, other: Interval) -> Interval {
        Interval::new(self.lo + other.lo, self.hi + other.hi)
    }

    pub(super) fn negated(self) -> Interval {
        Interval { lo: -self.hi, hi: -self.lo }
    }

    pub(super) fn times(self, other: Interval) -> Interval {
        // Values are finite, so that 0 times what is not known is 0.
        let product = |a: f64, b: f64| if a == 0.0 || b == 0.0 { 0.0 } else { a * b };
        let (a, b) = (self, other);
        Interval::over([
            product(a.lo, b.lo),
            product(a.lo, b.hi),
            product(a.hi, b.lo),
            product(a.hi, b.hi),
        ])
    }

    /// The sum of `n` such numbers.
    pub(super) fn summed(self, n: f64) -> Interval {
        self.times(Interval::new(n, n))
    }

    /// 1 / x, of which nothing is known where x may be 0.
    pub(super) fn inverted(self) -> Interval {
        if self.lo > 0.0 || self.hi < 0.0 {
            return Interval::new(1.0 / self.lo, 1.0 / self.hi);
        }
        Interval::ALL
    }

    pub(super) fn abs(self) -> Interval {
        if self.lo <= 0.0 && self.hi >= 0.0 {
            return Interval { lo: 0.0, hi: self.magnitude() };
        }
        Interval::new(self.lo.abs(), self.hi.abs())
    }

    pub(super) fn squared(self) -> Interval {
        self.abs().rising(|v| v * v)
    }
}

/// `LO:HI`.
impl FromStr for Interval {
    type Err = String;

    fn from_str(text: &str) -> Result<Interval, String> {
        let number = |text: &str| {
            let value: Option<f64> = text.trim().parse().ok();
            value.filter(|v| !v.is_nan()).ok_or_else(|| format!("`{text}` is no number"))
        };
        let (lo, hi) = text.split_once(':').ok_or("expected LO:HI, such as -1:1")?;
        let (lo, hi) = (number(lo)?, number(hi)?);
        if lo > hi {
            return Err(format!("{lo} is above {hi}"));
        }
        Ok(Interval { lo, hi })
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.lo, self.hi)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(lo: f64, hi: f64) -> Interval {
        Interval::new(lo, hi)
    }

    #[test]
    fn arithmetic_holds_every_pair() {
        assert_eq!(of(-1.0, 2.0).times(of(-3.0, 5.0)), of(-6.0, 10.0));
        assert_eq!(of(0.0, 0.0).times(Interval::ALL), Interval::ZERO);
        assert_eq!(of(1.0, 2.0).plus(of(-1.0, f64::INFINITY)), of(0.0, f64::INFINITY));
        assert_eq!(of(-3.0, 2.0).squared(), of(0.0, 9.0));
        assert_eq!(of(-3.0, -2.0).squared(), of(4.0, 9.0));
        assert_eq!(of(-4.0, -2.0).inverted(), of(-0.5, -0.25));
        assert_eq!(of(-4.0, 2.0).inverted(), Interval::ALL);
        assert_eq!(of(-4.0, 2.0).negated(), of(-2.0, 4.0));
        // Infinity minus infinity is not known.
        assert_eq!(Interval::ALL.plus(of(f64::INFINITY, f64::INFINITY)), Interval::ALL);
        assert_eq!(Interval::over([]), Interval::ALL);
    }

    #[test]
    fn intervals_are_read_and_refused() {
        assert_eq!("-1:2.5".parse(), Ok(of(-1.0, 2.5)));
        assert_eq!(of(-1.0, 2.5).to_string().parse(), Ok(of(-1.0, 2.5)));
        for (text, message) in [
            ("1", "expected LO:HI, such as -1:1"),
            ("2:1", "2 is above 1"),
            ("a:1", "`a` is no number"),
            ("0:nan", "`nan` is no number"),
        ] {
            assert_eq!(text.parse::<Interval>(), Err(message.to_owned()));
        }
    }
}
