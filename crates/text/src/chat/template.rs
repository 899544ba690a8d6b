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
/// The longest text of one list or object that a template writes.
const LONGEST_LIST: usize = 1 << 22;
/// Steps that a template may take, for each message, for every so many bytes of what is said, and
/// at most. The engine counts 64 bytes of any text that it makes as one step, before it makes it: so
/// no template has more than 256 MB of texts in memory, and for a short conversation 13 MB.
const FUEL: u64 = 200_000;
const FUEL_PER_MESSAGE: u64 = 20_000;
const BYTES_PER_FUEL: u64 = 8;
const MOST_FUEL: u64 = 1 << 22;
/// The most spaces of a level of JSON.
const WIDEST_INDENT: usize = 64;
/// Memory for calls within calls, and for lists within lists as far as the steps suffice. Only what
/// is used of it is taken.
const STACK: usize = 1 << 28;
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
        environment.set_formatter(|out, state, value| {
            if value.as_object().is_none() {
                return minijinja::escape_formatter(out, state, value);
            }
            // What is in a list is written as often as it is there: that can be more than there is
            // memory for, in a text that the engine counts only when it is complete.
            let mut text = Bounded(Vec::new(), LONGEST_LIST);
            std::io::Write::write_fmt(&mut text, format_args!("{value}")).map_err(bad_value)?;
            let text = String::from_utf8_lossy(&text.0);
            Ok(out.write_str(&text)?)
        });
        additions(&mut environment);
        environment
            .add_template_owned("chat", without_generation(source))
            .map_err(template_error)?;
        let (bos_token, eos_token) = tokens;
        Ok(ChatTemplate { environment, bos_token, eos_token })
    }

    /// The messages as text; with `answer`, up to where the assistant begins to speak.
    ///
    /// Whatever the template does, it ends after a number of steps, and the texts that it makes have
    /// bounds. What has none is the text of a list that holds another one many times over, which
    /// holds a third so, where an operator such as `~` makes it: the engine counts that text only
    /// when it is complete. No template of a model does so.
    ///
    /// # Errors
    /// If the template refuses the messages, or takes too long.
    pub fn render(&self, messages: &[Message], answer: bool) -> Result<String, Error> {
        let mut environment = self.environment.clone();
        let said: usize = messages.iter().map(|m| m.role.len() + m.content.len()).sum();
        let fuel = FUEL + FUEL_PER_MESSAGE * messages.len() as u64;
        environment.set_fuel(Some(MOST_FUEL.min(fuel + said as u64 / BYTES_PER_FUEL)));
        // A list that is put into a list again and again is as deep as there are steps, and so are
        // the calls that write it, compare it and give it back.
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().stack_size(STACK);
            let thread =
                thread.spawn_scoped(scope, || self.render_in(&environment, messages, answer));
            let thread = thread.map_err(|error| Error::Template(error.to_string()))?;
            let panicked =
                |_| Err(Error::Template("the library for templates gave up on it".into()));
            thread.join().unwrap_or_else(panicked)
        })
    }

    fn render_in(
        &self,
        environment: &Environment<'_>,
        messages: &[Message],
        answer: bool,
    ) -> Result<String, Error> {
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
        let mut out = Bounded(Vec::new(), LONGEST_TEXT);
        template.render_captured_to(values, &mut out).map_err(template_error)?;
        String::from_utf8(out.0).map_err(|error| Error::Template(error.to_string()))
    }
}

fn value_of(message: &Message) -> Value {
    Value::from_pairs([("role", message.role.as_str()), ("content", message.content.as_str())])
}

/// A text that does not grow for ever.
struct Bounded(Vec<u8>, usize);

impl std::io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.0.len() + bytes.len() > self.1 {
            return Err(std::io::Error::other(format!("more than {} bytes of text", self.1)));
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
        if indent.is_some_and(|indent| indent > WIDEST_INDENT) {
            return Err(bad_value(format!("more than {WIDEST_INDENT} spaces of indentation")));
        }
        // By way of a text with bounds: what is in a list is there as often as it is written.
        let mut text = Bounded(Vec::new(), LONGEST_LIST);
        serde_json::to_writer(&mut text, &value).map_err(bad_value)?;
        let value = serde_json::from_slice(&text.0).map_err(bad_value)?;
        Ok::<_, minijinja::Error>(Value::from_safe_string(dumps(&value, indent)))
    });
}

fn bad_value(reason: impl ToString) -> minijinja::Error {
    minijinja::Error::new(ErrorKind::BadSerialization, reason.to_string())
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
    fn texts_in_variables_do_not_grow_without_bound() {
        let text = "{% set x = 'ab' %}".to_owned();
        for double in ["{% set x = x ~ x %}", "{% set x = x + x %}", "{% set x = x * 2 %}"] {
            let error = render(&(text.clone() + &double.repeat(60)), &[]).unwrap_err();
            assert!(error.contains("out of fuel"), "{error}");
        }
        let captured = "{% set x %}{{ x }}{{ x }}{% endset %}".repeat(60);
        assert!(render(&(text.clone() + &captured), &[]).unwrap_err().contains("out of fuel"));
        for more in [
            "{% set x = x | replace('a', x) | replace('b', x) %}",
            "{% set x = x.replace('a', x) %}",
            "{% set x = [x, x] | join(x) %}",
            "{% set x = '%s%s' | format(x, x) %}",
        ] {
            let error = render(&(text.clone() + &more.repeat(60)), &[]).unwrap_err();
            assert!(error.contains("out of fuel"), "{more}: {error}");
        }
        // A long conversation is no hostile one.
        let long = "word ".repeat(1 << 20);
        let said = render("{{ messages[0].content | trim ~ '.' }}", &say(&[("user", &long)]));
        assert_eq!(said.unwrap().len(), long.len());
    }

    #[test]
    fn lists_are_not_written_without_bound() {
        let shared = "{% set x = [1] %}".to_owned() + &"{% set x = [x, x] %}".repeat(60);
        for write in ["{{ x }}", "{% set y %}{{ x }}{% endset %}", "{{ x | tojson }}"] {
            let error = render(&(shared.clone() + write), &[]).unwrap_err();
            assert!(error.contains("more than 4194304 bytes of text"), "{write}: {error}");
        }
        // Nearly as deep as the most steps that there are suffice for.
        let deep = "{% set n = namespace(x=[]) %}{% for j in range(400) %}{% for i in range(1000) %}\
            {% set n.x = [n.x] %}{% endfor %}{% endfor %}";
        let many = vec![Message::new("user", ""); 250];
        let write = |end: &str| render(&format!("{deep}{end}"), &many);
        assert_eq!(write("{{ n.x }}").unwrap().len(), 2 * 400_001);
        assert_eq!(write("{{ n.x | string | length }}").unwrap(), "800002");
        assert_eq!(write("{{ n.x[0] == n.x }}").unwrap(), "False");
        let error = write("{{ n.x | tojson }}").unwrap_err();
        assert!(error.contains("recursion limit"), "{error}");
        let error = render("{{ [1] | tojson(indent=1000000000) }}", &[]).unwrap_err();
        assert!(error.contains("more than 64 spaces of indentation"), "{error}");
        assert_eq!(render("{{ [1, 'a'] }}{{ 'b' }}", &[]).unwrap(), "[1, 'a']b");
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
