//! The people, places and things of the stories.

/// Somebody who can be a hero or a friend.
#[derive(Clone, Copy)]
pub(super) struct Hero {
    pub name: &'static str,
    pub kind: &'static str,
    /// "She" rather than "he".
    pub she: bool,
}

const fn he(name: &'static str, kind: &'static str) -> Hero {
    Hero { name, kind, she: false }
}

const fn she(name: &'static str, kind: &'static str) -> Hero {
    Hero { name, kind, she: true }
}

/// One kind for each name, so that a name says what its owner is.
pub(super) const HEROES: &[Hero] = &[
    he("Ben", "boy"),
    he("Tim", "boy"),
    he("Sam", "boy"),
    he("Leo", "boy"),
    she("Mia", "girl"),
    she("Anna", "girl"),
    she("Lily", "girl"),
    she("Zoe", "girl"),
    he("Max", "dog"),
    she("Ruby", "dog"),
    he("Tom", "cat"),
    she("Luna", "cat"),
    he("Finn", "fox"),
    she("Rose", "fox"),
    he("Bruno", "bear"),
    she("Nora", "bear"),
    he("Hugo", "rabbit"),
    she("Daisy", "rabbit"),
    he("Pip", "mouse"),
    she("Molly", "mouse"),
    he("Otto", "duck"),
    she("Emma", "duck"),
    he("Theo", "turtle"),
    she("Pearl", "turtle"),
    he("Fred", "frog"),
    she("Lola", "frog"),
    he("Gus", "squirrel"),
    she("Hazel", "squirrel"),
];

pub(super) const SIZES: &[&str] =
    &["little", "small", "young", "happy", "kind", "brave", "curious", "shy", "clever", "gentle"];

/// Where the hero lives, and what it is called later on.
pub(super) const PLACES: &[(&str, &str)] = &[
    ("in a small house near the forest", "in the forest"),
    ("in a quiet village", "in the village"),
    ("on a green hill", "on the hill"),
    ("by a blue lake", "by the lake"),
    ("on a big farm", "on the farm"),
    ("near a wide river", "by the river"),
    ("at the edge of a park", "in the park"),
    ("close to the sea", "on the beach"),
    ("next to a large garden", "in the garden"),
    ("in a warm valley", "in the valley"),
];

/// Something to play with, and the part of it that can break.
#[derive(Clone, Copy)]
pub(super) struct Thing {
    pub noun: &'static str,
    pub part: &'static str,
}

const fn thing(noun: &'static str, part: &'static str) -> Thing {
    Thing { noun, part }
}

pub(super) const TOYS: &[Thing] = &[
    thing("kite", "string"),
    thing("boat", "sail"),
    thing("car", "wheel"),
    thing("drum", "stick"),
    thing("train", "wheel"),
    thing("doll", "arm"),
    thing("wagon", "wheel"),
    thing("robot", "arm"),
    thing("plane", "wing"),
    thing("puppet", "string"),
    thing("truck", "door"),
    thing("lamp", "handle"),
];

pub(super) const COLORS: &[&str] =
    &["red", "blue", "green", "yellow", "orange", "purple", "white", "golden"];

pub(super) const FOODS: &[&str] =
    &["apple", "pear", "carrot", "cookie", "cake", "sandwich", "muffin", "peach", "banana", "pie"];

/// What the hero is afraid of, and what helps against it.
pub(super) const FEARS: &[(&str, &str)] = &[
    ("the dark", "a small lamp"),
    ("the thunder", "a happy song"),
    ("the deep water", "a safe rope"),
    ("the big bridge", "a warm hand to hold"),
    ("the loud wind", "a soft blanket"),
    ("the tall stairs", "a slow and careful step"),
];

pub(super) const SPOTS: &[&str] = &[
    "under the bed",
    "behind the door",
    "in the tall grass",
    "under a big leaf",
    "next to the well",
    "behind the old tree",
    "in a basket",
    "near the gate",
    "on the roof",
    "under the bench",
];

pub(super) const HABITS: &[&str] = &[
    "play in the sun",
    "look at the clouds",
    "pick flowers",
    "run very fast",
    "sing funny songs",
    "count the stars",
    "draw pictures",
    "jump over stones",
    "listen to the birds",
    "help in the kitchen",
    "read old books",
    "build towers of sand",
];

pub(super) const MOODS: &[&str] = &["happy", "proud", "glad", "cheerful", "excited"];

pub(super) const DAYS: &[&str] = &[
    "One day",
    "One morning",
    "One sunny day",
    "One cold day",
    "One evening",
    "One afternoon",
    "One windy day",
    "One summer day",
];

pub(super) const SKILLS: &[&str] = &[
    "swim",
    "whistle",
    "dance",
    "climb a tree",
    "ride a bike",
    "skate",
    "paint a horse",
    "bake bread",
    "tie a knot",
    "play the flute",
];

pub(super) const SMALL_ANIMALS: &[&str] =
    &["bird", "bee", "butterfly", "kitten", "snail", "puppy", "beetle", "hedgehog"];

pub(super) const TRAPS: &[&str] = &[
    "stuck in the mud",
    "caught in a net",
    "stuck in a bush",
    "caught under a branch",
    "lost in the fog",
    "stuck in a deep hole",
];

pub(super) const PLANTS: &[&str] =
    &["sunflower", "pumpkin", "rose bush", "tomato plant", "bean plant", "cherry tree"];

pub(super) const ELDERS: &[&str] = &["mother", "father", "grandmother", "grandfather", "aunt"];

pub(super) const POTS: &[&str] = &["cup", "plate", "vase", "bowl", "window", "clock"];

pub(super) const SHELTERS: &[&str] =
    &["an old barn", "a dry cave", "a big tent", "a little hut", "a hollow tree"];

pub(super) const GAMES: &[&str] =
    &["hide and seek", "catch", "a guessing game", "a memory game", "tag", "a jumping game"];
