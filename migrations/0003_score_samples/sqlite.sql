-- Score requests that are kept whole.
CREATE TABLE score_samples (
    row INTEGER PRIMARY KEY,
    scope TEXT NOT NULL,
    id TEXT NOT NULL,
    revision INTEGER NOT NULL,
    body TEXT NOT NULL,
    UNIQUE (scope, id)
);
CREATE INDEX score_samples_by_time ON score_samples (scope, json_extract(body, '$."at_ms"'), id);
