"""check.py DEPLOY: lints and renders the charts with Helm's own engine, with several sets of values, and checks every manifest, those of
kubernetes/ too, strictly against the schemas of Kubernetes. Nothing is installed anywhere, and no cluster is asked.
"""

import atexit
import os
import re
import shutil
import subprocess
import sys
import tempfile

import helm_python
import kubernetes_validate
import yaml

VERSIONS = ["1.25", "1.30", "1.33"]
GPR = {
    "as it is": {},
    "a deployment over plain HTTP without a host port": {"daemonSet": False, "tlsSecretName": "", "hostPort": 0},
    "an object store of one's own": {"objectStore": {"enabled": False}, "caConfigMapName": "", "settings": {"S3_ENDPOINT": "https://s3.example.com:9000"}},
    "one instance of the object store, another class": {"objectStore": {"replicas": 1, "storageClassName": "minio-ssd", "nodePort": 32000}},
    "copies that are lost": {"objectStore": {"acceptLostObjects": True}},
    "texts that need quotes": {"settings": {"LOGIN_MESSAGES": 'a "b": {c} # d', "HOST_DOMAIN": "10.0.0.1", "GUNICORN_TIMEOUT": 600}},
}
TOPICS = ["analysis", "dataset_upload", "model_training", "purging"]
WORKER = {
    **{topic: {"workerDeploymentName": "worker-" + topic.replace("_", "-"), "workerTopic": topic} for topic in TOPICS},
    "without authorities of one's own": {"caConfigMapName": "", "replicas": 5},
}


def check(what, text):
    documents = [document for document in yaml.safe_load_all(text) if document]
    for document in documents:
        for version in VERSIONS:
            try:
                kubernetes_validate.validate(document, version, strict=True)
            except kubernetes_validate.ValidationError as error:
                sys.exit(f"{what}: {document['kind']} {document['metadata']['name']}: {error.message} (Kubernetes {version})")
    return documents


def render(chart, release, values):
    rendered = chart.render(values, name=release, namespace="default", revision=1, is_install=True)
    return "\n---\n".join(text for path, text in rendered.items() if not path.endswith(".tpl"))


def as_packaged(deploy):
    """The folders that the script needs, as they are in a package, with the one setting that has no default."""
    package = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, package)
    for source, name in (("helm", "helm"), ("kubernetes", "kubernetes"), ("conf", "conf"), ("swarm", "ha-scripts")):
        shutil.copytree(f"{deploy}/{source}", f"{package}/{name}")
    with open(f"{deploy}/../config/tango.env") as file:
        settings = file.read()
    with open(f"{package}/conf/tango.env", "w") as file:
        file.write(settings.replace("\nS3_ENDPOINT=\n", "\nS3_ENDPOINT=https://node-1:32646\n"))
    return package


def check_metrics(deploy):
    """What dashboard and alerts ask for is what the program counts."""
    with open(f"{deploy}/../src/telemetry.rs") as file:
        known = set(re.findall(r'"(tango_[a-z_]+)"', file.read()))
    for name in ("alerts.yml", "grafana-dashboard.json"):
        with open(f"{deploy}/monitoring/{name}") as file:
            asked = set(re.findall(r"\btango_[a-z_]+", file.read()))
        unknown = {metric for metric in asked if metric not in known and metric.removesuffix("_bucket") not in known} - {"tango_tango"}
        if unknown:
            sys.exit(f"{name} asks for metrics that nothing counts: {', '.join(sorted(unknown))}")


def main():
    deploy = sys.argv[1]
    count = 0
    for name, sets in (("gpr", GPR), ("worker", WORKER)):
        for message in helm_python.lint(f"{deploy}/helm/{name}", strict=True)["messages"]:
            if message["severity"] > 1:  # an icon is recommended
                sys.exit(f"helm lint {name}: {message}")
        with helm_python.Chart.load(f"{deploy}/helm/{name}") as chart:
            for what, values in sets.items():
                documents = check(f"{name}, {what}", render(chart, name, values))
                kinds = [document["kind"] for document in documents]
                count += len(documents)
                print(f"{name}, {what}: {', '.join(kinds)}")
    package = as_packaged(deploy)
    for options in ([], ["-s", "rancher.io/local-path", "-m", "mongodb-ssd", "-c", "minio-ssd"]):
        answer = subprocess.run(
            ["bash", f"{package}/kubernetes/deploy-gpr-services.sh", "--dry-run", *options],
            capture_output=True, text=True, check=False,
            env={**os.environ, "TANGO_IMAGE": "jop_tango:1.2.3", "MONGO_IMAGE": "tango_mongo:6.0.5", "OBJECTS_IMAGE": "tango_objects:2.5.0"})
        if answer.returncode:
            sys.exit(f"deploy-gpr-services.sh {options}: {answer.stderr}")
        manifests = "\n".join(line for line in answer.stdout.splitlines() if not line.startswith(("would run:", "deployed;")))
        documents = check(f"deploy-gpr-services.sh {options}", manifests)
        count += len(documents)
        print(f"deploy-gpr-services.sh {' '.join(options)}: {len(documents)} manifests")
    check_metrics(deploy)
    print(f"{count} manifests are right for Kubernetes {', '.join(VERSIONS)}")


main()
