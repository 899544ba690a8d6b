//! Every gradient rule against finite differences, on the interpreter in double precision.

mod activations;
mod arithmetic;
mod composite;
mod harness;
mod images;
mod layout;
mod products;
mod reductions;

use anemone_passes::autodiff::{Differentiability, differentiability};
use harness::Row;
use std::collections::BTreeSet;

fn tables() -> Vec<(&'static str, Vec<Row>)> {
    vec![
        ("arithmetic", arithmetic::rows()),
        ("reductions", reductions::rows()),
        ("products", products::rows()),
        ("layout", layout::rows()),
        ("activations", activations::rows()),
        ("images", images::rows()),
    ]
}

fn check(table: &str) {
    let (_, rows) = tables().into_iter().find(|(name, _)| *name == table).expect("a table's name");
    let failures: Vec<String> = rows.iter().filter_map(|row| row.check().err()).collect();
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

#[test]
fn arithmetic_has_the_gradient_of_finite_differences() {
    check("arithmetic");
}

#[test]
fn reductions_have_the_gradient_of_finite_differences() {
    check("reductions");
}

#[test]
fn products_have_the_gradient_of_finite_differences() {
    check("products");
}

#[test]
fn layout_has_the_gradient_of_finite_differences() {
    check("layout");
}

#[test]
fn activations_have_the_gradient_of_finite_differences() {
    check("activations");
}

#[test]
fn images_have_the_gradient_of_finite_differences() {
    check("images");
}

#[test]
fn every_rule_has_a_row() {
    let tables = tables();
    let rows = tables.iter().flat_map(|(_, rows)| rows);
    let tested: BTreeSet<mil::Op> = rows.flat_map(Row::differentiated).collect();
    for spec in mil::OPS {
        let has_rule = differentiability(spec.op) == Differentiability::Rule;
        assert_eq!(has_rule, tested.contains(&spec.op), "{}", spec.name);
    }
}
