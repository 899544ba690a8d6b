//! Chat templates: Jinja, as `transformers` runs it.

use super::json::dumps;
use super::{Error, Message, config};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Value};
use minijinja::{Environment, ErrorKind, context};

/// The longest template that is read; real ones have up to some ten thousand bytes.
const LONGEST_TEMPLATE: usize = 1 << 20;
/// The longest text that a template may write.
const LONGEST_TEXT: usize = 1 << 26;
/// Steps that a template may take, at least, and for each message.
const FUEL: u64 = 200_000;
const FUEL_PER_MESSAGE: u64 = 20_000;
/// Calls within calls.
const DEPTH: usize = 64;

/// ChatML, `<|im_start|>role … <|im_end|>`: what many models were trained with, and a choice for
/// those that know none.
pub const CHATML: &str = "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content \
     }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

/// How messages become text.
pub struct ChatTemplate {
    environment: Environment<'static>,
    bos_token: String,
    eos_token: String,
}

impl std::fmt::Debug for ChatTemplate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChatTemplate").finish_non_exhaustive()
    }
}

impl ChatTemplate {
    /// The template of a model, from the files beside it by name: `chat_template.jinja`, or the one
    /// in `tokenizer_config.json`; nothing if there is none.
    ///
    /// # Errors
    /// If a file is not as it must be, or the template does not compile.
    pub fn of_model(files: &[(String, Vec<u8>)]) -> Result<Option<ChatTemplate>, Error> {
        let tokens = config::special_tokens(files)?;
        let template = config::template(files)?;
        template.map(|source| ChatTemplate::with_tokens(&source, tokens)).transpose()
    }

    /// A template by its text; `files` are those beside the model, for its special tokens.
    ///
    /// # Errors
    /// As [`ChatTemplate::of_model`].
    pub fn new(source: &str, files: &[(String, Vec<u8>)]) -> Result<ChatTemplate, Error> {
        ChatTemplate::with_tokens(source, config::special_tokens(files)?)
    }

    /// What it writes behind an answer, such as the token that ends one; empty if there is nothing.
    ///
    /// # Errors
    /// If the template refuses a question and an answer.
    pub fn end_of_answer(&self) -> Result<String, Error> {
        const ANSWER: &str = "answer 0f5e";
        let messages = [Message::new("user", "question"), Message::new("assistant", ANSWER)];
        let text = self.render(&messages, false)?;
        let end = text.rfind(ANSWER).map_or("", |at| &text[at + ANSWER.len()..]);
        Ok(end.trim().to_owned())
    }

    fn with_tokens(source: &str, tokens: (String, String)) -> Result<ChatTemplate, Error> {
        if source.len() > LONGEST_TEMPLATE {
            let reason = format!("{} bytes are more than any template has", source.len());
            return Err(Error::Template(reason));
        }
        let mut environment = Environment::new();
        let mut syntax = SyntaxConfig::builder();
        let syntax = syntax.trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.map_err(template_error)?);
        environment.set_recursion_limit(DEPTH);
        environment
            .set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        additions(&mut environment);
        environment
            .add_template_owned("chat", without_generation(source))
            .map_err(template_error)?;
        let (bos_token, eos_token) = tokens;
        Ok(ChatTemplate { environment, bos_token, eos_token })
    }

    /// The messages as text; with `answer`, up to where the assistant begins to speak.
    ///
    /// # Errors
    /// If the template refuses the messages, or takes too long.
    pub fn render(&self, messages: &[Message], answer: bool) -> Result<String, Error> {
        let mut environment = self.environment.clone();
        environment.set_fuel(Some(FUEL + FUEL_PER_MESSAGE * messages.len() as u64));
        let template = environment.get_template("chat").map_err(template_error)?;
        let values = context! {
            messages => messages.iter().map(value_of).collect::<Vec<Value>>(),
            add_generation_prompt => answer,
            // Defined, as there: templates ask whether they are none.
            tools => Value::from(()),
            documents => Value::from(()),
            bos_token => self.bos_token.clone(),
            eos_token => self.eos_token.clone(),
        };
        let mut out = Bounded(Vec::new());
        template.render_captured_to(values, &mut out).map_err(template_error)?;
        String::from_utf8(out.0).map_err(|error| Error::Template(error.to_string()))
    }
}

fn value_of(message: &Message) -> Value {
    Value::from_pairs([("role", message.role.as_str()), ("content", message.content.as_str())])
}

/// A text that does not grow for ever.
struct Bounded(Vec<u8>);

