//! The plots: beats in order, each with several wordings.
//!
//! Slots are in braces. `{he}`, `{him}`, `{his}` are the hero's pronouns, `{phe}`, `{phim}`,
//! `{phis}` those of the friend `{pal}`; a capital letter makes the word begin a sentence.

/// Wordings of one beat, any of which will do.
type Beat = &'static [&'static str];

pub(super) struct Plot {
    pub beats: &'static [Beat],
}

pub(super) const OPENINGS: Beat = &[
    "Once upon a time, there was {a_hero} named {hero}. {He} lived {place}.",
    "There once was {a_hero} called {hero} who lived {place}.",
    "{hero} was {a_hero}. {He} lived {place}.",
];

pub(super) const HABITS: Beat = &[
    "Every day, {hero} liked to {habit}.",
    "{He} loved to {habit}.",
    "{hero} liked to {habit}, and {he} was always {mood}.",
];

const MORALS_OF_HELP: Beat = &[
    "From that day on, {hero} and {pal} were best friends.",
    "{hero} learned that everything is easier with a friend.",
    "And {hero} knew that good friends always help each other.",
];

const GOOD_NIGHT: Beat = &[
    "That night, {hero} went to bed with a big smile.",
    "{hero} went home and told {his} {elder} all about it.",
    "It was the best day of all, and {hero} never forgot it.",
];

pub(super) const PLOTS: &[Plot] =
    &[LOST, STUCK, AFRAID, BROKEN, SHARING, LEARNING, RESCUE, RAIN, TRUTH, NEIGHBOR, GARDEN, FOUND];

const LOST: Plot = Plot {
    beats: &[
        &[
            "{day}, {hero} could not find {his} {color_toy}.",
            "{day}, {hero} wanted to play with {his} {color_toy}, but it was gone.",
        ],
        &[
            "{He} looked {other_spot}, but the {toy} was not there.",
            "{He} searched {other_spot}, but {he} did not see the {toy}.",
        ],
        &["{hero} was very sad and began to cry.", "{hero} sat down and felt very sad."],
        &[
            "Then {pal} the {pal_kind} came by. \"Why are you sad?\" asked {pal}. \"I lost my {toy},\" said {hero}.",
            "{His} friend {pal} the {pal_kind} saw {him}. \"What is wrong?\" asked {pal}. \"My {toy} is lost,\" said {hero}.",
        ],
        &[
            "\"Do not worry, I will help you,\" said {pal}. They looked everywhere together.",
            "\"Let us look together,\" said {pal}. So they looked high and low.",
        ],
        &[
            "At last, {pal} found the {toy} {spot}. \"Here it is!\" {phe} said.",
            "Soon they saw something {spot}. It was the {color_toy}!",
        ],
        &[
            "{hero} was so {mood} that {he} gave {pal} a big hug.",
            "\"Thank you, {pal}!\" said {hero}, and {he} was {mood} again.",
        ],
        MORALS_OF_HELP,
    ],
};

const STUCK: Plot = Plot {
    beats: &[
        &[
            "{day}, {hero} got {a_toy} from {his} {elder}.",
            "{day}, {his} {elder} gave {hero} {a_toy}.",
        ],
        &[
            "{hero} threw it up into the air, but it got stuck in a tall tree.",
            "{He} played with it all day, but then it landed high up in a tree.",
        ],
        &[
            "{He} jumped and jumped, but the {toy} was too high.",
            "{He} tried to reach the {toy}, but {he} was too small.",
        ],
        &[
            "{pal} the {pal_kind} walked by. \"Can you help me?\" asked {hero}. \"My {toy} is in the tree.\"",
            "Then {he} saw {pal} the {pal_kind}. \"Please help me get my {toy},\" said {hero}.",
        ],
        &[
            "{pal} had a good idea. {Phe} found a long stick and gave the branch a push.",
            "{pal} thought for a while. Then {phe} stood on a big stone and shook the branch.",
        ],
        &[
            "Down came the {toy}! It fell right into the arms of {hero}.",
            "The {toy} fell down, and {hero} caught it. \"Hooray!\" they shouted.",
        ],
        &[
            "They played with the {color_toy} until the sun went down.",
            "{hero} let {pal} play with the {color_toy} too.",
        ],
        MORALS_OF_HELP,
    ],
};

