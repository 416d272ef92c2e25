//! HTTP clients.

use super::patience::PATIENCE;

/// A client without certificates to trust, that follows no redirects.
pub fn client() -> reqwest::Client {
    client_builder().build().unwrap()
}

pub fn client_builder() -> reqwest::ClientBuilder {
    // The only provider in the program; a second installation in the same process changes nothing.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).timeout(PATIENCE)
}
