"""The same job as a score, as it is usually built: Flask on gunicorn, LightGBM, numpy. Started by `tango bench score http`.

Environment: AGENTS, TREES. Bodies and filters are those that tango gets in the same run: 21 numbers a pair of agent and interaction, agents by
ids or by a filter, all ranked. Trained once, before the workers are forked; agents stand ready as one matrix; predictions on one thread a
worker, which was fastest with a worker for each processor.
"""

import os

import flask
import lightgbm
import numpy
import orjson

AGENTS, TREES = int(os.environ["AGENTS"]), int(os.environ["TREES"])
NUMBERS = 10

random = numpy.random.default_rng(1)
profile = random.random((AGENTS, NUMBERS))
ids = [f"agent-{agent:05}" for agent in range(AGENTS)]
row_of = {agent: row for row, agent in enumerate(ids)}
even = numpy.arange(AGENTS) % 2 == 0
english = numpy.where(even, 4, numpy.arange(AGENTS) % 6)
login_status = numpy.where(even, numpy.where(numpy.arange(AGENTS) // 2 % 2 == 0, 4, 9), 0)
training = ~even

served = random.integers(0, AGENTS, AGENTS * 40)
context = random.random((len(served), NUMBERS + 1))
a, c = profile[served], context
strength = 2 * (a[:, 0] - 0.5) * (c[:, 0] - 0.5) + abs(a[:, 1] - c[:, 1]) + 0.5 * c[:, 2] * c[:, 3] + 0.3 * a[:, 2]
won = random.random(len(served)) < numpy.clip(strength, 0.05, 0.95)
model = lightgbm.train(
    {"objective": "binary", "num_leaves": 64, "min_data_in_leaf": 5, "learning_rate": 0.05, "verbose": -1, "num_threads": 2},
    lightgbm.Dataset(numpy.hstack([a, c]), won),
    num_boost_round=TREES,
)
names = [f"c{number}" for number in range(NUMBERS)]
app = flask.Flask(__name__)


@app.post("/score")
def score():
    body = orjson.loads(flask.request.get_data())
    if "agents" in body:
        rows = numpy.array([row_of[agent] for agent in body["agents"]])
    else:
        rows = numpy.flatnonzero((english > 3) & ((login_status == 4) | (login_status == 9)) & ~training)
    given = body["context"]
    values = [given[name] for name in names] + [int(given["reason"].split()[1])]
    matrix = numpy.empty((len(rows), 2 * NUMBERS + 1))
    matrix[:, :NUMBERS] = profile[rows]
    matrix[:, NUMBERS:] = values
    p = model.predict(matrix, num_threads=1)
    best = numpy.argsort(-p)
    top = body.get("top")
    scores = [
        {"agent_id": ids[row], "score": 1000 * value, "p_score": value, "source": "local", "rank": rank + 1}
        for rank, (row, value) in enumerate(zip(rows[best[:top]].tolist(), p[best[:top]].tolist()))
    ]
    answer = {"scores": scores, "median": float(numpy.median(p)), "max": float(p.max()), "min": float(p.min()), "eligible": len(rows)}
    return flask.Response(orjson.dumps(answer), mimetype="application/json")
