//! What is wrong with a program, and where in its text.

use crate::Span;
use std::fmt;

/// One problem.
#[derive(Clone, Debug, PartialEq)]
pub struct Diagnostic {
    /// Where in the text the program was read from; empty for a program that was built.
    pub span: Span,
    /// What was expected and what was found.
    pub message: String,
}

/// Every problem found, in source order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Diagnostics(pub Vec<Diagnostic>);

impl Diagnostics {
    /// The problems as `line:column: message`, one a line, against the text they are about.
    pub fn render(&self, text: &str) -> String {
        let mut out = vec![];
        for Diagnostic { span, message } in &self.0 {
            let before = text.get(..span.start as usize).unwrap_or(text);
            let line = before.matches('\n').count() + 1;
            let column = before.chars().rev().take_while(|&c| c != '\n').count() + 1;
            out.push(format!("{line}:{column}: {message}"));
        }
        out.join("\n")
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, Diagnostic { span, message }) in self.0.iter().enumerate() {
            let newline = if i == 0 { "" } else { "\n" };
            write!(f, "{newline}byte {}: {message}", span.start)?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}