const AFRAID: Plot = Plot {
    beats: &[
        &[
            "But {hero} was afraid of {fear}.",
            "There was only one problem. {hero} was scared of {fear}.",
        ],
        &[
            "{day}, {he} had to face {fear}, and {he} did not know what to do.",
            "{day}, {he} hid {spot} because of {fear}.",
        ],
        &[
            "{His} friend {pal} the {pal_kind} came to see {him}. \"Why do you shake?\" asked {pal}.",
            "{pal} the {pal_kind} found {him} and asked, \"What is the matter?\"",
        ],
        &[
            "\"I am scared of {fear},\" said {hero} in a small voice.",
            "\"I am afraid of {fear},\" said {hero}, and {he} looked at the ground.",
        ],
        &[
            "\"I was scared too,\" said {pal}. \"All you need is {against}.\"",
            "\"It is fine to be scared,\" said {pal}. \"I know what helps. You need {against}.\"",
        ],
        &[
            "{hero} took a deep breath and tried it. It was not so bad after all!",
            "So {hero} tried it with {pal} by {his} side, and slowly the fear went away.",
        ],
        &[
            "\"I did it!\" said {hero}. {He} was very {mood}.",
            "\"Look at me, I am brave!\" said {hero}, and {pal} clapped.",
        ],
        &[
            "After that, {hero} was never afraid of {fear} again.",
            "{hero} learned that being brave means to try even when you are scared.",
        ],
    ],
};

const BROKEN: Plot = Plot {
    beats: &[
        &["{hero} had {a_toy}. It was {his} favorite toy.", "{His} favorite toy was {a_toy}."],
        &[
            "{day}, the {toy} fell down and the {toy_part} broke.",
            "{day}, {he} played too hard, and the {toy_part} of the {toy} broke.",
        ],
        &[
            "\"Oh no!\" said {hero}. \"Now I can not play with it.\"",
            "{hero} was sad. \"My poor {toy},\" {he} said.",
        ],
        &[
            "{He} took the {toy} to {pal} the {pal_kind}. {pal} was very good at fixing things.",
            "{He} went to {pal} the {pal_kind}, who could fix almost anything.",
        ],
        &[
            "\"We can fix it,\" said {pal}. \"We need some glue and a little time.\"",
            "{pal} looked at the {toy_part}. \"This is not hard to fix,\" {phe} said.",
        ],
        &[
            "They worked together all afternoon, and {hero} held the {toy_part} very still.",
            "{hero} held the {toy}, and {pal} put the {toy_part} back in its place.",
        ],
        &[
            "Soon the {toy} was as good as new. {hero} was very {mood}.",
            "When they were done, the {color_toy} looked even better than before.",
        ],
        MORALS_OF_HELP,
    ],
};

const SHARING: Plot = Plot {
    beats: &[
        &[
            "{day}, {his} {elder} gave {him} {a_food}. It smelled very good.",
            "{day}, {hero} had {a_food} for lunch. It looked very tasty.",
        ],
        &[
            "{He} sat down {spot} and wanted to eat it.",
            "{He} wanted to eat it all by {him}self. Oh, how sweet it would be!",
            "{He} was about to take the first bite.",
        ],
        &[
            "Then {pal} the {pal_kind} came along. {Phe} looked very hungry.",
            "Just then, {he} saw {pal} the {pal_kind}, who had nothing to eat.",
        ],
        &[
            "\"I have not had any food today,\" said {pal}.",
            "\"That {food} smells so good,\" said {pal} in a quiet voice.",
        ],
        &[
            "{hero} thought for a moment. {He} had only one {food}.",
            "{hero} looked at the {food} and then at {pal}.",
        ],
        &[
            "Then {he} cut the {food} in two. \"Half is for you and half is for me,\" {he} said.",
            "\"Let us share,\" said {hero}, and {he} gave {pal} one half of the {food}.",
        ],
        &[
            "They ate together and laughed. The {food} was sweeter than ever.",
            "{pal} was so {mood}! They ate the {food} and told each other jokes.",
        ],
        &[
            "The next day, {pal} came back with a whole basket of food to share.",
            "{hero} learned that sharing makes everything taste better.",
            "From then on, {hero} and {pal} always shared their lunch.",
        ],
    ],
};

const LEARNING: Plot = Plot {
    beats: &[
        &[
            "More than anything, {hero} wanted to learn to {skill}.",
            "But {hero} did not know how to {skill}, and {he} wished to learn it.",
        ],
        &[
            "{day}, {he} tried to {skill}, but it did not work at all.",
            "{day}, {he} tried it for the first time, but it went all wrong.",
        ],
        &[
            "\"I will never learn to {skill},\" said {hero}.",
            "\"This is too hard,\" said {hero}, and {he} wanted to give up.",
        ],
        &[
            "{pal} the {pal_kind} heard {him}. \"I can show you how,\" {phe} said.",
            "{His} friend {pal} the {pal_kind} smiled. \"I could not do it at first,\" {phe} said. \"Just try again.\"",
        ],
        &[
            "So they practiced every day {there}.",
            "They met {there} each day and practiced together.",
        ],
        &[
            "On the first day, {hero} failed. On the second day, it was a little better.",
            "{hero} made many mistakes, but {pal} was very patient.",
        ],
        &[
            "And on the third day, {hero} could {skill}! \"I can do it!\" {he} shouted.",
            "Then, at last, it worked. \"Look, I can {skill}!\" said {hero}.",
        ],
        &[
            "{pal} was very proud of {him}. \"You did not give up,\" {phe} said.",
            "{hero} learned that you can do hard things if you keep trying.",
        ],
    ],
};

