//! The memory of parameters, and the names that functions know them by.

use super::build::{Build, Names};
use crate::Error;
use models::{Config, Lora, Parameter, Role};
use surface::Surface;

/// The memory of a parameter that is trained.
pub struct ParameterState {
    /// Name, shape and role.
    pub spec: Parameter,
    /// Master weights, fp32.
    pub value: Surface,
    /// Gradient of the current step, fp32.
    pub gradient: Surface,
}

/// The memory of a parameter that stays as it is.
pub struct BaseParameter {
    /// Name, shape and role.
    pub spec: Parameter,
    /// Its values, fp32.
    pub value: Surface,
}

/// What is trained, and what stays.
pub(super) fn allocate(
    build: &mut Build<'_>,
    config: &Config,
    lora: Option<&Lora>,
) -> Result<(Vec<ParameterState>, Vec<BaseParameter>), Error> {
    let own = models::parameters(config)?;
    let (trained, kept) = match lora {
        Some(lora) => (lora.parameters(config)?, own),
        None => (own, vec![]),
    };
    let bytes = |spec: &Parameter| spec.dims.iter().product::<usize>() * 4;
    let mut parameters = vec![];
    for spec in trained {
        let (value, gradient) = (build.surface(bytes(&spec))?, build.surface(bytes(&spec))?);
        parameters.push(ParameterState { spec, value, gradient });
    }
    let mut base = vec![];
    for spec in kept {
        let value = build.surface(bytes(&spec))?;
        base.push(BaseParameter { spec, value });
    }
    Ok((parameters, base))
}

/// Names the parameters outside the layers, and their gradients.
pub(super) fn name_shared(
    names: &mut Names,
    parameters: &[ParameterState],
    base: &[BaseParameter],
    tied: bool,
) {
    for (spec, value, gradient) in all(parameters, base) {
        for port in spec.role.outer_ports(tied) {
            name(names, port, value, gradient);
        }
    }
}

/// Names the parameters of a layer, and their gradients.
pub(super) fn name_layer(
    names: &mut Names,
    parameters: &[ParameterState],
    base: &[BaseParameter],
    layer: usize,
) {
    for (spec, value, gradient) in all(parameters, base) {
        if let Some((index, port)) = port(&spec.role)
            && index == layer
        {
            name(names, &port, value, gradient);
        }
    }
}

/// The names that a layer's function has for what is trained, and for what stays.
pub(super) fn layer_ports(
    parameters: &[ParameterState],
    base: &[BaseParameter],
) -> (Vec<String>, Vec<String>) {
    let first = |spec: &Parameter| port(&spec.role).filter(|(index, _)| *index == 0);
    let trained = parameters.iter().filter_map(|p| first(&p.spec)).map(|(_, port)| port);
    let kept = base.iter().filter_map(|p| first(&p.spec)).map(|(_, port)| port);
    (trained.collect(), kept.collect())
}

/// The layer that a parameter belongs to, and the input that it is there.
fn port(role: &Role) -> Option<(usize, String)> {
    match *role {
        Role::Layer { index, port } => Some((index, port.to_owned())),
        Role::Adapter { index, port, matrix } => Some((index, matrix.input(port))),
        _ => None,
    }
}

fn all<'a>(
    parameters: &'a [ParameterState],
    base: &'a [BaseParameter],
) -> impl Iterator<Item = (&'a Parameter, &'a Surface, Option<&'a Surface>)> {
    let trained = parameters.iter().map(|p| (&p.spec, &p.value, Some(&p.gradient)));
    trained.chain(base.iter().map(|p| (&p.spec, &p.value, None)))
}

fn name(names: &mut Names, port: &str, value: &Surface, gradient: Option<&Surface>) {
    names.add(port, value);
    if let Some(gradient) = gradient {
        names.add(&format!("d_{port}"), gradient);
    }
}
