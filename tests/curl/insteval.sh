#!/usr/bin/env bash
# Lecturers rated by students, from upload to scores, by curl alone: a dataset whose agents have no profile.
source "$(dirname "$0")/client.sh"
need_data insteval.csv.gz
start_server

upload "$data/insteval.csv.gz" '"target":"dataset","name":"insteval"' false
# The lecturer is the agent, the student the customer; the rating is the outcome.
set_roles agent_id:lecturer_id customer_id:student_id metric:rating
accept_schema
[ "$rows" = 73421 ] || fail "$rows rows instead of 73421"
expect 200 GET "/api/v1/datasets/$dataset/cardinalities"
grep -q '"field":"lecturer_id","type":"[A-Za-z]*","rows":73421,"nulls":0,"distinct":1128,"exact":true' "$work/answer" ||
    fail "the lecturers are not counted right: $(head -c 2000 "$work/answer")"

step "define a predictor"
features='{"context":["student_id","student_age","lecture_age","service","department"]}'
metric='{"field":"rating","kind":"regression","goal":"maximize"}'
expect 201 POST /api/v1/predictors \
    "{\"name\":\"rating\",\"dataset_id\":\"$dataset\",\"metric\":$metric,\"agent_source\":\"dataset\",\"features\":$features}"
expect 409 POST /api/v1/predictors \
    "{\"name\":\"rating\",\"dataset_id\":\"$dataset\",\"metric\":$metric,\"agent_source\":\"dataset\",\"features\":$features}"
metric='{"field":"rating","kind":"classification","goal":"maximize","positive":5}'
expect 201 POST /api/v1/predictors \
    "{\"name\":\"top_rating\",\"dataset_id\":\"$dataset\",\"metric\":$metric,\"agent_source\":\"dataset\",\"features\":$features}"
expect 409 POST /api/v1/predictors/top_rating/score '{"agents":["1"]}'
[ "$(member code)" = no_active_model ] || fail "another code than no_active_model"
train_and_activate top_rating DISJOINT '{"holdout":"random"}'
auc=$(measured auc)
step "AUC on the holdout: $auc"
at_least "$auc" 0.65 "the AUC"

step "score by list"
expect 200 POST /api/v1/predictors/top_rating/score \
    '{"context":{"student_id":1,"student_age":2,"lecture_age":2,"service":0,"department":2},"agents":["1002","1050","6","nobody"],"top":3}'
[ "$(member eligible)" = 4 ] || fail "not four eligible agents"
[ "$(grep -o '"rank":' "$work/answer" | wc -l)" = 3 ] || fail "not the best three agents"
grep -q '"source":"local"' "$work/answer" || fail "no agent has a model of its own"

step "score by filter: the lecturers have no profile, so a filter finds one only after it was posted"
expect 200 POST /api/v1/agents/records '{"records":[{"id":"1002","loginStatus":4,"skills":{"english":5}}]}'
[ "$(member accepted)" = 1 ] || fail "the agent was not accepted"
for _ in $(seq 50); do
    expect 200 POST /api/v1/predictors/top_rating/score '{"context":{"department":2},"action_filters":"english > 3 & loginStatus = 4"}'
    [ "$(member eligible)" = 1 ] && break
    sleep 0.1
done
[ "$(member eligible)" = 1 ] || fail "the filter does not find the agent"
expect 422 POST /api/v1/predictors/top_rating/score '{"action_filters":"english >"}'
[ "$(member code)" = bad_filter ] || fail "another code than bad_filter"
printf 'insteval: passed\n'
