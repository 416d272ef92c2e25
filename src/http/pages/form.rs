//! What a form brings: names with one or more values each, in their order.

use axum::extract::{FromRequest, Request};
use http_body_util::BodyExt as _;

use super::visit::Failure;
use crate::http::{ApiError, AppState};

#[derive(Debug, Clone, Default)]
pub(super) struct Form(Vec<(String, String)>);

impl FromRequest<AppState> for Form {
    type Rejection = Failure;

    async fn from_request(request: Request, app: &AppState) -> Result<Self, Failure> {
        let limit = app.ctx.config.limits.max_body_bytes;
        let body = http_body_util::Limited::new(request.into_body(), limit)
            .collect()
            .await
            .map_err(|_| ApiError::bad_request("bad_form", "The form could not be read to its end. Send it again."))?;
        Ok(Self::parse(&body.to_bytes()))
    }
}

impl Form {
    pub fn parse(bytes: &[u8]) -> Self {
        Self(form_urlencoded::parse(bytes).into_owned().collect())
    }

    pub fn pairs(&self) -> &[(String, String)] {
        &self.0
    }

    /// The last value of that name, trimmed; nothing when it is empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        let mut values = self.0.iter().filter(|(key, _)| key == name).map(|(_, value)| value.trim());
        values.rfind(|value| !value.is_empty())
    }

    pub fn string(&self, name: &str) -> String {
        self.get(name).unwrap_or_default().to_owned()
    }

    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    pub fn all(&self, name: &str) -> Vec<String> {
        self.0.iter().filter(|(key, _)| key == name).map(|(_, value)| value.clone()).collect()
    }

    /// What was typed, for showing the form again.
    pub fn typed(&self) -> std::collections::BTreeMap<String, String> {
        self.0.iter().cloned().collect()
    }
}
