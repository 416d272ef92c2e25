//! What a form brings: names with one or more values each, in their order.

use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use http_body_util::BodyExt as _;
use minijinja::context;

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

/// A form that was refused: its page shows it again with what was typed, and says why beside it.
pub(super) struct Refused<'a> {
    /// Which form of the page.
    pub which: &'a str,
    pub error: &'a ApiError,
    pub form: &'a Form,
}

impl Refused<'_> {
    /// `which`, `error`, `fields` that it names, and `typed` for the template.
    pub fn shown(refused: Option<&Self>) -> minijinja::Value {
        refused.map_or(minijinja::Value::UNDEFINED, |it| {
            let fields = serde_json::to_value(it.error.fields()).unwrap_or_default();
            context! { which => it.which, error => it.error.detail(), fields, typed => it.form.typed() }
        })
    }

    pub fn status(refused: Option<&Self>) -> StatusCode {
        refused.map_or(StatusCode::OK, |it| it.error.status())
    }
}