const RESCUE: Plot = Plot {
    beats: &[
        &[
            "{day}, {hero} heard a small voice. \"Help, help!\" it called.",
            "{day}, {hero} was walking {there} when {he} heard somebody cry for help.",
        ],
        &[
            "It was a little {small_animal} that was {trap}.",
            "{He} looked around and saw a tiny {small_animal} that was {trap}.",
        ],
        &[
            "\"Do not be afraid,\" said {hero}. \"I will help you.\"",
            "\"Stay calm, little {small_animal},\" said {hero}.",
        ],
        &[
            "{He} tried alone, but {he} was not strong enough. So {he} called {pal} the {pal_kind}.",
            "{He} ran as fast as {he} could to get {pal} the {pal_kind}.",
        ],
        &[
            "Together they were very careful, and soon the {small_animal} was free.",
            "{hero} and {pal} worked together until the {small_animal} was safe.",
        ],
        &[
            "\"Thank you, thank you!\" said the {small_animal}. \"You are so kind.\"",
            "The {small_animal} was very {mood}. \"You saved me!\" it said.",
        ],
        &[
            "A week later, {hero} lost {his} way, and the {small_animal} showed {him} the way home.",
            "The next day, the {small_animal} came back and brought them {a_food}.",
        ],
        &[
            "{hero} learned that a kind deed always comes back.",
            "From then on, {hero}, {pal} and the {small_animal} were good friends.",
        ],
    ],
};

const RAIN: Plot = Plot {
    beats: &[
        &[
            "{day}, {hero} and {his} friend {pal} the {pal_kind} planned a picnic {there}.",
            "{day}, {hero} asked {pal} the {pal_kind} to come to a picnic {there}.",
        ],
        &[
            "{hero} brought {a_food}, and {pal} brought a blanket.",
            "They packed a basket, and {pal} put {a_food} on top.",
        ],
        &[
            "But as soon as they sat down, big drops of rain began to fall.",
            "But then dark clouds came, and it started to rain.",
        ],
        &[
            "\"Oh no, our picnic!\" said {hero}. \"Everything will be wet.\"",
            "\"What can we do now?\" asked {hero}. {He} was very sad.",
        ],
        &[
            "\"I know a place,\" said {pal}, and {phe} led the way to {shelter}.",
            "{pal} pointed to {shelter}. \"Quick, let us run over there!\" {phe} said.",
        ],
        &[
            "Inside, it was warm and dry. They ate the {food} and played {game}.",
            "There they sat and listened to the rain. They shared the {food} and played {game}.",
        ],
        &[
            "When the rain stopped, they saw a beautiful rainbow.",
            "After an hour the sun came out, and a rainbow was in the sky.",
        ],
        GOOD_NIGHT,
    ],
};

const TRUTH: Plot = Plot {
    beats: &[
        &[
            "{day}, {hero} played with {a_toy} in the house.",
            "{day}, {hero} ran around in the house with {his} {color_toy}.",
        ],
        &[
            "The {toy} hit the {pot} of {his} {elder}, and the {pot} broke.",
            "{He} was not careful, and the {toy} hit the {pot}. Crash! The {pot} broke.",
        ],
        &[
            "{hero} was scared. {He} wanted to hide {spot}.",
            "\"Oh no,\" said {hero}. {He} ran away and hid {spot}.",
        ],
        &[
            "{His} friend {pal} the {pal_kind} saw it all. \"You should tell the truth,\" said {pal}.",
            "\"What should I do?\" {he} asked {pal} the {pal_kind}. \"Tell the truth,\" said {pal}.",
        ],
        &[
            "So {hero} went to {his} {elder}. \"I broke the {pot},\" {he} said. \"I am very sorry.\"",
            "{hero} took a deep breath and said to {his} {elder}, \"It was me who broke the {pot}. I am sorry.\"",
        ],
        &[
            "{His} {elder} was not angry. \"Thank you for telling me the truth,\" came the answer.",
            "{His} {elder} gave {him} a hug and said, \"I am glad that you told me.\"",
        ],
        &[
            "Together they cleaned up and fixed the {pot}.",
            "Then they picked up the pieces together.",
        ],
        &[
            "{hero} felt much better. {He} learned that it is always best to tell the truth.",
            "From that day on, {hero} was more careful and always told the truth.",
        ],
    ],
};

