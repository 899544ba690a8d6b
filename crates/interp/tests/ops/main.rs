//! Every op against results worked out by hand, and what holds for whole functions.

mod activation;
mod arithmetic;
mod attention;
mod common;
mod control;
mod conv;
mod elementwise;
mod functions;
mod hostile;
mod image_norms;
mod index;
mod movement;
mod normalize;
mod pool;
mod product;
mod quantize;
mod random;
mod rearrange;
mod recurrent;
mod reduce;
mod resample;
mod stored;
mod tensors;
mod unary;
