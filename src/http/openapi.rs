//! What is true of many operations, added to the generated document in one place.

use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{KnownFormat, SchemaFormat, Type};
use utoipa::openapi::{
    Content, ObjectBuilder, OpenApi as Document, Ref, RefOr, Required, Response, ResponseBuilder, Schema,
};

const PROBLEM: &str = "application/problem+json";
const BINARY: &str = "application/octet-stream";

/// The operations that honour `Idempotency-Key`, by operation id; a test asks each of them, and all others.
const REPEATABLE: [&str; 17] = [
    "post_agents_records",
    "post_customers_records",
    "post_datasets_id_append",
    "post_datasets_id_compute_cardinalities",
    "post_datasets_id_delete_range",
    "post_datasets_id_refresh",
    "post_datasets_id_revert",
    "post_datasets_id_schema_accept",
    "put_datasets_id_schema",
    "post_models_id_train",
    "post_predictors",
    "post_predictors_predictor_models",
    "post_predictors_predictor_outcome_dataset",
    "post_predictors_predictor_retraining_run",
    "post_reports",
    "post_score_log",
    "post_uploads",
];

/// Names the operations, and adds the problems that any of its kind can answer with.
pub fn complete(document: &mut Document) {
    for (path, item) in &mut document.paths.paths {
        let name = path.trim_start_matches("/api/v1/").replace(['{', '}'], "").replace('/', "_");
        let operations = [
            ("get", &mut item.get),
            ("post", &mut item.post),
            ("put", &mut item.put),
            ("patch", &mut item.patch),
            ("delete", &mut item.delete),
        ];
        for (method, operation) in operations {
            if let Some(operation) = operation {
                // `GET /api/v1/agents/records/{id}` is `get_agents_records_id`: generated clients want a name for
                // each, and handlers of two resources may be called alike.
                let id = format!("{method}_{name}");
                if REPEATABLE.contains(&id.as_str()) {
                    operation.parameters.get_or_insert_default().push(RefOr::T(idempotency_key()));
                }
                operation.operation_id = Some(id);
                describe_bytes(operation);
                add_problems(operation, path.contains('{'));
            }
        }
    }
}

fn idempotency_key() -> Parameter {
    let text = ObjectBuilder::new().schema_type(Type::String).min_length(Some(1)).max_length(Some(255));
    ParameterBuilder::new()
        .name("Idempotency-Key")
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some(
            "The same request again under this key has its effect once and gets the saved answer, for 24 hours.",
        ))
        .schema(Some(RefOr::T(Schema::Object(text.build()))))
        .build()
}

/// Bytes are a binary text to OpenAPI, not a list of numbers.
fn describe_bytes(operation: &mut Operation) {
    let binary = || {
        let format = SchemaFormat::KnownFormat(KnownFormat::Binary);
        let text = ObjectBuilder::new().schema_type(Type::String).format(Some(format));
        RefOr::T(Content::new(Some(RefOr::T(Schema::Object(text.build())))))
    };
    if let Some(RefOr::T(body)) = &mut operation.request_body
        && let Some(content) = body.content.get_mut(BINARY)
    {
        *content = binary();
    }
    for response in operation.responses.responses.values_mut() {
        if let RefOr::T(response) = response
            && let Some(content) = response.content.get_mut(BINARY)
        {
            *content = binary();
        }
    }
}

fn add_problems(operation: &mut Operation, has_path_parameter: bool) {
    let parameters = operation.parameters.iter().flatten();
    let has_query = parameters
        .clone()
        .any(|parameter| matches!(parameter, RefOr::T(one) if one.parameter_in == ParameterIn::Query));
    let has_header = parameters
        .clone()
        .any(|parameter| matches!(parameter, RefOr::T(one) if one.parameter_in == ParameterIn::Header));
    let has_body = operation.request_body.is_some();
    // Only signing in says that nothing is needed.
    let secured = operation.security.is_none();
    let general = [
        (secured, "401", "`unauthenticated`, `token_expired`"),
        (has_query || has_body || has_header, "400", "`bad_query`, `bad_json`, `bad_idempotency_key`"),
        (has_path_parameter, "404", "Nothing of this account is under that id"),
        (has_body, "413", "`too_large`"),
        (has_body, "415", "`unsupported_media_type`"),
        (has_body, "422", "`unknown_field`, `invalid_body`, with `fields`"),
        (
            true,
            "default",
            "Any other problem: `overloaded` (429), `internal` (500), `store_unavailable` (503), `disk_full` (507)",
        ),
    ];
    let responses = &mut operation.responses.responses;
    for (_, status, description) in general.iter().filter(|(applies, ..)| *applies) {
        responses.entry((*status).to_owned()).or_insert_with(|| RefOr::T(problem(description)));
    }
    for (status, response) in responses {
        if let RefOr::T(response) = response
            && status.as_str() >= "400"
            && let Some(content) = response.content.shift_remove("application/json")
        {
            response.content.insert(PROBLEM.to_owned(), content);
        }
    }
}

fn problem(description: &str) -> Response {
    let body = Content::new(Some(Ref::from_schema_name("ProblemBody")));
    ResponseBuilder::new().description(description).content(PROBLEM, body).build()
}
