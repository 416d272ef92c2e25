//! Lists: keyset pages with a bounded size.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::json::{check_names, query};
use super::{ApiError, ApiResult, AppState};
use crate::store::{Path, Query};

const DEFAULT_LIMIT: usize = 100;
const MAX_LIMIT: usize = 500;

/// Query parameters that every list takes. Alone with [`super::json::ApiQuery`], beside a list's own filters with
/// [`ListQuery`].
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ListParams {
    /// Items a page, 1 to 500; 100 when absent.
    #[param(minimum = 1, maximum = 500)]
    pub limit: Option<usize>,
    /// The `next` of the page before.
    pub after: Option<String>,
    /// A field's name; `-name` for the largest first.
    pub sort: Option<String>,
}

/// Extractor of [`ListParams`] and a list's own filters.
#[derive(Debug, Clone)]
pub struct ListQuery<F>(pub ListParams, pub F);

impl<F: DeserializeOwned + IntoParams> FromRequestParts<AppState> for ListQuery<F> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _app: &AppState) -> Result<Self, ApiError> {
        check_names(&parts.uri, || {
            let mut known = ListParams::into_params(|| None);
            known.extend(F::into_params(|| None));
            known
        })?;
        Ok(Self(query(&parts.uri)?, query(&parts.uri)?))
    }
}

/// A page of a list.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ListBody<T: ToSchema> {
    pub items: Vec<T>,
    /// Pass as `after` for the next page; null on the last.
    pub next: Option<String>,
}

impl ListParams {
    pub fn limit(&self) -> ApiResult<usize> {
        match self.limit {
            None => Ok(DEFAULT_LIMIT),
            Some(limit) if (1..=MAX_LIMIT).contains(&limit) => Ok(limit),
            Some(limit) => Err(ApiError::bad_request(
                "bad_query",
                format!("limit={limit} is not possible: a page holds 1 to {MAX_LIMIT} items."),
            )),
        }
    }

    /// Puts page and order on a query; `sortable` names the top-level fields that may order the list.
    pub fn apply(&self, query: Query, sortable: &[&str]) -> ApiResult<Query> {
        let mut query = query.limit(self.limit()?).after(self.after.clone());
        if let Some(sort) = &self.sort {
            let (name, descending) = match sort.strip_prefix('-') {
                Some(name) => (name, true),
                None => (sort.as_str(), false),
            };
            if name == "id" {
                query.sort.descending = descending;
            } else if sortable.contains(&name) {
                query = query.sort_by(Path::key(name), descending);
            } else {
                return Err(ApiError::bad_request(
                    "bad_query",
                    format!("sort={sort} is not possible: this list is ordered by id, {}.", sortable.join(", ")),
                ));
            }
        }
        Ok(query)
    }
}
