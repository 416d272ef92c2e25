-- What recurs, what scoring counted, what was scored.
CREATE TABLE schedules (
    row INTEGER PRIMARY KEY,
    scope TEXT NOT NULL,
    id TEXT NOT NULL,
    revision INTEGER NOT NULL,
    body TEXT NOT NULL,
    UNIQUE (scope, id)
);
CREATE TABLE scoring_hours (
    row INTEGER PRIMARY KEY,
    scope TEXT NOT NULL,
    id TEXT NOT NULL,
    revision INTEGER NOT NULL,
    body TEXT NOT NULL,
    UNIQUE (scope, id)
);
CREATE TABLE scored_contexts (
    row INTEGER PRIMARY KEY,
    scope TEXT NOT NULL,
    id TEXT NOT NULL,
    revision INTEGER NOT NULL,
    body TEXT NOT NULL,
    UNIQUE (scope, id)
);
CREATE INDEX scoring_hours_by_predictor ON scoring_hours (scope, json_extract(body, '$."predictor_id"'), id);
CREATE INDEX scoring_hours_by_time ON scoring_hours (scope, json_extract(body, '$."hour_ms"'), id);
CREATE INDEX scored_contexts_by_time ON scored_contexts (scope, json_extract(body, '$."last_ms"'), id);
CREATE INDEX score_log_by_update ON score_log (scope, json_extract(body, '$."updated_at"'), id);
