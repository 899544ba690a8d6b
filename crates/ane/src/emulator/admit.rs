//! From text to a program that the engine's compiler would accept.

use super::blobs::Files;
use super::ports;
use super::verdict::{Doom, judge};
use crate::engine::{EngineError, Source, Stage};
use crate::target::Target;
use mil::Program;
use runtime::Port;

/// The function that the engine runs.
pub(super) const MAIN: &str = "main";

/// Longer texts are refused. The largest kernels that are known have some hundred kilobytes.
const MAX_TEXT_BYTES: usize = 64 << 20;

/// Programs with a larger tensor are refused: the engine gives a program about 2 GB.
const MAX_TENSOR_BYTES: usize = 2 << 30;

/// A program that compiles.
pub(super) struct Admitted {
    /// The program, with everything from weight files in memory: what becomes of the files later
    /// has no effect.
    pub program: Program,
    /// Inputs in binding order.
    pub inputs: Vec<Port>,
    /// Outputs in binding order.
    pub outputs: Vec<Port>,
    /// How every evaluation fails, if that is certain.
    pub doom: Option<Doom>,
}

/// Reads a program and applies the target's rules.
///
/// # Errors
/// All reasons for which the compiler refuses it, each with its line.
pub(super) fn admit(source: &Source, target: &Target) -> Result<Admitted, EngineError> {
    admitted(source, target).map_err(|reason| {
        let message = format!("InvalidMILProgram: {reason}");
        EngineError::new(&source.name, Stage::Compile, message)
    })
}

fn admitted(source: &Source, target: &Target) -> Result<Admitted, String> {
    let text = &source.text;
    if text.len() > MAX_TEXT_BYTES {
        return Err(format!("the text has {} bytes, more than {MAX_TEXT_BYTES}", text.len()));
    }
    let mut program = mil::parse(text).map_err(|problems| problems.render(text))?;
    mil::verify(&program).map_err(|problems| problems.render(text))?;
    let verdict = judge(&program, MAIN, text, target);
    if !verdict.refusals.is_empty() {
        return Err(verdict.refusals.join("\n"));
    }
    let main = program.function(MAIN);
    let main = main.ok_or_else(|| format!("there is no function `{MAIN}`"))?;
    for value in program.functions.iter().flat_map(|function| &function.values) {
        let ty = value.ty.as_tensor().and_then(|t| Some((t.dtype, t.fixed_dims()?)));
        let Some((dtype, dims)) = ty else { continue };
        let bytes = mil::element_count(&dims).and_then(|n| dtype.packed_bytes(n));
        if bytes.is_none_or(|bytes| bytes > MAX_TENSOR_BYTES) {
            return Err(format!("`{}` is {}, too large a tensor", value.name, value.ty));
        }
    }
    let inputs = ports::ports(main, &main.inputs)?;
    let outputs = ports::ports(main, &main.body.outputs)?;
    if outputs.is_empty() {
        return Err(format!("function `{MAIN}` gives nothing"));
    }
    let mut files = Files::new(&source.weights, verdict.misread, target);
    for function in &mut program.functions {
        files.load(&mut function.body)?;
    }
    Ok(Admitted { program, inputs, outputs, doom: verdict.doom })
}