impl std::io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.0.len() + bytes.len() > LONGEST_TEXT {
            return Err(std::io::Error::other(format!("more than {LONGEST_TEXT} bytes of text")));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The whole chain of reasons.
fn template_error(error: minijinja::Error) -> Error {
    let mut reason = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        reason.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    Error::Template(reason)
}

/// `{% generation %}` marks what an assistant says: a tag of its own in `transformers`, without
/// effect on the text.
fn without_generation(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = rest.find("{%") {
        let Some(length) = rest[start..].find("%}").map(|end| end + 2) else { break };
        let tag = &rest[start..start + length];
        let word = tag.trim_start_matches("{%").trim_end_matches("%}");
        let word = word.trim_matches(['-', '+', ' ', '\t', '\n']);
        out.push_str(&rest[..start]);
        match word {
            "generation" => out.push_str(&tag.replace("generation", "if true")),
            "endgeneration" => out.push_str(&tag.replace("endgeneration", "endif")),
            _ => out.push_str(tag),
        }
        rest = &rest[start + length..];
    }
    out.push_str(rest);
    out
}

/// What `transformers` adds to the language.
fn additions(environment: &mut Environment<'static>) {
    environment.add_function("raise_exception", |message: String| {
        Err::<String, _>(minijinja::Error::new(ErrorKind::InvalidOperation, message))
    });
    environment.add_function("strftime_now", |format: String| config::date(&format));
    environment.add_filter("tojson", |value: Value, options: Kwargs| {
        let indent: Option<usize> = options.get("indent")?;
        // Others of Python's, as far as they ask for what is done here.
        for known in ["ensure_ascii", "separators", "sort_keys"] {
            let _: Option<Value> = options.get(known)?;
        }
        options.assert_all_used()?;
        let bad = |error: serde_json::Error| {
            minijinja::Error::new(ErrorKind::BadSerialization, error.to_string())
        };
        let value = serde_json::to_value(&value).map_err(bad)?;
        Ok::<_, minijinja::Error>(Value::from_safe_string(dumps(&value, indent)))
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn say(pairs: &[(&str, &str)]) -> Vec<Message> {
        pairs.iter().map(|(role, content)| Message::new(role, content)).collect()
    }

    fn render(source: &str, messages: &[Message]) -> Result<String, String> {
        let template = ChatTemplate::new(source, &[]).map_err(|error| error.to_string())?;
        template.render(messages, true).map_err(|error| error.to_string())
    }

    #[test]
    fn chatml_is_what_its_models_know() {
        let messages = say(&[("user", "Hi"), ("assistant", "Hello")]);
        let text = ChatTemplate::new(CHATML, &[]).unwrap().render(&messages, false).unwrap();
        let expected = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello<|im_end|>\n";
        assert_eq!(text, expected);
        let asked = ChatTemplate::new(CHATML, &[]).unwrap().render(&messages[..1], true).unwrap();
        assert!(expected.starts_with(&asked));
    }

    #[test]
    fn marks_of_what_is_generated_change_nothing() {
        let source = "{%- for m in messages %}{{ m.role }}:\n{%- generation -%} {{ m.content }}\
            {% endgeneration %};{% endfor %}";
        assert_eq!(render(source, &say(&[("a", "b"), ("c", "d")])).unwrap(), "a:b;c:d;");
    }

    #[test]
    fn what_a_template_refuses_is_told() {
        let error = render("{{ raise_exception('roles must alternate') }}", &[]).unwrap_err();
        assert!(error.contains("roles must alternate"), "{error}");
        let error = render("{% for %}", &[]).unwrap_err();
        assert!(error.starts_with("chat template: "), "{error}");
        let long = "x".repeat(LONGEST_TEMPLATE + 1);
        assert!(render(&long, &[]).unwrap_err().contains("more than any template has"));
    }

    #[test]
    fn hostile_templates_end() {
        let endless =
            "{% for a in range(90000) %}{% for b in range(90000) %}.{% endfor %}{% endfor %}";
        assert!(render(endless, &[]).is_err());
        let large = "{% for a in range(9) %}{{ 'x' * 90000000 }}{% endfor %}";
        assert!(render(large, &[]).is_err());
        let deep = "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}";
        assert!(render(deep, &[]).is_err());
        let nested = format!("{}1{}", "{% if true %}".repeat(5000), "{% endif %}".repeat(5000));
        let _ = render(&nested, &[]);
        let parentheses = format!("{{{{ {}1{} }}}}", "(".repeat(100_000), ")".repeat(100_000));
        assert!(render(&parentheses, &[]).is_err());
    }
}
