"""Measures `sharpwave serve` on this machine: memory_search and memory_add over MCP's HTTP, by several clients at once.

    bench_serve.py SHARPWAVE [--notes 100000] [--clients 8] [--calls 200] [--encoder NAME]

One user has so many notes, of words drawn from a vocabulary by Zipf's law, added by `sharpwave memory add`. Prints a JSON object: latencies as the clients see them (ms), the
same inside of the server (/metrics), calls per second, bytes a note on disk, memory of the process. Needs Python alone.
"""

import argparse
import http.client
import json
import os
import random
import signal
import subprocess
import tempfile
import threading
import time

HEADERS = {
    "Content-Type": "application/json",
    "Accept": "application/json, text/event-stream",
    "MCP-Protocol-Version": "2025-06-18",
}


def words(random, n):
    return " ".join(f"w{int(random.paretovariate(0.6)) % 30000}" for _ in range(n))


def seed(program, folder, notes, encoder):
    """Seconds that adding takes, and bytes on disk."""
    own = os.path.join(folder, "user-me")
    draw = random.Random(1)
    path = os.path.join(folder, "notes.jsonl")
    with open(path, "w") as file:
        for n in range(notes):
            file.write(json.dumps({"id": f"n{n}", "text": words(draw, 16), "time": "2026-03-09T17:05:00Z"}) + "\n")
    started = time.perf_counter()
    subprocess.run([program, "memory", "add", "--memory", own, "--json", path, *encoder], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started, os.path.getsize(os.path.join(own, "recall", "recall.redb"))


def call(connection, tool, arguments):
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments}})
    started = time.perf_counter()
    connection.request("POST", "/mcp", body, HEADERS)
    answer = connection.getresponse().read()
    seconds = time.perf_counter() - started
    result = json.loads(answer)["result"]
    assert not result.get("isError"), result
    return seconds


def load(port, clients, calls, tool, arguments):
    times, threads = [], []

    def client(number):
        draw = random.Random(number)
        connection = http.client.HTTPConnection("127.0.0.1", port)
        times.extend([call(connection, tool, arguments(draw, number, n)) for n in range(calls)])

    started = time.perf_counter()
    for number in range(clients):
        threads.append(threading.Thread(target=client, args=(number,)))
        threads[-1].start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - started
    times.sort()
    ms = lambda q: round(1e3 * times[int(q * (len(times) - 1))], 2)
    return {"clients": clients, "calls": len(times), "per_second": round(len(times) / seconds), "p50_ms": ms(0.5), "p99_ms": ms(0.99)}


def inside(port, tool):
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("GET", "/metrics")
    numbers = {}
    for line in connection.getresponse().read().decode().splitlines():
        if f'call="{tool}"}}' in line and not line.startswith("#"):
            numbers[line.split("{")[0].rsplit("_", 1)[1]] = float(line.split()[-1])
    return round(1e3 * numbers["sum"] / numbers["count"], 2)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("--notes", type=int, default=100_000)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--calls", type=int, default=200)
    parser.add_argument("--encoder")
    a = parser.parse_args()
    encoder = ["--encoder", a.encoder] if a.encoder else []
    with tempfile.TemporaryDirectory() as folder:
        seconds, size = seed(a.program, folder, a.notes, encoder)
        command = [a.program, "serve", "--memories", folder, "--listen", "127.0.0.1:0", *encoder]
        server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        port = int(server.stderr.readline().rsplit(":", 1)[1])
        found = {"notes": a.notes, "bytes_a_note": round(size / max(a.notes, 1)), "seed_s": round(seconds, 1)}
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port)
            found["open_ms"] = round(1e3 * call(connection, "memory_get", {"ids": ["n0"]}))
            search = lambda draw, number, n: {"query": words(draw, 6)}
            for clients in (1, a.clients):
                found[f"search_{clients}"] = load(port, clients, a.calls, "memory_search", search)
            found["search_inside_mean_ms"] = inside(port, "memory_search")
            add = lambda draw, number, n: {"text": f"{number} {n} {words(draw, 16)}"}
            for clients in (1, a.clients):
                found[f"add_{clients}"] = load(port, clients, a.calls, "memory_add", add)
            found["add_inside_mean_ms"] = inside(port, "memory_add")
            with open(f"/proc/{server.pid}/status") as file:
                found["resident_mb"] = round(next(int(line.split()[1]) for line in file if line.startswith("VmRSS")) / 1024)
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait()
        print(json.dumps(found))


if __name__ == "__main__":
    main()
