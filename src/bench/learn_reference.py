# The alternatives of `tango bench learn`: columns as in the CSV file, outcome 0/1, is_test 0/1.
import resource, sys, warnings
import numpy as np, pandas as pd, lightgbm
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.preprocessing import OneHotEncoder, TargetEncoder

warnings.filterwarnings("ignore")
data = pd.read_csv(sys.argv[1]).dropna(subset=["outcome"])
if "time_hour" in data:
    data = data.drop(columns="time_hour")
features = [name for name in data if name not in ("outcome", "is_test")]
train, test = data[data.is_test == 0], data[data.is_test == 1]
y, z = train.outcome.astype(int), test.outcome.astype(int)
texts = lambda part: part[features].astype(object).fillna("missing").astype(str)

def show(name, p, start):
    cpu = resource.getrusage(resource.RUSAGE_SELF).ru_utime - start
    print(f"{name:<34} {roc_auc_score(z, p):7.4f} {log_loss(z, p):9.4f} {cpu:8.1f}")

start = resource.getrusage(resource.RUSAGE_SELF).ru_utime
hot = OneHotEncoder(handle_unknown="ignore", min_frequency=2)
x = hot.fit_transform(texts(train))
best = LogisticRegression(C=0.1, max_iter=300).fit(x, y)
show("one-hot regression (this run)", best.predict_proba(hot.transform(texts(test)))[:, 1], start)

start = resource.getrusage(resource.RUSAGE_SELF).ru_utime
wide = [name for name in features if train[name].dtype == object or train[name].nunique() > 64]
encoder = TargetEncoder(random_state=0)
a = np.hstack([encoder.fit_transform(texts(train)[wide], y), train[[n for n in features if train[n].dtype != object]]])
b = np.hstack([encoder.transform(texts(test)[wide]), test[[n for n in features if train[n].dtype != object]]])
cut = int(len(a) * 0.8)
order = np.random.RandomState(0).permutation(len(a))
model = lightgbm.LGBMClassifier(n_estimators=500, learning_rate=0.05, num_leaves=32, verbose=-1, random_state=0)
model.fit(a[order[:cut]], y.values[order[:cut]], eval_set=[(a[order[cut:]], y.values[order[cut:]])],
          callbacks=[lightgbm.early_stopping(30, verbose=False)])
show("LightGBM (this run)", model.predict_proba(b)[:, 1], start)
