# The alternatives of `tango bench learn`: columns as in the CSV file, outcome 0/1, is_test 0/1.
import resource, sys, time, warnings
import numpy as np, pandas as pd, lightgbm
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.preprocessing import OneHotEncoder, TargetEncoder

warnings.filterwarnings("ignore")
data = pd.read_csv(sys.argv[1]).dropna(subset=["outcome"])
if "time_hour" in data:  # As days, for the trees; one-hot it would name single hours.
    data["time_hour"] = pd.to_datetime(data["time_hour"], utc=True).dt.as_unit("s").astype("int64") / 86_400
features = [name for name in data if name not in ("outcome", "is_test")]
number = pd.api.types.is_numeric_dtype
one_hot = [name for name in features if name != "time_hour"]
train, test = data[data.is_test == 0], data[data.is_test == 1]
y, z = train.outcome.astype(int), test.outcome.astype(int)
texts = lambda part, names: part[names].astype(object).fillna("missing").astype(str)

def show(name, p, start):
    wall, cpu = time.time() - start[0], resource.getrusage(resource.RUSAGE_SELF).ru_utime - start[1]
    print(f"{name:<30} {roc_auc_score(z, p):7.4f} {'':8} {log_loss(z, p):9.4f} {cpu:7.1f} {wall:7.1f}")

def clock():
    return time.time(), resource.getrusage(resource.RUSAGE_SELF).ru_utime

start = clock()
hot = OneHotEncoder(handle_unknown="ignore", min_frequency=2)
x = hot.fit_transform(texts(train, one_hot))
best = LogisticRegression(C=0.1, max_iter=300).fit(x, y)
show("one-hot regression (this run)", best.predict_proba(hot.transform(texts(test, one_hot)))[:, 1], start)

start = clock()
wide = [name for name in features if not number(train[name]) or (train[name].nunique() > 64 and name != "time_hour")]
encoder = TargetEncoder(random_state=0)
a = np.hstack([encoder.fit_transform(texts(train, wide), y), train[[n for n in features if number(train[n])]]])
b = np.hstack([encoder.transform(texts(test, wide)), test[[n for n in features if number(train[n])]]])
cut = int(len(a) * 0.8)
order = np.random.RandomState(0).permutation(len(a))
model = lightgbm.LGBMClassifier(n_estimators=500, learning_rate=0.05, num_leaves=32, verbose=-1, random_state=0)
model.fit(a[order[:cut]], y.values[order[:cut]], eval_set=[(a[order[cut:]], y.values[order[cut:]])],
          callbacks=[lightgbm.early_stopping(30, verbose=False)])
show("LightGBM (this run)", model.predict_proba(b)[:, 1], start)
