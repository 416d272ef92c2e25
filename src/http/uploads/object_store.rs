//! `GET /api/v1/uploads/object_store`: where parts will go, so that a browser can try it before it sends a file.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use serde::Serialize;
use utoipa::ToSchema;

use super::request_host;
use crate::http::{AppState, Session};
use crate::objects::Health;

#[derive(Debug, Serialize, ToSchema)]
pub struct ObjectStoreBody {
    /// Signed URLs begin like this.
    url: String,
    /// The server itself reached the object store when it looked last.
    reached: bool,
    /// `none` (plain HTTP), `private` (its authority is given in `S3_CA_FILE`, or tango made the certificate) or
    /// `unknown`.
    certificate: &'static str,
}

/// Where the parts of uploads go, and what the server knows of it.
#[utoipa::path(get, path = "/api/v1/uploads/object_store", tag = "uploads", responses((status = 200, body = ObjectStoreBody)))]
pub async fn object_store(State(app): State<AppState>, _session: Session, headers: HeaderMap) -> Json<ObjectStoreBody> {
    let url = app.ctx.objects.public_base(request_host(&headers));
    let config = &app.ctx.config;
    let own = config.s3_endpoint.is_none() && config.tls_cert_file.is_none();
    let certificate = match () {
        () if !url.starts_with("https:") => "none",
        () if own || config.s3_ca_file.is_some() => "private",
        () => "unknown",
    };
    Json(ObjectStoreBody { url, reached: app.ctx.objects.health() == Health::Ready, certificate })
}
