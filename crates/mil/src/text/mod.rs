//! The text form of programs: what `.mil` files hold.
//!
//! ```text
//! program   := 'program' '(' version ')' attrs? '{' function* '}' ';'?
//! function  := 'func' name '<' opset '>' '(' [type name {',' type name}] ')' attrs? body ';'?
//! body      := '{' statement* '}' attrs? '->' '(' [name {',' name}] ')'
//! statement := [results '='] op '(' [key '=' arg {',' key '=' arg}] ')' attrs? block* ';'
//! results   := type name {',' type name}, or the same in parentheses
//! block     := 'block' '(' [type name {',' type name}] ')' body
//! attrs     := '[' [key '=' value {',' key '=' value}] ']'
//! arg       := name | value | '(' [operand {',' operand}] ')'
//! value     := type '(' literal ')'
//! literal   := number | string | 'true' | 'false' | '[' literals ']' | '(' literals ')'
//!            | '{' {'{' literal ',' literal '}'} '}' | value
//!            | 'BLOBFILE' '(' 'path' '=' value ',' 'offset' '=' value ')'
//! type      := dtype | 'tensor' '<' dtype ',' ('[' dims ']' | '?') '>' | 'state' '<' type '>'
//!            | 'list' '<' type ',' (n | '?') '>' | 'tuple' '<' types '>'
//!            | 'dict' '<' type ',' type '>'
//! ```
//!
//! Version 1.0 spells scalars `tensor<int32, []>(1)`, later versions `int32(1)`; the reader takes
//! both anywhere, the printer follows the program's version.
//!
//! Three things go beyond what Apple's tools write: nested blocks (`block` above; those of `cond` are
//! for true and for false, those of `while_loop` the condition and the body, and what a block
//! defines can be called the same in another), attributes of a block's own after its closing brace, and a value inside a literal, which the printer uses where
//! the enclosing type leaves a tensor's shape open. `nan(0x7e01)` is a NaN with those bits.

mod lexer;
mod literals;
mod number;
mod parser;
mod printer;
mod statements;

pub use parser::parse;
pub use printer::print;
