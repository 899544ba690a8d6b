//! A program's inputs and outputs in the engine's order.

use runtime::Port;

/// Inputs and outputs of `main`, each sorted by name: the engine binds surfaces in this order
/// and not in that of declaration.
///
/// # Errors
/// If the text is not a program, has no `main`, or has a port that is no tensor of known shape.
pub fn of_text(text: &str) -> Result<(Vec<Port>, Vec<Port>), String> {
    let program = mil::parse(text).map_err(|diagnostics| {
        format!("the text is not a program: {}", diagnostics.render(text))
    })?;
    let function = program.function("main").ok_or("the program has no function `main`")?;
    let ports = |ids: &[mil::ValueId]| {
        let mut ports =
            ids.iter().map(|id| port(function.value(*id))).collect::<Result<Vec<_>, _>>()?;
        ports.sort_by(|a, b| a.name.cmp(&b.name));
        Ok::<_, String>(ports)
    };
    Ok((ports(&function.inputs)?, ports(&function.body.outputs)?))
}

fn port(value: &mil::Value) -> Result<Port, String> {
    let dims = value.ty.as_tensor().and_then(|ty| ty.fixed_dims().map(|dims| (ty, dims)));
    let Some((ty, dims)) = dims else {
        return Err(format!("`{}` is {}, not a tensor of known shape", value.name, value.ty));
    };
    let Some(bytes) = mil::element_count(&dims).and_then(|n| ty.dtype.packed_bytes(n)) else {
        return Err(format!("`{}` is {}, which no memory holds", value.name, value.ty));
    };
    Ok(Port { name: value.name.clone(), ty: ty.clone(), dims, bytes })
}
