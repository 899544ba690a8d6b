//! Short stories for children from a seeded grammar: training data that needs no download.
//!
//! A story has a hero, a friend, a place, a want, a problem, a way out and often a moral. Its plot
//! is a list of beats; every beat has several wordings, and every wording has slots for the
//! people and things of the story, which stay the same from beginning to end. Text is fluent,
//! with few bits of choice per word, so that a small model learns it within minutes, while the
//! choices multiply to far more stories than any run can read.

mod plots;
mod words;

use crate::rng::Rng;
use words::{Hero, Thing};

/// Which stories: the two parts draw from different random numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Stories to train on.
    Training,
    /// Stories to evaluate on.
    Validation,
}

/// An endless stream of stories; see also [`Stories::story`].
#[derive(Clone, Debug)]
pub struct Stories {
    root: Rng,
    next: u64,
}

impl Stories {
    /// The stories of a seed.
    pub fn new(seed: u64, part: Part) -> Self {
        let label = match part {
            Part::Training => "stories to train on",
            Part::Validation => "stories to evaluate on",
        };
        Self { root: Rng::new(seed).fork(label), next: 0 }
    }

    /// Story `index`, without making those before it.
    pub fn story(&self, index: u64) -> String {
        tell(&mut Rng::new(Rng::at(self.root.seed(), index).next_u64()))
    }
}

impl Iterator for Stories {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        let story = self.story(self.next);
        self.next = self.next.wrapping_add(1);
        Some(story)
    }
}

/// The names of a story's slots and what they stand for.
type Slots = Vec<(&'static str, String)>;

fn tell(rng: &mut Rng) -> String {
    let slots = cast(rng);
    let plot = rng.pick(plots::PLOTS);
    let beats = [plots::OPENINGS, plots::HABITS].into_iter().chain(plot.beats.iter().copied());
    let mut story = String::new();
    for beat in beats {
        if !story.is_empty() {
            story.push(' ');
        }
        fill(rng.pick::<&str>(beat), &slots, &mut story);
    }
    story
}

/// Draws everybody and everything that a plot may mention.
fn cast(rng: &mut Rng) -> Slots {
    let hero = *rng.pick(words::HEROES);
    let mut friend = *rng.pick(words::HEROES);
    // Friends are animals: "{pal} the {pal_kind}" would not do for a girl.
    while friend.kind == hero.kind || ["boy", "girl"].contains(&friend.kind) {
        friend = *rng.pick(words::HEROES);
    }
    let (place, there) = *rng.pick(words::PLACES);
    let toy: Thing = *rng.pick(words::TOYS);
    let color = *rng.pick(words::COLORS);
    let food = *rng.pick(words::FOODS);
    let (fear, against) = *rng.pick(words::FEARS);
    let spot = *rng.pick(words::SPOTS);
    let mut other_spot = *rng.pick(words::SPOTS);
    while other_spot == spot {
        other_spot = *rng.pick(words::SPOTS);
    }
    let adjective = *rng.pick(words::SIZES);
    let mut slots = vec![
        ("a_hero", with_article(&format!("{adjective} {}", hero.kind))),
        ("place", place.to_owned()),
        ("there", there.to_owned()),
        ("toy", toy.noun.to_owned()),
        ("a_toy", with_article(&format!("{color} {}", toy.noun))),
        ("color_toy", format!("{color} {}", toy.noun)),
        ("toy_part", toy.part.to_owned()),
        ("food", food.to_owned()),
        ("a_food", with_article(food)),
        ("fear", fear.to_owned()),
        ("against", against.to_owned()),
        ("spot", spot.to_owned()),
        ("other_spot", other_spot.to_owned()),
    ];
    for (name, choices) in [
        ("habit", words::HABITS),
        ("mood", words::MOODS),
        ("day", words::DAYS),
        ("skill", words::SKILLS),
        ("small_animal", words::SMALL_ANIMALS),
        ("trap", words::TRAPS),
        ("plant", words::PLANTS),
        ("elder", words::ELDERS),
        ("pot", words::POTS),
        ("shelter", words::SHELTERS),
        ("game", words::GAMES),
    ] {
        slots.push((name, (*rng.pick(choices)).to_owned()));
    }
    person(&mut slots, ["hero", "kind", "he", "him", "his", "He", "His"], hero);
    person(&mut slots, ["pal", "pal_kind", "phe", "phim", "phis", "Phe", "Phis"], friend);
    slots.push(("a_pal", with_article(friend.kind)));
    slots
}

fn person(slots: &mut Slots, names: [&'static str; 7], hero: Hero) {
    let [he, him, his] = if hero.she { ["she", "her", "her"] } else { ["he", "him", "his"] };
    let values = [
        hero.name.to_owned(),
        hero.kind.to_owned(),
        he.to_owned(),
        him.to_owned(),
        his.to_owned(),
        capitalized(he),
        capitalized(his),
    ];
    slots.extend(names.into_iter().zip(values));
}

fn with_article(words: &str) -> String {
    let vowel = words.starts_with(['a', 'e', 'i', 'o', 'u']);
    format!("{} {words}", if vowel { "an" } else { "a" })
}

fn capitalized(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_uppercase().collect::<String>() + letters.as_str()
    })
}

