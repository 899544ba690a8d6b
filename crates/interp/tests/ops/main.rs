//! Every op against results worked out by hand, and what holds for whole functions.

mod arithmetic;
mod attention;
mod common;
mod conv;
mod elementwise;
mod functions;
mod index;
mod movement;
mod normalize;
mod product;
mod quantize;
mod reduce;
mod unary;
