//! Agents and customers over HTTP.

mod counts;
mod crash;
mod indexes;
mod records;
mod schema;
mod upload;

/// Every byte as `%XX`.
fn url_encode(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}
