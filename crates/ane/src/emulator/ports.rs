//! Inputs and outputs in binding order, and what surfaces the engine accepts for them.

use super::verdict::acting;
use crate::target::Target;
use mil::{DataType, Function, ValueId};
use runtime::Port;
use surface::Surface;

/// What a target asks of the surfaces of a request, as far as the emulator acts on it.
pub(super) struct SurfaceRules {
    min_bytes: usize,
    equal_inputs: bool,
    equal_outputs: bool,
}

impl SurfaceRules {
    pub fn of(target: &Target) -> SurfaceRules {
        let acts = |id| acting(id, target).is_some();
        let min_bytes = if acts("surface-minimum") { target.limits().min_surface_bytes } else { 0 };
        SurfaceRules {
            min_bytes,
            equal_inputs: acts("unequal-inputs"),
            equal_outputs: acts("unequal-outputs"),
        }
    }

    /// Why the engine would not evaluate over these surfaces, if it would not.
    pub fn refusal(
        &self,
        inputs: (&[Port], &[Surface]),
        outputs: (&[Port], &[Surface]),
    ) -> Option<String> {
        let kind = |kind, (ports, surfaces), equal| self.refusal_of(kind, ports, surfaces, equal);
        kind("input", inputs, self.equal_inputs)
            .or_else(|| kind("output", outputs, self.equal_outputs))
    }

    fn refusal_of(
        &self,
        kind: &str,
        ports: &[Port],
        surfaces: &[Surface],
        equal: bool,
    ) -> Option<String> {
        if ports.len() != surfaces.len() {
            let (expected, found) = (ports.len(), surfaces.len());
            return Some(format!("the program has {expected} {kind}s, the request {found}"));
        }
        for (port, surface) in ports.iter().zip(surfaces) {
            let (name, ty, bytes) = (&port.name, &port.ty, surface.len());
            let what = format!("the surface of {kind} `{name}`, {ty}, has {bytes} bytes");
            if bytes < port.bytes {
                return Some(format!("{what} and needs {}", port.bytes));
            }
            if bytes < self.min_bytes {
                return Some(format!(
                    "{what}, fewer than {} (rule surface-minimum)",
                    self.min_bytes
                ));
            }
        }
        let differs =
            surfaces.iter().position(|s| s.len() != surfaces[0].len()).filter(|_| equal)?;
        Some(format!(
            "the surfaces of {kind}s `{}` and `{}` have {} and {} bytes; all {kind}s must be \
             allocated alike (rule unequal-{kind}s)",
            ports[0].name,
            ports[differs].name,
            surfaces[0].len(),
            surfaces[differs].len(),
        ))
    }
}

/// The ports of these values in binding order, which is alphabetical whatever the order of
/// declaration.
///
/// # Errors
/// If two are the same, or one is not a tensor of fixed shape that a surface can hold. Which types
/// the engine accepts is for its rules to say.
pub(super) fn ports(function: &Function, ids: &[ValueId]) -> Result<Vec<Port>, String> {
    let mut ports = ids.iter().map(|&id| port(function, id)).collect::<Result<Vec<_>, _>>()?;
    ports.sort_by(|a, b| a.name.cmp(&b.name));
    if let Some(pair) = ports.windows(2).find(|pair| pair[0].name == pair[1].name) {
        return Err(format!("`{}` is returned twice, and names bind surfaces", pair[0].name));
    }
    Ok(ports)
}

fn port(function: &Function, id: ValueId) -> Result<Port, String> {
    let value = function.value(id);
    let refuse = |what: &str| Err(format!("`{}` is {}: {what}", value.name, value.ty));
    let Some(ty) = value.ty.as_tensor() else {
        return refuse("only tensors can be in surfaces");
    };
    if ty.dtype == DataType::String || ty.dtype.bits() < 8 {
        return refuse("surfaces hold numbers of whole bytes");
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
