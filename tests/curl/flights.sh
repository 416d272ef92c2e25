#!/usr/bin/env bash
# Flights and the planes that flew them, from upload to scores, by curl alone: agents with a profile, minimised delay.
source "$(dirname "$0")/client.sh"
need_data flights.csv.gz planes.csv
start_server

step "planes are the agents"
# A plane's own `year` is another year than the flight's.
sed '1s/\byear\b/built/' "$data/planes.csv" >"$work/planes.csv"
upload "$work/planes.csv" '"target":"agents","id_field":"tailnum"' true
expect 200 GET /api/v1/agents/cardinalities
grep -q '"field":"engines"' "$work/answer" || fail "the planes' fields are not counted: $(head -c 2000 "$work/answer")"

upload "$data/flights.csv.gz" '"target":"dataset","name":"flights"' false
# What is known only after the departure is left out.
set_roles agent_id:tailnum timestamp:time_hour metric:arr_delay \
    ignored:dep_delay ignored:dep_time ignored:arr_time ignored:air_time
accept_schema
[ "$rows" = 336776 ] || fail "$rows rows instead of 336776"

step "define a predictor"
metric='{"field":"arr_delay","kind":"regression","goal":"minimize"}'
features='{"context":["time_hour","carrier","origin","dest","sched_dep_time","distance"],"agent":["built","manufacturer","seats"]}'
expect 422 POST /api/v1/predictors \
    "{\"name\":\"delay\",\"dataset_id\":\"$dataset\",\"metric\":{\"field\":\"delay\",\"kind\":\"regression\",\"goal\":\"minimize\"},\"features\":$features}"
[ "$(member code)" = missing_field ] || fail "another code than missing_field"
expect 201 POST /api/v1/predictors \
    "{\"name\":\"delay\",\"dataset_id\":\"$dataset\",\"metric\":$metric,\"agent_source\":\"profile\",\"features\":$features}"

train_and_activate delay HYBRID '{"trees":60}'
step "mean absolute error on the last fifth of the year: $(measured mae) minutes"

context='{"time_hour":"2013-12-20T18:00:00Z","carrier":"UA","origin":"EWR","dest":"ORD","sched_dep_time":1300,"distance":719}'
step "score by list"
expect 200 POST /api/v1/predictors/delay/score "{\"context\":$context,\"agents\":[\"N14228\",\"N24211\",\"N619AA\",\"NOPLANE\"]}"
[ "$(member eligible)" = 4 ] || fail "not four eligible planes"
grep -q '"source":"default"' "$work/answer" || fail "an unknown plane is not marked"

step "score by filter"
expect 200 POST /api/v1/predictors/delay/score "{\"context\":$context,\"action_filters\":\"seats > 100 & engines = 2 & built >= 2000\",\"top\":5}"
at_least "$(member eligible)" 500 "the number of eligible planes"
[ "$(grep -o '"rank":' "$work/answer" | wc -l)" = 5 ] || fail "not the best five planes"
step "$(member eligible) planes scored in $(member took_us) µs"
expect 404 POST /api/v1/predictors/nothing/score "{\"agents\":[]}"
printf 'flights: passed\n'
