//! Samples for training: a text, and which of its tokens are answers.

use super::{ChatTemplate, Error, Message};
use crate::Tokenizer;
use std::ops::Range;

/// Tokens, and for each whether it is of an answer. The slices have one length.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// The tokens.
    pub tokens: Vec<u32>,
    /// Whether the loss counts how well each is predicted.
    pub counted: Vec<bool>,
}

/// A conversation as samples of which the assistant's answers count, with the marks that end them:
/// one sample, or one for each answer, where the template writes an answer in another way once
/// others follow (as those do that leave out what was thought).
///
/// # Errors
/// If the template refuses the messages, or writes an answer that does not begin where it lets the
/// assistant speak.
pub fn encode_chat(
    template: &ChatTemplate,
    tokenizer: &Tokenizer,
    messages: &[Message],
) -> Result<Vec<Sample>, Error> {
    let answers = (0..messages.len()).filter(|&i| messages[i].role == "assistant");
    let mut turns = vec![];
    for index in answers {
        let before = template.render(&messages[..index], true)?;
        let after = template.render(&messages[..=index], false)?;
        if !after.starts_with(&before) {
            let reason =
                "it writes an answer that does not begin where it lets the assistant speak";
            return Err(Error::Template(reason.to_owned()));
        }
        turns.push((before.len(), after));
    }
    let Some((_, whole)) = turns.last() else { return Ok(vec![]) };
    let fits = |(start, after): &(usize, String)| whole.starts_with(after) && *start <= after.len();
    if turns.iter().all(fits) {
        let answers: Vec<Range<usize>> =
            turns.iter().map(|(start, after)| *start..after.len()).collect();
        return Ok(vec![encode(tokenizer, whole, &answers, false)?]);
    }
    let one = |(start, after): &(usize, String)| {
        encode(tokenizer, after, std::slice::from_ref(&(*start..after.len())), false)
    };
    turns.iter().map(one).collect()
}

/// A text and what follows it, which counts, and the token that ends a text.
///
/// # Errors
/// If the tokenizer has no token for a part of the text.
pub fn encode_pair(tokenizer: &Tokenizer, prompt: &str, completion: &str) -> Result<Sample, Error> {
    let text = format!("{prompt}{completion}");
    let mut sample =
        encode(tokenizer, &text, std::slice::from_ref(&(prompt.len()..text.len())), true)?;
    if let Some(end) = tokenizer.end_of_text()
        && sample.tokens.last() != Some(&end)
    {
        sample.tokens.push(end);
        sample.counted.push(true);
    }
    Ok(sample)
}

/// A token counts if it is of an answer at least with its end: one that spans the beginning of an
/// answer is predicted from what stands before it.
fn encode(
    tokenizer: &Tokenizer,
    text: &str,
    answers: &[Range<usize>],
    special: bool,
) -> Result<Sample, Error> {
    let mut sample = Sample::default();
    for (token, place) in tokenizer.encode_places(text, special)? {
        let of_answer = |answer: &Range<usize>| {
            place.end > answer.start && place.end <= answer.end && !place.is_empty()
        };
        sample.tokens.push(token);
        sample.counted.push(answers.iter().any(of_answer));
    }
    Ok(sample)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokenizer() -> Tokenizer {
        let texts = ["<|im_start|>user\nWhat is it?<|im_end|>\n", "a b c d e f"];
        Tokenizer::train(texts.into_iter(), 300).unwrap()
    }

    fn messages() -> Vec<Message> {
        [
            ("user", "What is it?"),
            ("assistant", "A crab 🦀."),
            ("user", "And?"),
            ("assistant", "No."),
        ]
        .map(|(role, content)| Message::new(role, content))
        .to_vec()
    }

    fn counted(tokenizer: &Tokenizer, sample: &Sample) -> String {
        let marked = sample.tokens.iter().zip(&sample.counted).filter(|(_, counted)| **counted);
        tokenizer.decode(&marked.map(|(&token, _)| token).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn answers_count_and_questions_do_not() {
        let (tokenizer, template) =
            (tokenizer(), ChatTemplate::new(crate::chat::CHATML, &[]).unwrap());
        let samples = encode_chat(&template, &tokenizer, &messages()).unwrap();
        assert_eq!(samples.len(), 1);
        let text = tokenizer.decode(&samples[0].tokens).unwrap();
        assert_eq!(text, template.render(&messages(), false).unwrap());
        let expected = "A crab 🦀.<|im_end|>\nNo.<|im_end|>\n";
        assert_eq!(counted(&tokenizer, &samples[0]), expected);
        assert_eq!(encode_chat(&template, &tokenizer, &messages()[..1]).unwrap(), []);
    }

    #[test]
    fn an_answer_that_is_written_otherwise_later_is_a_sample_of_its_own() {
        let source = "{% for m in messages %}{% if m.role == 'assistant' %}A:{% if loop.last %}\
            (thinks){% endif %}{% else %}U:{% endif %}{{ m.content }}\n{% endfor %}\
            {% if add_generation_prompt %}A:{% endif %}";
        let template = ChatTemplate::new(source, &[]).unwrap();
        let tokenizer = tokenizer();
        let samples = encode_chat(&template, &tokenizer, &messages()).unwrap();
        let counted: Vec<String> = samples.iter().map(|s| counted(&tokenizer, s)).collect();
        assert_eq!(counted, ["(thinks)A crab 🦀.\n", "(thinks)No.\n"]);
        let strange = ChatTemplate::new(
            "{% for m in messages %}{{ m.content }}{% endfor %}{{ 'x' if add_generation_prompt }}",
            &[],
        );
        let error = encode_chat(&strange.unwrap(), &tokenizer, &messages()).unwrap_err();
        assert!(error.to_string().contains("does not begin where"), "{error}");
    }

    #[test]
    fn a_completion_counts_up_to_the_end_of_the_text() {
        let tokenizer = tokenizer();
        let sample = encode_pair(&tokenizer, "a b", " c d").unwrap();
        assert_eq!(tokenizer.decode(&sample.tokens).unwrap(), "a b c d");
        assert_eq!(counted(&tokenizer, &sample).trim_start(), "c d");
        assert_eq!(sample.tokens.last().copied(), tokenizer.end_of_text());
        assert_eq!(sample.counted.last(), Some(&true));
        let nothing = encode_pair(&tokenizer, "a b", "").unwrap();
        assert_eq!(nothing.counted.iter().filter(|&&c| c).count(), 1);
    }
}