/// Appends a wording, with every `{slot}` replaced.
fn fill(wording: &str, slots: &Slots, story: &mut String) {
    let mut rest = wording;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, after) = after.split_once('}').expect("braces of wordings are in pairs");
        let value = slots.iter().find(|(slot, _)| *slot == name).map(|(_, value)| value);
        story.push_str(before);
        story.push_str(value.expect("wordings name slots that every story has"));
        rest = after;
    }
    story.push_str(rest);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeSet, HashSet};

    fn stories(count: usize) -> Vec<String> {
        Stories::new(1, Part::Training).take(count).collect()
    }

    #[test]
    fn every_wording_of_every_plot_can_be_filled() {
        let slots = cast(&mut Rng::new(0));
        let beats = plots::PLOTS.iter().flat_map(|plot| plot.beats.iter().copied());
        for beat in beats.chain([plots::OPENINGS, plots::HABITS]) {
            assert!(beat.len() >= 2, "{beat:?}");
            for wording in beat {
                let mut text = String::new();
                fill(wording, &slots, &mut text);
                assert!(text.ends_with(['.', '!', '?', '"']), "{text}");
                assert!(!text.contains(['{', '}']), "{text}");
            }
        }
    }

    #[test]
    fn lengths_are_those_of_short_stories() {
        for story in stories(3000) {
            let words = story.split_whitespace().count();
            assert!((60..=150).contains(&words), "{words} words: {story}");
        }
    }

    #[test]
    fn text_is_plain_and_clean() {
        for story in stories(3000) {
            assert!(story.is_ascii() && !story.contains("  "), "{story}");
            assert!(story.matches('"').count().is_multiple_of(2), "{story}");
            for bad in
                [" a a", " a e", " a i", " a o", " an b", " an c", " an s", " an t", " the the "]
            {
                assert!(!story.contains(bad), "{bad:?} in {story}");
            }
            // A sentence begins with a capital letter.
            for (index, _) in story.match_indices(". ") {
                let next = story[index + 2..].trim_start_matches('"');
                assert!(next.starts_with(|c: char| c.is_ascii_uppercase()), "{story}");
            }
        }
    }

    #[test]
    fn the_same_seed_tells_the_same_stories() {
        let stream = Stories::new(9, Part::Training);
        let first: Vec<String> = stream.clone().take(20).collect();
        assert_eq!(first, Stories::new(9, Part::Training).take(20).collect::<Vec<_>>());
        assert_eq!(first[13], stream.story(13));
        assert_ne!(first, Stories::new(10, Part::Training).take(20).collect::<Vec<_>>());
    }

    #[test]
    fn stories_differ_and_validation_is_new() {
        let training: HashSet<String> = stories(20_000).into_iter().collect();
        assert!(training.len() > 19_990, "{}", training.len());
        let seen = Stories::new(1, Part::Validation)
            .take(1000)
            .filter(|story| training.contains(story))
            .count();
        assert_eq!(seen, 0);
    }

    #[test]
    fn names_stay_with_their_pronouns() {
        let unknown: BTreeSet<&str> = words::HEROES
            .iter()
            .filter(|hero| hero.kind == "boy" && hero.she || hero.kind == "girl" && !hero.she)
            .map(|hero| hero.name)
            .collect();
        assert!(unknown.is_empty(), "{unknown:?}");
        let names: HashSet<&str> = words::HEROES.iter().map(|hero| hero.name).collect();
        assert_eq!(names.len(), words::HEROES.len());
    }
}
