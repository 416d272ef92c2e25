"""client.py URL CA PASSWORD flow | append N | rows | train | score | upload MB | load RATE STOP-FILE: a client of tango, by the standard library alone.

flow:   data in, a model trained, scores out. Prints the ids.
append: N appends of rows to the dataset, each of whose jobs has to succeed, and the rows have to be there in the end.
rows:   how many rows the dataset has.
train:  trains a model again and waits for it.
score:  one score.
upload: a file of MB megabytes as a new dataset, its parts through tango in place of the object store.
load:   RATE scores a second, each once and over a connection of its own, until STOP-FILE exists; prints what came of them, and the longest
        time for which this process itself was not run (stalled_ms), which no server is to blame for. STOP-FILE.began exists once
        the first has been answered.
"""

import json
import os
import random
import ssl
import sys
import threading
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

PATIENCE_SECONDS = 240


class Client:
    def __init__(self, url, authority, password):
        self.url = url
        self.tls = ssl.create_default_context(cafile=authority)
        self.opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=self.tls))
        self.token = None
        self.password = password

    def ask(self, method, path, body=None, timeout=30, headers=None, key=None):
        """Status and answer; raises when there is none."""
        headers = dict(headers or {})
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        if key:
            headers["Idempotency-Key"] = key
        data = None
        if isinstance(body, bytes):
            data = body
        elif body is not None:
            data = json.dumps(body).encode()
            headers["Content-Type"] = "application/json"
        url = path if path.startswith("https://") else self.url + path
        if path.startswith("https://"):
            headers.pop("Authorization", None)
        request = urllib.request.Request(url, data=data, method=method, headers=headers)
        try:
            with self.opener.open(request, timeout=timeout) as answer:
                text, status, found = answer.read(), answer.status, answer.headers
        except urllib.error.HTTPError as error:
            text, status, found = error.read(), error.code, error.headers
        try:
            return status, json.loads(text), found
        except ValueError:
            return status, text, found

    def must(self, method, path, body=None, **options):
        """Goes on over failures that pass, as a client that knows its trade does: the same request with the same key."""
        key = f"{random.getrandbits(64):x}"
        until = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                status, answer, headers = self.ask(method, path, body, key=key if method == "POST" else None, **options)
                if status < 300:
                    return answer, headers
                # Another server may hear of an activation some milliseconds later.
                passes = any(code in str(answer) for code in ("in_flight", "no_active_model"))
                if status not in (409, 429, 500, 502, 503, 504) or (status == 409 and not passes):
                    sys.exit(f"{method} {path}: {status} {answer}")
                problem = f"{status} {answer}"
            except OSError as error:
                problem = str(error)
            if time.monotonic() > until:
                sys.exit(f"{method} {path}: {problem}, for {PATIENCE_SECONDS} s")
            time.sleep(0.5)

    def login(self):
        answer, _ = self.must("POST", "/api/v1/auth/login", {"username": "super_user@genesys.com", "password": self.password})
        self.token = answer["token"]

    def wait_for(self, job):
        until = time.monotonic() + PATIENCE_SECONDS
        while True:
            state = self.must("GET", f"/api/v1/jobs/{job}")[0]
            if state["state"] == "succeeded":
                return state
            if state["state"] not in ("queued", "running"):
                sys.exit(f"job {job}: {state}")
            if time.monotonic() > until:
                sys.exit(f"job {job} does not end: {state}")
            time.sleep(0.5)


def rows(count, seed):
    dice = random.Random(seed)
    lines = ["agent_id,customer_id,topic,language,resolved"]
    for _ in range(count):
        agent, topic = dice.randrange(40), dice.choice(["bill", "line", "move", "sale"])
        chance = 0.2 + 0.6 * ((agent * 7 + len(topic) * 3 + ord(topic[0])) % 10) / 10
        lines.append(f"a{agent},c{dice.randrange(2000)},{topic},{dice.choice(['de', 'en', 'fr'])},{int(dice.random() < chance)}")
    return "\n".join(lines).encode() + b"\n"


def flow(client):
    file = rows(30_000, 1)
    upload, _ = client.must("POST", "/api/v1/uploads", {"target": "dataset", "name": "calls", "filename": "calls.csv", "size_bytes": len(file), "mode": "create"})
    parts, offset = [], 0
    for part in upload["parts"]:
        body = file[offset:offset + part["size_bytes"]]
        _, headers = client.must("PUT", part["url"], body, headers=part.get("headers"))
        parts.append({"number": part["number"], "etag": headers["ETag"].strip('"')})
        offset += part["size_bytes"]
    done, _ = client.must("POST", f"/api/v1/uploads/{upload['id']}/complete", {"parts": parts, "accept_schema": False})
    client.wait_for(done["job_id"])
    dataset = done["dataset_id"]
    schema, _ = client.must("GET", f"/api/v1/datasets/{dataset}/schema")
    roles = {"agent_id": "agent_id", "customer_id": "customer_id", "resolved": "metric"}
    fields = [{"name": f["name"], "type": f["type"], "role": roles.get(f["name"], "context")} for f in schema["fields"]]
    client.must("PUT", f"/api/v1/datasets/{dataset}/schema", {"fields": fields})
    accepted, _ = client.must("POST", f"/api/v1/datasets/{dataset}/schema/accept", {})
    client.wait_for(accepted["job_id"])
    client.must("POST", "/api/v1/predictors", {
        "name": "resolved", "dataset_id": dataset, "metric": {"field": "resolved", "kind": "classification", "goal": "maximize", "positive": 1},
        "agent_source": "dataset", "features": {"context": ["topic", "language"]}})
    model, _ = client.must("POST", "/api/v1/predictors/resolved/models", {"name": "first", "type": "DISJOINT", "settings": {"holdout": "random"}})
    trained, _ = client.must("POST", f"/api/v1/models/{model['id']}/train", {})
    client.wait_for(trained["job_id"])
    client.must("POST", f"/api/v1/models/{model['id']}/activate", {})
    score(client)
    print(f"data in, trained, scored: dataset {dataset}, model {model['id']}")


