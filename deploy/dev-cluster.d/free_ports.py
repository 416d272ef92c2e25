"""free_ports.py REGISTER OWNER N: prints N free ports and writes them down in the folder REGISTER as taken by the folder OWNER.

They lie below the range from which the kernel serves outgoing connections: a server that is restarted finds its port free. An entry
counts while its owner's folder exists, so that nothing has to be tidied up.
"""

import fcntl
import os
import random
import socket
import sys


def is_free(port):
    for family, address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
        try:
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                if family == socket.AF_INET6:
                    probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                probe.bind((address, port))
        except OSError as error:
            if family == socket.AF_INET6 and error.errno != 98:
                continue  # no IPv6 here
            return False
    return True


def is_taken(entry):
    try:
        with open(entry) as file:
            return os.path.isdir(file.read())
    except FileNotFoundError:
        return False


def main():
    register, owner, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    os.makedirs(register, exist_ok=True)
    with open("/proc/sys/net/ipv4/ip_local_port_range") as file:
        upper = int(file.read().split()[0])
    if upper < 12_000:
        upper = 32_768
    candidates = list(range(max(upper - 12_000, 10_000), upper))
    random.shuffle(candidates)
    with open(os.path.join(register, "lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = []
        for port in candidates:
            entry = os.path.join(register, str(port))
            if is_taken(entry) or not is_free(port):
                continue
            with open(entry, "w") as file:
                file.write(owner)
            found.append(port)
            if len(found) == count:
                print(*found)
                return
    sys.exit(f"dev-cluster: no {count} free ports")


main()
