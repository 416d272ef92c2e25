//! The filter language: which records (agents, customers, rows of a dataset) are meant.
//!
//! ```text
//! English>3 & (loginStatus=4|loginStatus=9) & !"Tech Support"
//! ```
//!
//! Text → [`Filter`] (syntax, positions) → [`CompiledFilter`] (names resolved against a schema, values
//! checked). A compiled filter is evaluated on records in memory, or its [`Test`] is translated to
//! whatever a store or a scan understands. Every way to evaluate gives the same answer.
//!
//! Invariant: knows schemas and values, but neither the store nor the engine.

mod ast;
mod evaluate;
mod lexer;
mod parser;
mod resolve;

pub use ast::{Expr, Filter, Literal, Operator};
pub use evaluate::compare_values;
pub use resolve::{CompiledFilter, Target, Test};

/// Longest expression, in bytes.
pub const MAX_LENGTH_BYTES: usize = 16 << 10;
/// Deepest nesting of parentheses and negations.
pub const MAX_DEPTH: usize = 64;