def upload(client, megabytes):
    header, block = rows(30_000, 2).split(b"\n", 1)
    file = header + b"\n" + block * (megabytes * 1_000_000 // len(block) + 1)
    asked = {"target": "dataset", "name": f"file {time.time_ns()}", "filename": "calls.csv", "size_bytes": len(file), "mode": "create"}
    started, _ = client.must("POST", "/api/v1/uploads", asked)
    parts, offset = [], 0
    for part in started["parts"]:
        body = file[offset:offset + part["size_bytes"]]
        received, _ = client.must("PUT", f"/api/v1/uploads/{started['id']}/parts/{part['number']}", body, headers={"Content-Type": "application/octet-stream"})
        parts.append({"number": part["number"], "etag": received["etag"]})
        offset += part["size_bytes"]
    done, _ = client.must("POST", f"/api/v1/uploads/{started['id']}/complete", {"parts": parts, "accept_schema": False})
    client.wait_for(done["job_id"])
    print(f"{len(file)} bytes in {len(parts)} part(s) through tango")


QUESTION = {"context": {"topic": "bill", "language": "de"}, "agents": [f"a{n}" for n in range(40)], "top": 3}


def score(client):
    answer, _ = client.must("POST", "/api/v1/predictors/resolved/score", QUESTION)
    assert answer["eligible"] == 40 and len(answer["scores"]) == 3, answer
    assert answer["scores"][0]["source"] == "local", answer


def dataset_of(client):
    return client.must("GET", "/api/v1/datasets?limit=10")[0]["items"][0]


def append(client, count):
    dataset = dataset_of(client)
    before = dataset["rows"]
    jobs = []
    for number in range(count):
        answer, _ = client.must("POST", f"/api/v1/datasets/{dataset['id']}/append", rows(200, 100 + number), headers={"Content-Type": "text/csv"})
        jobs.append(answer["job_id"])
        time.sleep(0.2)
    for job in jobs:
        client.wait_for(job)
    after = client.must("GET", f"/api/v1/datasets/{dataset['id']}")[0]["rows"]
    if after != before + 200 * count:
        sys.exit(f"{before} rows and {count} appends of 200 make {after} rows")
    print(f"{count} appends, {after} rows: none lost, none doubled")


def train(client):
    model, _ = client.must("POST", "/api/v1/predictors/resolved/models", {"name": f"again {time.time_ns()}", "type": "HYBRID", "settings": {"holdout": "random"}})
    trained, _ = client.must("POST", f"/api/v1/models/{model['id']}/train", {})
    state = client.wait_for(trained["job_id"])
    print(f"trained, attempt {state.get('attempt')}")


def load(client, rate, stop_file):
    counts, failures, when, slowest, stalled, lock = {"ok": 0, "failed": 0}, {}, [], [0.0], [0.0], threading.Lock()

    def one():
        began = time.monotonic()
        try:
            status, answer, _ = client.ask("POST", "/api/v1/predictors/resolved/score", QUESTION, timeout=20)
            what = None if status == 200 else f"{status} {str(answer)[:150]}"
        except OSError as error:
            what = f"{type(error).__name__}: {error}"
        with lock:
            seconds = time.monotonic() - began
            slowest[0] = max(slowest[0], seconds)
            counts["failed" if what else "ok"] += 1
            if what:
                when.append(f"{time.strftime('%H:%M:%S', time.localtime(time.time() - seconds))} {seconds:.1f} s")
                failures[what] = failures.get(what, 0) + 1
            elif counts["ok"] == 1:
                open(stop_file + ".began", "w").close()

    def watch():
        last = time.monotonic()
        while True:
            time.sleep(0.05)
            now = time.monotonic()
            stalled[0], last = max(stalled[0], now - last - 0.05), now

    threading.Thread(target=watch, daemon=True).start()
    began, sent = time.monotonic(), 0
    with ThreadPoolExecutor(32) as pool:
        while not os.path.exists(stop_file) and time.monotonic() - began < 1800:
            pool.submit(one)
            sent += 1
            time.sleep(max(0.0, began + sent / rate - time.monotonic()))
    print(json.dumps({"seconds": round(time.monotonic() - began), **counts, "slowest_ms": round(slowest[0] * 1000),
                      "stalled_ms": round(stalled[0] * 1000), "failures": failures, "when": sorted(when)[:40]}))
    sys.exit(1 if counts["failed"] else 0)


def main():
    url, authority, password, command = sys.argv[1:5]
    client = Client(url, authority, password)
    client.login()
    if command == "flow":
        flow(client)
    elif command == "append":
        append(client, int(sys.argv[5]))
    elif command == "rows":
        print(dataset_of(client)["rows"])
    elif command == "train":
        train(client)
    elif command == "upload":
        upload(client, int(sys.argv[5]))
    elif command == "score":
        score(client)
        print("scored")
    elif command == "load":
        load(client, float(sys.argv[5]), sys.argv[6])
    else:
        sys.exit(__doc__)


main()