const NEIGHBOR: Plot = Plot {
    beats: &[
        &[
            "{day}, somebody new came to live next door. It was {a_pal} named {pal}.",
            "{day}, {hero} saw somebody new {there}. It was {pal} the {pal_kind}.",
        ],
        &[
            "{pal} was very shy and did not speak to anybody.",
            "{pal} sat all alone {spot} and looked sad.",
        ],
        &[
            "\"Hello, I am {hero},\" said {hero}. But {pal} said nothing.",
            "{hero} waved at {phim}, but {pal} looked away.",
        ],
        &[
            "{hero} did not know what to do, so {he} asked {his} {elder}. \"Be kind and give it time,\" was the answer.",
            "\"Maybe {phe} needs a friend,\" said {his} {elder}.",
        ],
        &[
            "The next day, {hero} brought {pal} {a_food}. \"This is for you,\" {he} said.",
            "So {hero} took {a_toy} and asked, \"Do you want to play with me?\"",
        ],
        &[
            "{pal} smiled for the first time. \"Thank you,\" {phe} said. \"Nobody was ever so nice to me.\"",
            "A big smile came to the face of {pal}. \"I would like that,\" {phe} said.",
        ],
        &[
            "They played {game} until it was dark.",
            "All afternoon they played {game} and laughed a lot.",
        ],
        &[
            "Now {pal} was not alone anymore, and {hero} had a new friend.",
            "{hero} learned that a little kindness can make a new friend.",
        ],
    ],
};

const GARDEN: Plot = Plot {
    beats: &[
        &[
            "{day}, {his} {elder} gave {him} a tiny seed. \"Put it in the ground and wait,\" were the words.",
            "{day}, {hero} found a tiny seed {spot}.",
        ],
        &[
            "{hero} put the seed in the ground and gave it water.",
            "{He} dug a small hole, put the seed in, and gave it some water.",
        ],
        &[
            "{He} waited one day and two days, but nothing came up.",
            "Every morning {he} ran out to look, but there was nothing to see.",
        ],
        &[
            "\"My seed does not grow,\" {he} said to {pal} the {pal_kind}.",
            "{hero} was sad and told {pal} the {pal_kind} about it.",
        ],
        &[
            "\"Good things need time,\" said {pal}. \"Give it water and sun, and wait.\"",
            "\"You must be patient,\" said {pal}. \"I will help you with the water.\"",
        ],
        &[
            "So they gave it water every day. One morning, they saw a small green leaf.",
            "They took care of it together, and after a week a little green leaf came up.",
        ],
        &[
            "It grew and grew until it was a big {plant}.",
            "The leaf became a fine {plant}, taller than {hero}.",
        ],
        &[
            "{hero} was very {mood}. {He} learned that it is good to be patient.",
            "\"It was worth the wait,\" said {hero}, and {he} danced around the {plant}.",
        ],
    ],
};

const FOUND: Plot = Plot {
    beats: &[
        &[
            "{day}, {hero} found {a_toy} {spot}.",
            "{day}, {hero} saw something {spot}. It was {a_toy}!",
        ],
        &[
            "It was so pretty that {he} wanted to keep it.",
            "\"How nice!\" {he} said. \"I want to keep it.\"",
        ],
        &[
            "{He} played with the {toy} all morning.",
            "{He} took the {toy} home and played with it.",
        ],
        &[
            "Later, {he} met {pal} the {pal_kind}, who was crying. \"I lost my {color_toy},\" said {pal}.",
            "Then {pal} the {pal_kind} came by with tears in {phis} eyes. \"Have you seen my {color_toy}?\" {phe} asked.",
        ],
        &[
            "{hero} felt bad. {He} liked the {toy} very much, but it was not {his} own.",
            "{hero} was quiet for a while. {He} knew what was right.",
        ],
        &[
            "\"I found it {spot},\" said {hero}. \"Here, it belongs to you.\"",
            "{He} ran home and got the {toy}. \"Here it is,\" {he} said to {pal}.",
        ],
        &[
            "{pal} was so {mood}! \"Thank you, {hero}! You are a true friend.\"",
            "\"Oh, thank you!\" said {pal}, and {phe} gave {hero} a hug.",
        ],
        &[
            "\"We can play with it together,\" said {pal}. And so they did, day after day.",
            "{hero} learned that a good friend is worth more than any toy.",
        ],
    ],
};
