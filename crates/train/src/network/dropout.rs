//! What dropout leaves of the inputs of an adapter.

use crate::Error;
use crate::rng::Rng;
use surface::Surface;

/// The inputs `kept` of all layers: 0 for what is left out, 1/(1 − p) for what is kept, so that
/// sums keep their mean.
pub(super) struct Dropout {
    probability: f64,
    surfaces: Vec<Surface>,
    /// Whether all are 1.
    off: bool,
}

impl Dropout {
    /// Nothing yet to draw.
    pub fn new(probability: f64) -> Dropout {
        Dropout { probability, surfaces: vec![], off: false }
    }

    /// Adds an input.
    pub fn add(&mut self, surface: &Surface) {
        self.surfaces.push(surface.clone());
    }

    /// Draws all inputs, or keeps everything.
    pub fn draw(&mut self, random: Option<&Rng>) -> Result<(), Error> {
        if random.is_none() && self.off {
            return Ok(());
        }
        for (index, surface) in self.surfaces.iter().enumerate() {
            let mut kept = surface.write()?;
            let kept = kept.as_mut_slice::<f32>();
            match random {
                None => kept.fill(1.0),
                Some(random) => {
                    let mut random = random.fork(&index.to_string());
                    fill(kept, self.probability, || random.next_u64());
                }
            }
        }
        self.off = random.is_none();
        Ok(())
    }
}

/// Draws four elements from each 64 bits: probabilities are multiples of 2⁻¹⁶.
fn fill(kept: &mut [f32], probability: f64, mut bits: impl FnMut() -> u64) {
    let limit = (probability * 65_536.0).round() as u64;
    let scale = (1.0 / (1.0 - probability)) as f32;
    for four in kept.chunks_mut(4) {
        let mut bits = bits();
        for kept in four {
            *kept = if bits & 0xffff < limit { 0.0 } else { scale };
            bits >>= 16;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_that_is_left_out_is_the_probability_and_the_mean_stays() {
        let mut random = Rng::new(9);
        let mut kept = vec![f32::NAN; 100_003];
        fill(&mut kept, 0.25, || random.next_u64());
        let zeros = kept.iter().filter(|&&k| k == 0.0).count() as f64 / kept.len() as f64;
        // Four standard deviations of a binomial share are 0.0055.
        assert!((zeros - 0.25).abs() < 0.0055, "{zeros}");
        assert!(kept.iter().all(|&k| k == 0.0 || k == 1.0 / 0.75));
    }

    #[test]
    fn drawing_depends_on_the_generator_only_and_can_be_switched_off() {
        let surfaces = [Surface::new(4 * 64).unwrap(), Surface::new(4 * 64).unwrap()];
        let mut dropout = Dropout::new(0.5);
        surfaces.iter().for_each(|surface| dropout.add(surface));
        let read = || surfaces.each_ref().map(|s| s.read().unwrap().as_slice::<f32>().to_vec());
        dropout.draw(Some(&Rng::new(1))).unwrap();
        let first = read();
        assert_ne!(first[0], first[1]);
        dropout.draw(Some(&Rng::new(2))).unwrap();
        assert_ne!(read(), first);
        dropout.draw(None).unwrap();
        assert!(read().iter().flatten().all(|&kept| kept == 1.0));
        dropout.draw(Some(&Rng::new(1))).unwrap();
        assert_eq!(read(), first);
    }
}
