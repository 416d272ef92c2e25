//! Whether browsers may send files straight to the object store: asked as they ask before they do.

use std::path::Path;
use std::time::Duration;

use reqwest::header::{
    ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_REQUEST_METHOD, HeaderName, ORIGIN,
};
use reqwest::{Certificate, Client, Method};

use super::connection::authorities;

const PATIENCE: Duration = Duration::from_secs(5);

/// Asks at the address that clients are given for a page from `origin`; says why not.
pub(super) async fn may_send(endpoint: &str, bucket: &str, ca_file: Option<&Path>, origin: &str) -> Result<(), String> {
    let client = client(ca_file).map_err(|error| format!("{error:#}"))?;
    let ask = client
        .request(Method::OPTIONS, format!("{}/{bucket}/any", endpoint.trim_end_matches('/')))
        .header(ORIGIN, origin)
        .header(ACCESS_CONTROL_REQUEST_METHOD, "PUT");
    let answer = ask.send().await.map_err(|error| format!("{:#}", anyhow::Error::new(error)))?;
    let told = |name: HeaderName| answer.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (origins, methods) = (told(ACCESS_CONTROL_ALLOW_ORIGIN), told(ACCESS_CONTROL_ALLOW_METHODS));
    if origins != "*" && origins != origin {
        return Err(format!("it answers {} and does not name that origin", answer.status()));
    }
    match methods.split(',').any(|method| ["PUT", "*"].contains(&method.trim())) {
        true => Ok(()),
        false => Err(format!("it allows {methods:?} only, and not PUT")),
    }
}

/// Trusts whom the object store's own client trusts.
fn client(ca_file: Option<&Path>) -> anyhow::Result<Client> {
    let roots = match ca_file {
        Some(file) => Certificate::from_pem_bundle(&authorities(file)?)?,
        None => rustls_native_certs::load_native_certs()
            .certs
            .iter()
            .filter_map(|certificate| Certificate::from_der(certificate).ok())
            .collect(),
    };
    let builder = Client::builder().timeout(PATIENCE);
    Ok(roots.into_iter().fold(builder, reqwest::ClientBuilder::add_root_certificate).build()?)
}
