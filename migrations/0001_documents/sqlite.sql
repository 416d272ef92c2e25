-- One table per collection of documents, one for blobs, and the store's own book-keeping.
-- `row` is stable (element indexes refer to it); a document's key is (scope, id).

CREATE TABLE meta (
    row INTEGER PRIMARY KEY,
    scope TEXT NOT NULL,
    id TEXT NOT NULL,
    revision INTEGER NOT NULL,
    body TEXT NOT NULL,
    UNIQUE (scope, id)
);
CREATE TABLE accounts (
    row INTEGER PRIMARY KEY,
    scope TEXT NOT NULL,
    id TEXT NOT NULL,
    revision INTEGER NOT NULL,
    body TEXT NOT NULL,
    UNIQUE (scope, id)
);
CREATE TABLE users (
    row INTEGER PRIMARY KEY,
    scope TEXT NOT NULL,
    id TEXT NOT NULL,
    revision INTEGER NOT NULL,
    body TEXT NOT NULL,
    UNIQUE (scope, id)
);
CREATE TABLE signing_keys (
    row INTEGER PRIMARY KEY,
    scope TEXT NOT NULL,
    id TEXT NOT NULL,
    revision INTEGER NOT NULL,
    body TEXT NOT NULL,
    UNIQUE (scope, id)
);
CREATE TABLE uploads (
    row INTEGER PRIMARY KEY,
    scope TEXT NOT NULL,
    id TEXT NOT NULL,
    revision INTEGER NOT NULL,
    body TEXT NOT NULL,
    UNIQUE (scope, id)
);
CREATE TABLE datasets (
    row INTEGER PRIMARY KEY,
    scope TEXT NOT NULL,
    id TEXT NOT NULL,
    revision INTEGER NOT NULL,
    body TEXT NOT NULL,
    UNIQUE (scope, id)
);
CREATE TABLE dataset_versions (
    row INTEGER PRIMARY KEY,
    scope TEXT NOT NULL,
    id TEXT NOT NULL,
    revision INTEGER NOT NULL,
    body TEXT NOT NULL,
    UNIQUE (scope, id)
);
CREATE TABLE schemas (
    row INTEGER PRIMARY KEY,
    scope TEXT NOT NULL,
    id TEXT NOT NULL,
    revision INTEGER NOT NULL,
    body TEXT NOT NULL,
    UNIQUE (scope, id)
);
CREATE TABLE segments (
    row INTEGER PRIMARY KEY,
    scope TEXT NOT NULL,
    id TEXT NOT NULL,
    revision INTEGER NOT NULL,
    body TEXT NOT NULL,
    UNIQUE (scope, id)
);
CREATE TABLE agents (
    row INTEGER PRIMARY KEY,
    scope TEXT NOT NULL,
    id TEXT NOT NULL,
    revision INTEGER NOT NULL,
    body TEXT NOT NULL,
    UNIQUE (scope, id)
);
CREATE TABLE customers (
    row INTEGER PRIMARY KEY,
    scope TEXT NOT NULL,
    id TEXT NOT NULL,
    revision INTEGER NOT NULL,
    body TEXT NOT NULL,
    UNIQUE (scope, id)
);
CREATE TABLE journal (
    row INTEGER PRIMARY KEY,
    scope TEXT NOT NULL,
    id TEXT NOT NULL,
    revision INTEGER NOT NULL,
    body TEXT NOT NULL,
    UNIQUE (scope, id)
);
CREATE TABLE cardinalities (
    row INTEGER PRIMARY KEY,
    scope TEXT NOT NULL,
    id TEXT NOT NULL,
    revision INTEGER NOT NULL,
    body TEXT NOT NULL,
    UNIQUE (scope, id)
);
CREATE TABLE predictors (
    row INTEGER PRIMARY KEY,
    scope TEXT NOT NULL,
    id TEXT NOT NULL,
    revision INTEGER NOT NULL,
    body TEXT NOT NULL,
    UNIQUE (scope, id)
);
CREATE TABLE models (
    row INTEGER PRIMARY KEY,
    scope TEXT NOT NULL,
    id TEXT NOT NULL,
    revision INTEGER NOT NULL,
    body TEXT NOT NULL,
    UNIQUE (scope, id)
);
CREATE TABLE reports (
    row INTEGER PRIMARY KEY,
    scope TEXT NOT NULL,
    id TEXT NOT NULL,
    revision INTEGER NOT NULL,
    body TEXT NOT NULL,
    UNIQUE (scope, id)
);
CREATE TABLE jobs (
    row INTEGER PRIMARY KEY,
    scope TEXT NOT NULL,
    id TEXT NOT NULL,
    revision INTEGER NOT NULL,
    body TEXT NOT NULL,
    UNIQUE (scope, id)
);
CREATE TABLE idempotency (
    row INTEGER PRIMARY KEY,
    scope TEXT NOT NULL,
    id TEXT NOT NULL,
    revision INTEGER NOT NULL,
    body TEXT NOT NULL,
    UNIQUE (scope, id)
);
CREATE TABLE score_log (
    row INTEGER PRIMARY KEY,
    scope TEXT NOT NULL,
    id TEXT NOT NULL,
    revision INTEGER NOT NULL,
    body TEXT NOT NULL,
    UNIQUE (scope, id)
);
CREATE TABLE audit (
    row INTEGER PRIMARY KEY,
    scope TEXT NOT NULL,
    id TEXT NOT NULL,
    revision INTEGER NOT NULL,
    body TEXT NOT NULL,
    UNIQUE (scope, id)
);

CREATE TABLE blobs (
    row INTEGER PRIMARY KEY,
    scope TEXT NOT NULL,
    id TEXT NOT NULL,
    bytes BLOB NOT NULL,
    UNIQUE (scope, id)
);

-- The last revision that was given out.
CREATE TABLE store_state (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO store_state (name, value) VALUES ('revision', 0);

-- Indexes that the product asked for: `x_<number>` is the index (or the table of elements) of each.
CREATE TABLE store_indexes (
    number INTEGER PRIMARY KEY,
    collection TEXT NOT NULL,
    name TEXT NOT NULL,
    scope TEXT,
    path TEXT NOT NULL,
    elements INTEGER NOT NULL,
    state TEXT NOT NULL,
    built_to INTEGER NOT NULL DEFAULT 0,
    UNIQUE (collection, name)
);

-- What the product always asks for.
CREATE INDEX jobs_to_claim ON jobs (json_extract(body, '$."state"'), json_extract(body, '$."id"'), scope, id);
CREATE INDEX jobs_by_state ON jobs (scope, json_extract(body, '$."state"'), id);
CREATE INDEX jobs_by_time ON jobs (scope, json_extract(body, '$."created_at"'), id);
CREATE INDEX models_by_predictor ON models (scope, json_extract(body, '$."predictor_id"'), id);
CREATE INDEX models_active ON models (json_extract(body, '$."active"'), scope, id);
CREATE INDEX predictors_by_name ON predictors (scope, json_extract(body, '$."name"'), id);
CREATE INDEX score_log_by_time ON score_log (scope, json_extract(body, '$."created_at"'), id);
CREATE INDEX audit_by_time ON audit (scope, json_extract(body, '$."created_at"'), id);
CREATE INDEX idempotency_by_time ON idempotency (json_extract(body, '$."created_at"'), scope, id);
