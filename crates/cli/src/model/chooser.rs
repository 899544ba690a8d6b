//! Which token comes next.

use generate::Sampler;
#[cfg(test)]
use generate::Sampling;
use train::vocabulary::IdSet;

/// Chooses tokens among those that the model has been trained on.
pub struct Chooser<'a> {
    sampler: Sampler,
    /// The tokens whose rows have been trained, if not all have been.
    trained: Option<&'a IdSet>,
    scores: Vec<f32>,
}

impl<'a> Chooser<'a> {
    /// A chooser; without a set, all tokens have been trained on.
    pub fn new(sampler: Sampler, trained: Option<&'a IdSet>) -> Chooser<'a> {
        Chooser { sampler, trained, scores: vec![] }
    }

    /// Begins a text with a prompt, which the repetition penalty takes note of.
    pub fn begin(&mut self, prompt: &[u32]) {
        self.sampler.clear();
        self.sampler.see(prompt);
    }

    /// The next token.
    pub fn choose(&mut self, scores: &[f32]) -> u32 {
        let Some(trained) = self.trained else { return self.sampler.choose(scores) };
        // The scores of the others were never trained to be low.
        self.scores.clear();
        let allowed = |(id, &score)| if trained.contains(id) { score } else { f32::NEG_INFINITY };
        self.scores.extend((0..).zip(scores).map(allowed));
        self.sampler.choose(&self.scores)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_that_were_not_trained_are_never_chosen() {
        let trained = IdSet::from_ascending([1, 3]);
        let scores = [9.0, 0.0, 8.0, 0.5, 7.0];
        for temperature in [0.0, 1.0] {
            let sampler =
                Sampler::new(Sampling { temperature, seed: 3, ..Sampling::default() }).unwrap();
            let mut all = Chooser::new(sampler.clone(), None);
            let mut some = Chooser::new(sampler, Some(&trained));
            let mut chosen: Vec<u32> = (0..200).map(|_| some.choose(&scores)).collect();
            chosen.sort_unstable();
            chosen.dedup();
            assert_eq!(chosen, if temperature == 0.0 { vec![3] } else { vec![1, 3] });
            assert!((0..200).any(|_| all.choose(&scores) == 0));
        }
    }
}
