//! Agents and customers over HTTP.

mod counts;
mod indexes;
mod records;
mod schema;
