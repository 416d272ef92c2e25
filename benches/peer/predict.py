"""LightGBM's own batch prediction for one interaction and all agents, on one thread: median milliseconds.

Arguments: agents, trees, requests.
"""

import statistics
import sys
import time

import lightgbm
import numpy

agents, trees, requests = (int(argument) for argument in sys.argv[1:4])
random = numpy.random.default_rng(1)
rows = agents * 40
features = random.random((rows, 21))
a, c = features[:, :10], features[:, 10:20]
strength = 2 * (a[:, 0] - 0.5) * (c[:, 0] - 0.5) + abs(a[:, 1] - c[:, 1]) + 0.5 * c[:, 2] * c[:, 3] + 0.3 * a[:, 2]
won = random.random(rows) < numpy.clip(strength, 0.05, 0.95)
model = lightgbm.train(
    {"objective": "binary", "num_leaves": 64, "min_data_in_leaf": 5, "learning_rate": 0.05, "verbose": -1, "num_threads": 1},
    lightgbm.Dataset(features, won),
    num_boost_round=trees,
)
profile = random.random((agents, 10))
times = []
for _ in range(requests):
    context = random.random(11)
    matrix = numpy.hstack([profile, numpy.broadcast_to(context, (agents, 11))])
    started = time.perf_counter()
    model.predict(matrix, num_threads=1)
    times.append((time.perf_counter() - started) * 1e3)
print(statistics.median(times))
