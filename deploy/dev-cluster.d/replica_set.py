"""replica_set.py DIR create ELECTION_TIMEOUT_MS X509_NAME | wait | status STATE...: what needs a database client, for mongo.sh.

It signs in as the members themselves do, with their key file, so that it works before there is a user and while there is no primary.
"""

import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError
from pymongo.write_concern import WriteConcern

DEADLINE_SECONDS = 60
STATES = {0: "STARTUP", 1: "PRIMARY", 2: "SECONDARY", 3: "RECOVERING", 5: "STARTUP2", 6: "UNKNOWN", 7: "ARBITER", 8: "DOWN", 9: "ROLLBACK", 10: "REMOVED"}


class ReplicaSet:
    def __init__(self, folder):
        self.folder = folder
        self.hosts = read(folder, "mongo/hosts").split(",")
        self.key = "".join(read(folder, "mongo/keyfile").split())
        authority = os.path.join(folder, "tls/ca.pem")
        self.tls = {"tls": True, "tlsCAFile": authority} if os.path.exists(authority) and self.uses_tls() else {}
        self.clients = {}

    def uses_tls(self):
        return "requireTLS" in read(self.folder, "mongo/1/mongod.conf")

    def client(self, host, timeout_ms=2000):
        if host not in self.clients:
            self.clients[host] = MongoClient(
                host, directConnection=True, username="__system", password=self.key, authSource="local", authMechanism="SCRAM-SHA-256",
                serverSelectionTimeoutMS=timeout_ms, connectTimeoutMS=timeout_ms, socketTimeoutMS=max(timeout_ms, 20_000), **self.tls)
        return self.clients[host]

    def state(self, host):
        """The member's state as a word; raises when it cannot be asked."""
        try:
            state = STATES.get(self.client(host).admin.command("replSetGetStatus")["myState"], "UNKNOWN")
            if state == "PRIMARY" and not self.client(host).admin.command("hello")["isWritablePrimary"]:
                return "ELECTED"  # it does not take writes yet
            return state
        except OperationFailure as error:
            if error.code == 94:  # NotYetInitialized
                return "STARTUP"
            raise

    def states(self):
        def ask(host):
            try:
                return self.state(host)
            except PyMongoError as error:
                return f"unreachable ({type(error).__name__})"

        with ThreadPoolExecutor(len(self.hosts)) as pool:
            return list(pool.map(ask, self.hosts))

    def wait_until_ready(self):
        """One PRIMARY, all others SECONDARY."""
        until(lambda: sorted(self.states()) == ["PRIMARY"] + ["SECONDARY"] * (len(self.hosts) - 1), self.states, self.folder)

    def primary(self):
        return self.hosts[self.states().index("PRIMARY")]


def read(folder, name):
    with open(os.path.join(folder, name)) as file:
        return file.read().strip()


def until(condition, describe, folder):
    give_up = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        if time.monotonic() > give_up:
            sys.exit(f"dev-cluster: the replica set is not ready after {DEADLINE_SECONDS} s: {describe()}; see {folder}/logs/")
        time.sleep(0.05)


def create(replica_set, election_timeout_ms, x509_name):
    first = replica_set.hosts[0]
    until(lambda: set(replica_set.states()) == {"STARTUP"}, replica_set.states, replica_set.folder)
    replica_set.client(first).admin.command("replSetInitiate", {
        "_id": "rs0",
        "members": [{"_id": i, "host": host} for i, host in enumerate(replica_set.hosts)],
        # A new primary waits, by default without limit, for the state of members that only stay silent (cut off or suspended, not
        # dead), another election timeout long, in case they have writes that it lacks. What a majority has acknowledged it never lacks.
        "settings": {"heartbeatIntervalMillis": 500, "electionTimeoutMillis": election_timeout_ms, "catchUpTimeoutMillis": 500},
    })
    until(lambda: replica_set.state(first) in ("SECONDARY", "PRIMARY"), replica_set.states, replica_set.folder)

    def elected():
        # Left alone, the first election would wait for the timeout. It fails until the others know that they are members.
        try:
            replica_set.client(first).admin.command("replSetStepUp")
        except PyMongoError:
            pass
        return "PRIMARY" in replica_set.states()

    until(elected, replica_set.states, replica_set.folder)
    replica_set.wait_until_ready()

    client = replica_set.client(replica_set.primary())
    majority = WriteConcern(w="majority").document
    client.admin.command("createUser", "tango", pwd=read(replica_set.folder, "mongo/password"), roles=["root"], writeConcern=majority)
    if replica_set.tls:
        client["$external"].command("createUser", x509_name, roles=[{"role": "root", "db": "admin"}], writeConcern=majority)


def status(replica_set, process_states):
    """Only members whose process runs are asked: one that is suspended would not answer."""
    running = [i for i, state in enumerate(process_states) if state == "running"]
    whole = replica_set.hosts
    replica_set.hosts = [whole[i] for i in running]
    asked = dict(zip(running, replica_set.states() if running else []))
    for i, host in enumerate(whole):
        try:
            pid = read(replica_set.folder, f"run/mongo-{i + 1}.pid").split()[0]
        except FileNotFoundError:
            pid = "-"
        print(i + 1, host, asked.get(i, process_states[i]), pid)


def main():
    replica_set = ReplicaSet(sys.argv[1])
    if sys.argv[2] == "create":
        create(replica_set, int(sys.argv[3]), sys.argv[4])
    elif sys.argv[2] == "wait":
        replica_set.wait_until_ready()
    else:
        status(replica_set, sys.argv[3:])


main()
