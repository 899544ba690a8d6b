//! The parser's state, and what is common to all of its parts.

use super::lexer::{Kind, Lexer, Token};
use crate::{Diagnostic, Diagnostics, Program, Span};

/// Deeper nesting of types, literals or blocks than this is refused, so that a hostile text
/// cannot exhaust the stack.
const MAX_DEPTH: usize = 64;

/// Reading stops after so many problems.
const MAX_ERRORS: usize = 100;

/// Reads a program.
///
/// # Errors
/// All problems found, in source order: after one, reading goes on at the next statement.
pub fn parse(text: &str) -> Result<Program, Diagnostics> {
    if u32::try_from(text.len()).is_err() {
        let message = "the text is longer than 4 GiB".to_owned();
        return Err(Diagnostics(vec![Diagnostic { span: Span::default(), message }]));
    }
    let mut parser = Parser::new(text);
    let program = parser.program();
    let mut errors = parser.errors;
    errors.sort_by_key(|e| e.span.start);
    match program {
        Ok(program) if errors.is_empty() => Ok(program),
        _ => Err(Diagnostics(errors)),
    }
}

/// Reading cannot go on from here; the reason is among the parser's errors.
pub(super) struct Failed;

pub(super) type Parsed<T> = Result<T, Failed>;

pub(super) struct Parser<'a> {
    pub text: &'a str,
    lexer: Lexer<'a>,
    /// The token to read next, and the one after it.
    pub current: Token,
    pub next: Token,
    /// Where the last token read ended.
    pub last_end: u32,
    depth: usize,
    errors: Vec<Diagnostic>,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str) -> Parser<'a> {
        let mut lexer = Lexer::new(text, 0);
        let (current, next) = (lexer.token(), lexer.token());
        Parser { text, lexer, current, next, last_end: 0, depth: 0, errors: vec![] }
    }

    /// Notes a problem; reading goes on.
    pub fn report(&mut self, span: Span, message: impl Into<String>) {
        if self.errors.len() < MAX_ERRORS {
            self.errors.push(Diagnostic { span, message: message.into() });
        }
        if self.errors.len() == MAX_ERRORS {
            self.lexer = Lexer::new(self.text, self.text.len());
            self.current = self.lexer.token();
            self.next = self.current;
        }
    }

    /// Notes a problem after which this part cannot be read.
    pub fn fail<T>(&mut self, span: Span, message: impl Into<String>) -> Parsed<T> {
        self.report(span, message);
        Err(Failed)
    }

    /// Notes that something else was expected than what comes next.
    pub fn unexpected<T>(&mut self, expected: &str) -> Parsed<T> {
        let found = self.describe(self.current);
        self.fail(self.current.span, format!("expected {expected}, found {found}"))
    }

    fn describe(&self, token: Token) -> String {
        match token.kind {
            Kind::End => "the end of the text".into(),
            Kind::OpenString => "a string without its closing quote".into(),
            _ => {
                let text = self.slice(token.span);
                match text.char_indices().nth(40) {
                    Some((at, _)) => format!("`{}…`", &text[..at]),
                    None => format!("`{text}`"),
                }
            }
        }
    }

    pub fn slice(&self, span: Span) -> &'a str {
        &self.text[span.start as usize..span.end as usize]
    }

    pub fn advance(&mut self) -> Token {
        let token = self.current;
        self.last_end = token.span.end;
        self.current = self.next;
        self.next = self.lexer.token();
        token
    }

    /// Puts the last token back where the end of the text has been reached.
    pub fn put_back(&mut self, token: Token) {
        self.next = self.current;
        self.current = token;
    }

    pub fn at(&self, punctuation: u8) -> bool {
        self.current.kind == Kind::Punctuation(punctuation)
    }

    pub fn next_is(&self, punctuation: u8) -> bool {
        self.next.kind == Kind::Punctuation(punctuation)
    }

    pub fn at_word(&self, word: &str) -> bool {
        self.current.kind == Kind::Name && self.slice(self.current.span) == word
    }

    /// Takes the punctuation if it comes next.
    pub fn eat(&mut self, punctuation: u8) -> bool {
        let found = self.at(punctuation);
        if found {
            self.advance();
        }
        found
    }

    pub fn expect(&mut self, punctuation: u8) -> Parsed<()> {
        match self.eat(punctuation) {
            true => Ok(()),
            false => self.unexpected(&format!("`{}`", char::from(punctuation))),
        }
    }

    pub fn expect_word(&mut self, word: &str) -> Parsed<()> {
        if !self.at_word(word) {
            return self.unexpected(&format!("`{word}`"));
        }
        self.advance();
        Ok(())
    }

    pub fn expect_arrow(&mut self) -> Parsed<()> {
        if self.current.kind != Kind::Arrow {
            return self.unexpected("`->`");
        }
        self.advance();
        Ok(())
    }

    /// Takes a name; `what` says of what, for the message.
    pub fn name(&mut self, what: &str) -> Parsed<(&'a str, Span)> {
        if self.current.kind != Kind::Name {
            return self.unexpected(what);
        }
        let span = self.advance().span;
        Ok((self.slice(span), span))
    }

    /// Takes a whole number that is not negative.
    pub fn size(&mut self, what: &str) -> Parsed<u64> {
        let token = self.current;
        match self.slice(token.span).parse::<u64>() {
            Ok(size) if token.kind == Kind::Number => {
                self.advance();
                Ok(size)
            }
            _ => self.unexpected(what),
        }
    }

    /// Reads items between commas up to the closing punctuation, which is taken too.
    pub fn list(&mut self, close: u8, mut item: impl FnMut(&mut Self) -> Parsed<()>) -> Parsed<()> {
        if self.eat(close) {
            return Ok(());
        }
        loop {
            item(self)?;
            if self.eat(close) {
                return Ok(());
            }
            if !self.eat(b',') {
                return self.unexpected(&format!("`,` or `{}`", char::from(close)));
            }
        }
    }

    /// Reads something that may contain itself.
    pub fn nested<T>(&mut self, read: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if self.depth == MAX_DEPTH {
            let span = self.current.span;
            return self.fail(span, format!("nested more than {MAX_DEPTH} deep"));
        }
        self.depth += 1;
        let result = read(self);
        self.depth -= 1;
        result
    }

    /// The names in a part of the text that could not be understood.
    pub fn names_between(&self, start: u32, end: u32) -> impl Iterator<Item = &'a str> + use<'a> {
        let text = self.text;
        let mut lexer = Lexer::new(text, start as usize);
        std::iter::from_fn(move || {
            let token = lexer.token();
            (token.kind != Kind::End && token.span.start < end).then_some(token)
        })
        .filter(|token| token.kind == Kind::Name)
        .map(move |token| &text[token.span.start as usize..token.span.end as usize])
    }
}
