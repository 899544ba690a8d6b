//! Inputs and outputs in binding order, and what surfaces the engine accepts for them.

use mil::{DataType, Function, ValueId};
use runtime::Port;
use surface::Surface;

/// Surfaces smaller than this are not accepted.
pub(super) const MIN_SURFACE_BYTES: usize = 16384;

/// Rows shorter than this are not accepted.
pub(super) const MIN_WIDTH: usize = 16;

/// The ports of these values in binding order, which is alphabetical whatever the order of
/// declaration.
///
/// # Errors
/// If one is not a tensor of fixed shape and of a type that surfaces can hold.
pub(super) fn ports(function: &Function, ids: &[ValueId]) -> Result<Vec<Port>, String> {
    let mut ports = ids.iter().map(|&id| port(function, id)).collect::<Result<Vec<_>, _>>()?;
    ports.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(ports)
}

fn port(function: &Function, id: ValueId) -> Result<Port, String> {
    let value = function.value(id);
    let refuse = |what: &str| Err(format!("`{}` is {}: {what}", value.name, value.ty));
    let Some(ty) = value.ty.as_tensor() else {
        return refuse("only tensors can be in surfaces");
    };
    if !matches!(ty.dtype, DataType::Fp16 | DataType::Fp32 | DataType::Bool) {
        return refuse("inputs and outputs are fp16, fp32 or bool; cast inside the program");
    }
    let Some(dims) = ty.fixed_dims() else {
        return refuse("every dimension of an input or output must be known");
    };
    let bytes = mil::element_count(&dims).and_then(|n| ty.dtype.packed_bytes(n));
    let Some(bytes) = bytes.filter(|&bytes| bytes > 0) else {
        return refuse("no surface has this size");
    };
    Ok(Port { name: value.name.clone(), ty: ty.clone(), dims, bytes })
}

/// Why the engine would not evaluate over these surfaces, if it would not. `kind` is `input` or
/// `output`.
pub(super) fn refusal(kind: &str, ports: &[Port], surfaces: &[Surface]) -> Option<String> {
    if ports.len() != surfaces.len() {
        let (expected, found) = (ports.len(), surfaces.len());
        return Some(format!("the program has {expected} {kind}s, the request {found}"));
    }
    for (port, surface) in ports.iter().zip(surfaces) {
        let (name, bytes) = (&port.name, surface.len());
        let width = port.dims.last().copied().unwrap_or(1);
        if width < MIN_WIDTH {
            return Some(format!(
                "rows of {kind} `{name}` have {width} elements; the engine needs {MIN_WIDTH}: pad \
                 the last axis"
            ));
        }
        let needed = port.bytes.max(MIN_SURFACE_BYTES);
        if bytes < needed {
            let ty = &port.ty;
            return Some(format!(
                "the surface of {kind} `{name}`, {ty}, has {bytes} bytes and needs {needed}"
            ));
        }
    }
    let differs = surfaces.iter().position(|s| s.len() != surfaces[0].len())?;
    Some(format!(
        "the surfaces of {kind}s `{}` and `{}` have {} and {} bytes; all {kind}s must be allocated \
         alike",
        ports[0].name,
        ports[differs].name,
        surfaces[0].len(),
        surfaces[differs].len(),
    ))
}
