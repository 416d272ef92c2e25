//! Agent and customer profiles: `/api/v1/agents` and `/api/v1/customers`. One implementation for both.

mod counts;
mod records;
mod schema;

use utoipa_axum::router::OpenApiRouter;

use super::{AppState, Session};
use crate::domain::profile::ProfileKind;
use crate::profiles::Profile;

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().merge(agents::routes()).merge(customers::routes())
}

fn profile(session: &Session, kind: ProfileKind) -> Profile {
    Profile::new(session.account_id.clone(), kind)
}

/// Thin handlers for one kind: what differs is the path and the words in the API's description.
macro_rules! endpoints {
    ($module:ident, $kind:expr, $tag:literal, schema: $schema:literal, accept: $accept:literal, records: $records:literal,
     record: $record:literal, compute: $compute:literal, cardinalities: $cardinalities:literal, indexes: $indexes:literal,
     rejected: $rejected:literal) => {
        mod $module {
            use axum::Json;
            use axum::extract::State;
            use axum::http::StatusCode;
            use axum::response::Response;
            use serde_json::{Map, Value};
            use utoipa_axum::router::OpenApiRouter;
            use utoipa_axum::routes;

            use super::{counts, profile, records, schema};
            use crate::domain::cardinality::Cardinalities;
            use crate::domain::profile::ProfileKind;
            use crate::http::error::ProblemBody;
            use crate::http::idempotency::Idempotency;
            use crate::http::json::{ApiJson, ApiPath, JsonBytes};
            use crate::http::lists::{ListBody, ListParams, ListQuery};
            use crate::http::{ApiResult, AppState, Session};
            use crate::profiles::append::Appended;
            use crate::profiles::indexes::FieldIndex;

            const KIND: ProfileKind = $kind;

            pub fn routes() -> OpenApiRouter<AppState> {
                OpenApiRouter::new()
                    .routes(routes!(get_schema, put_schema))
                    .routes(routes!(accept_schema))
                    .routes(routes!(list_records, post_records))
                    .routes(routes!(get_record, patch_record, delete_record))
                    .routes(routes!(compute_cardinalities))
                    .routes(routes!(get_cardinalities))
                    .routes(routes!(get_indexes))
                    .routes(routes!(get_rejected))
            }

            /// The fields; discovered ones wait for consent while `accepted` is false.
            #[utoipa::path(get, path = $schema, tag = $tag, responses((status = 200, body = schema::SchemaBody)))]
            async fn get_schema(State(app): State<AppState>, session: Session) -> ApiResult<Json<schema::SchemaBody>> {
                schema::get(&app, &profile(&session, KIND)).await
            }

            /// Replaces the list of fields and accepts it: a new version, usable at once.
            #[utoipa::path(put, path = $schema, tag = $tag, request_body = schema::NewSchema,
                responses((status = 200, body = schema::SchemaBody),
                    (status = 422, body = ProblemBody, description = "`invalid_schema`, `not_available` (anonymize)")))]
            async fn put_schema(
                State(app): State<AppState>,
                session: Session,
                ApiJson(new): ApiJson<schema::NewSchema>,
            ) -> ApiResult<Json<schema::SchemaBody>> {
                schema::put(&app, &profile(&session, KIND), new).await
            }

            /// Accepts the discovered fields: from now on an unknown field rejects its record. Builds indexes in the background.
            #[utoipa::path(post, path = $accept, tag = $tag, responses((status = 200, body = schema::SchemaBody)))]
            async fn accept_schema(State(app): State<AppState>, session: Session) -> ApiResult<Json<schema::SchemaBody>> {
                schema::accept(&app, &profile(&session, KIND)).await
            }

            /// Upserts 1 to 5,000 records by id; each is decided on its own. A record replaces the one stored under its id.
            #[utoipa::path(post, path = $records, tag = $tag, request_body = records::NewRecords,
                responses((status = 200, body = Appended),
                    (status = 422, body = ProblemBody, description = "`no_records`, `too_many_records`")))]
            async fn post_records(
                State(app): State<AppState>,
                session: Session,
                idempotency: Idempotency,
                JsonBytes(body): JsonBytes,
            ) -> ApiResult<Response> {
                records::post(&app, &session, KIND, idempotency, &body).await
            }

            /// Records that match a filter, by id or ordered by a field.
            #[utoipa::path(get, path = $records, tag = $tag, params(ListParams, records::Filters),
                responses((status = 200, body = ListBody<records::RecordBody>),
                    (status = 422, body = ProblemBody, description = "`bad_filter`, with `position`")))]
            async fn list_records(
                State(app): State<AppState>,
                session: Session,
                ListQuery(params, filters): ListQuery<records::Filters>,
            ) -> ApiResult<Json<ListBody<records::RecordBody>>> {
                records::list(&app, &profile(&session, KIND), &params, &filters).await
            }

            #[utoipa::path(get, path = $record, tag = $tag, params(("id" = String, Path)),
                responses((status = 200, body = records::RecordBody), (status = 404, body = ProblemBody)))]
            async fn get_record(
                State(app): State<AppState>,
                session: Session,
                ApiPath(id): ApiPath<String>,
            ) -> ApiResult<Json<records::RecordBody>> {
                records::get(&app, &profile(&session, KIND), &id).await
            }

            /// Changes some fields: null removes a value, what is not named stays. `version` as in a post.
            #[utoipa::path(patch, path = $record, tag = $tag, params(("id" = String, Path)), request_body = Object,
                responses((status = 200, body = records::RecordBody), (status = 404, body = ProblemBody),
                    (status = 409, body = ProblemBody, description = "`stale_version`"),
                    (status = 422, body = ProblemBody, description = "`invalid_record`")))]
            async fn patch_record(
                State(app): State<AppState>,
                session: Session,
                ApiPath(id): ApiPath<String>,
                ApiJson(changes): ApiJson<Map<String, Value>>,
            ) -> ApiResult<Json<records::RecordBody>> {
                records::patch(&app, &profile(&session, KIND), &id, changes).await
            }

            /// Removes a record. Counts keep its values until the next full count.
            #[utoipa::path(delete, path = $record, tag = $tag, params(("id" = String, Path)),
                responses((status = 204), (status = 404, body = ProblemBody)))]
            async fn delete_record(
                State(app): State<AppState>,
                session: Session,
                ApiPath(id): ApiPath<String>,
            ) -> ApiResult<StatusCode> {
                records::delete(&app, &profile(&session, KIND), &id).await
            }

            /// Counts every record anew, in the background.
            #[utoipa::path(post, path = $compute, tag = $tag, responses((status = 202, body = counts::JobStarted)))]
            async fn compute_cardinalities(
                State(app): State<AppState>,
                session: Session,
            ) -> ApiResult<(StatusCode, Json<counts::JobStarted>)> {
                counts::compute(&app, &profile(&session, KIND)).await
            }

            /// Distinct values, nulls and bounds of each field, and how many accepted records are not counted yet.
            #[utoipa::path(get, path = $cardinalities, tag = $tag, responses((status = 200, body = Cardinalities)))]
            async fn get_cardinalities(State(app): State<AppState>, session: Session) -> ApiResult<Json<Cardinalities>> {
                counts::get(&app, &profile(&session, KIND)).await
            }

            /// One entry a field: what kind of index it has, and its state.
            #[utoipa::path(get, path = $indexes, tag = $tag, responses((status = 200, body = ListBody<FieldIndex>)))]
            async fn get_indexes(State(app): State<AppState>, session: Session) -> ApiResult<Json<ListBody<FieldIndex>>> {
                counts::indexes(&app, &profile(&session, KIND)).await
            }

            /// Line, column, value and reason of every row that the last uploaded file had refused.
            #[utoipa::path(get, path = $rejected, tag = $tag,
                responses((status = 200, content_type = "text/csv", body = String)))]
            async fn get_rejected(State(app): State<AppState>, session: Session) -> ApiResult<Response> {
                let schema = crate::profiles::schema::load(&app.ctx.store, &profile(&session, KIND)).await?.value;
                crate::http::rejected::download(&app, KIND.as_str(), schema.rejected).await
            }
        }
    };
}

endpoints!(
    agents, ProfileKind::Agents, "agents",
    schema: "/api/v1/agents/schema", accept: "/api/v1/agents/schema/accept", records: "/api/v1/agents/records",
    record: "/api/v1/agents/records/{id}", compute: "/api/v1/agents/compute_cardinalities",
    cardinalities: "/api/v1/agents/cardinalities", indexes: "/api/v1/agents/indexes",
    rejected: "/api/v1/agents/rejected"
);
endpoints!(
    customers, ProfileKind::Customers, "customers",
    schema: "/api/v1/customers/schema", accept: "/api/v1/customers/schema/accept", records: "/api/v1/customers/records",
    record: "/api/v1/customers/records/{id}", compute: "/api/v1/customers/compute_cardinalities",
    cardinalities: "/api/v1/customers/cardinalities", indexes: "/api/v1/customers/indexes",
    rejected: "/api/v1/customers/rejected"
);
