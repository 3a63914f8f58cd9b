"""Kills `sharpwave serve` again and again while 8 writers add and forget, and looks whether what was acknowledged is there.

    crash_serve.py SHARPWAVE [KILLS]

Prints a JSON object: kills, notes that were acknowledged, notes that were forgotten, and of these how many were lost and came back. Needs
Python alone. A kill ends the process, not the machine: what a power cut leaves is the disk's to keep.
"""

import http.client
import json
import random
import subprocess
import sys
import tempfile
import threading
import time

HEADERS = {
    "Content-Type": "application/json",
    "Accept": "application/json, text/event-stream",
    "MCP-Protocol-Version": "2025-06-18",
}
WRITERS = 8
USERS = 4


def start(program, folder):
    command = [program, "serve", "--memories", folder, "--listen", "127.0.0.1:0"]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    return server, int(server.stderr.readline().rsplit(":", 1)[1])


def call(connection, writer, tool, **arguments):
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments}})
    connection.request("POST", "/mcp", body, {**HEADERS, "X-Sharpwave-User": f"u{writer % USERS}"})
    return json.loads(connection.getresponse().read())["result"]["structuredContent"]


def write(port, turn, writer, kept, gone):
    """Adds, and forgets every seventh time, until the server is gone."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    try:
        for n in range(1_000_000):
            kept.append(call(connection, writer, "memory_add", text=f"fact {turn} {writer} {n}")["id"])
            if n % 7 == 6:
                old = random.choice(kept)
                call(connection, writer, "memory_forget", ids=[old])
                gone.add(old)
    except (OSError, http.client.HTTPException):
        pass


def main(program, kills=60):
    kept, gone = [[] for _ in range(WRITERS)], [set() for _ in range(WRITERS)]
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(int(kills)):
            server, port = start(program, folder)
            writers = [threading.Thread(target=write, args=(port, turn, w, kept[w], gone[w])) for w in range(WRITERS)]
            for writer in writers:
                writer.start()
            time.sleep(random.uniform(0.15, 0.6))
            server.kill()
            for writer in writers:
                writer.join()
            server.wait()
        server, port = start(program, folder)
        connection = http.client.HTTPConnection("127.0.0.1", port)
        lost = back = 0
        for writer in range(WRITERS):
            for id in kept[writer]:
                state = call(connection, writer, "memory_get", ids=[id], max_tokens=200)["memories"][0]["state"]
                back += id in gone[writer] and state != "forgotten"
                # A call to forget that was in flight may have been carried out.
                lost += state not in ("holds", "forgotten")
        server.kill()
        server.wait()
    sums = {"acknowledged": sum(map(len, kept)), "forgotten": sum(map(len, gone)), "lost": lost, "came_back": back}
    print(json.dumps({"kills": int(kills), **sums}))


if __name__ == "__main__":
    main(*sys.argv[1:])
