# The alternatives of `tango bench learn`: columns as in the CSV file, outcome 0/1.
#   compare rows.csv predictions.csv: learns from the rows with is_test 0, writes one column of predictions a tool for
#     the others; prints a tool's name, CPU seconds, wall seconds, trees.
#   cost rows.csv: prints CPU seconds, wall seconds, trees, AUC, peak megabytes of LightGBM's three fits.
import resource, sys, time, warnings
import numpy as np, pandas as pd, lightgbm
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import OneHotEncoder, TargetEncoder

warnings.filterwarnings("ignore")
mode, data = sys.argv[1], pd.read_csv(sys.argv[2])
data = data.dropna(subset=["outcome"])
number = pd.api.types.is_numeric_dtype
texts = lambda part, names: part[names].astype(object).fillna("missing").astype(str)
boosted = dict(n_estimators=500, learning_rate=0.05, num_leaves=32, verbose=-1, random_state=0)


def clock():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return time.time(), used.ru_utime + used.ru_stime


def numbers_of(encoder, part, wide, features, y=None):
    encoded = encoder.transform(texts(part, wide)) if y is None else encoder.fit_transform(texts(part, wide), y)
    return np.hstack([encoded, part[[name for name in features if number(part[name])]]])


def split(rows):
    order = np.random.RandomState(0).permutation(rows)
    return order[: int(rows * 0.8)], order[int(rows * 0.8) :]


if mode == "cost":
    features = [name for name in data if name != "outcome"]
    wide = [name for name in features if not number(data[name])]
    y = data.outcome.values
    start = clock()
    outer, holdout = split(len(data))
    inner = [outer[part] for part in split(len(outer))]
    encoder = TargetEncoder(random_state=0)
    a, b = numbers_of(encoder, data.iloc[inner[0]], wide, features, y[inner[0]]), numbers_of(encoder, data.iloc[inner[1]], wide, features)
    first = lightgbm.LGBMClassifier(**boosted)
    first.fit(a, y[inner[0]], eval_set=[(b, y[inner[1]])], callbacks=[lightgbm.early_stopping(40, verbose=False)])
    boosted["n_estimators"] = trees = first.best_iteration_
    del a, b
    a, b = numbers_of(encoder, data.iloc[outer], wide, features, y[outer]), numbers_of(encoder, data.iloc[holdout], wide, features)
    auc = roc_auc_score(y[holdout], lightgbm.LGBMClassifier(**boosted).fit(a, y[outer]).predict_proba(b)[:, 1])
    del a, b
    lightgbm.LGBMClassifier(**boosted).fit(numbers_of(encoder, data, wide, features, y), y)
    end = clock()
    print(end[1] - start[1], end[0] - start[0], trees, auc, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    sys.exit()

import xgboost

for name in ("time_hour", "start_time"):
    if name in data:  # As days, for the trees; one-hot it would name single moments.
        data[name] = pd.to_datetime(data[name], utc=True).dt.as_unit("s").astype("int64") / 86_400
features = [name for name in data if name not in ("outcome", "is_test")]
times = ("time_hour", "start_time")
one_hot = [name for name in features if name not in times]
train, test = data[data.is_test == 0], data[data.is_test == 1]
y = train.outcome.astype(int)
predictions = []


def show(name, p, start, trees=""):
    end = clock()
    predictions.append(p)
    print(name, end[1] - start[1], end[0] - start[0], trees, sep="\t")


start = clock()
hot = OneHotEncoder(handle_unknown="ignore", min_frequency=2)
x = hot.fit_transform(texts(train, one_hot))
best = LogisticRegression(C=0.1, max_iter=300).fit(x, y)
show("scikit-learn, one-hot regression", best.predict_proba(hot.transform(texts(test, one_hot)))[:, 1], start)

start = clock()
wide = [name for name in features if not number(train[name]) or (train[name].nunique() > 64 and name not in times)]
encoder = TargetEncoder(random_state=0)
a, b = numbers_of(encoder, train, wide, features, y), numbers_of(encoder, test, wide, features)
fit, judge = split(len(a))
encoding = clock()[1] - start[1]
model = lightgbm.LGBMClassifier(**boosted)
model.fit(a[fit], y.values[fit], eval_set=[(a[judge], y.values[judge])], callbacks=[lightgbm.early_stopping(30, verbose=False)])
show("LightGBM, target encoding", model.predict_proba(b)[:, 1], start, model.best_iteration_)

start = (time.time(), clock()[1] - encoding)
model = xgboost.XGBClassifier(
    n_estimators=500, learning_rate=0.05, max_leaves=32, max_depth=0, grow_policy="lossguide", tree_method="hist",
    early_stopping_rounds=30, random_state=0,
)
model.fit(a[fit], y.values[fit], eval_set=[(a[judge], y.values[judge])], verbose=False)
show("XGBoost, target encoding", model.predict_proba(b)[:, 1], start, model.best_iteration + 1)

start = clock()
as_categories = lambda part: part[features].assign(
    **{name: pd.Categorical(texts(part, [name])[name], categories=pd.unique(texts(train, [name])[name])) for name in wide}
)
a, b = as_categories(train), as_categories(test)
model = lightgbm.LGBMClassifier(**boosted)
model.fit(a.iloc[fit], y.values[fit], eval_set=[(a.iloc[judge], y.values[judge])], callbacks=[lightgbm.early_stopping(30, verbose=False)])
show("LightGBM, categories as they are", model.predict_proba(b)[:, 1], start, model.best_iteration_)
np.savetxt(sys.argv[3], np.column_stack(predictions), delimiter=",", fmt="%.9f")
