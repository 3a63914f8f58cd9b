"""Holds a conversation over two sessions with `sharpwave serve`, as agents do: the official clients of MCP (pip: mcp) and OpenAI (pip: openai).

    check_serve.py SHARPWAVE FOLDER MODEL

SHARPWAVE is the program, FOLDER an empty folder, MODEL a model with a chat template. What is said, corrected, rewarded and forgotten in the
first session has to show in the second. Prints one JSON line: what was seen.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys

import httpx2
import openai
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client

TOKEN = "0123456789abcdef-ada"
PROMPT = "The name of the dog was"


class Server:
    """The program over HTTP, until it is told to stop."""

    def __init__(self, program, folder, model):
        tokens = os.path.join(folder, "tokens")
        with open(tokens, "w") as file:
            file.write(f"ada {TOKEN}\nbob 0123456789abcdef-bob\n")
        command = [program, "serve", "--memories", os.path.join(folder, "m"), "--listen", "127.0.0.1:0", "--token-file", tokens]
        self.child = subprocess.Popen([*command, "--model", model, "--set", "samples=256"], stderr=subprocess.PIPE, text=True)
        for line in self.child.stderr:
            if line.startswith("listening on "):
                self.url = line.split()[-1]
                return
        raise SystemExit(f"the server ended with {self.child.wait()}")

    def stop(self):
        self.child.send_signal(signal.SIGTERM)
        return self.child.wait(timeout=60)


async def structured(client, name, **arguments):
    result = await client.call_tool(name, arguments)
    assert not result.is_error, result.content
    return result.structured_content


def mcp(server, token=TOKEN):
    headers = {"Authorization": f"Bearer {token}"}
    return Client(streamable_http_client(f"{server.url}/mcp", http_client=httpx2.AsyncClient(headers=headers)))


def says(server, token=TOKEN):
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key=token, max_retries=0)
    return client.completions.create(model=client.models.list().data[0].id, prompt=PROMPT, max_tokens=8).choices[0].text.strip()


async def first(server):
    async with mcp(server) as client:
        tools = (await client.list_tools()).tools
        assert len(tools) == 11 and all(tool.annotations and tool.output_schema for tool in tools)
        drawer = await structured(client, "memory_add", text="My passport lies in the blue drawer.")
        gift = await structured(client, "memory_add", text="Bob's birthday present is a telescope.")
        name = await structured(client, "memory_add", prompt=PROMPT, answer="Max", outcome="success", subject="the dog")
        await structured(client, "memory_update", id=drawer["id"], text="My passport lies in the safe.")
        receipt = await structured(client, "memory_forget", ids=[gift["id"]])
        assert receipt["receipts"][0]["verified"], receipt
        report = await structured(client, "memory_sleep", seconds=0)
        assert report["learned"] == 1, report
        assert says(server) == "Max" and says(server, "0123456789abcdef-bob") != "Max"
        # A chat, streamed; its answer is rewarded by its id.
        chat = openai.OpenAI(base_url=f"{server.url}/v1", api_key=TOKEN, max_retries=0).chat.completions
        asked = dict(model="any", messages=[{"role": "user", "content": "Where is my passport?"}], max_tokens=12)
        whole = chat.create(**asked)
        pieces = [piece.choices[0].delta.content or "" for piece in chat.create(**asked, stream=True)]
        assert "".join(pieces) == whole.choices[0].message.content
        assert len(whole.memory["recalled"]) == 1, whole
        await structured(client, "memory_outcome", id=whole.id, outcome="failure")
        await structured(client, "memory_outcome", id=name["id"], outcome="failure")
        while (await structured(client, "memory_sleep", seconds=0))["waiting"]:
            pass
        assert says(server) != "Max"
        await structured(client, "memory", command="create", path="/memories/tasks.md", file_text="- call Bob\n")


async def second(server):
    async with mcp(server) as client:
        found = await structured(client, "memory_search", query="Where is my passport?")
        texts = [memory["text"] for memory in found["memories"] if memory["kind"] == "note"]
        assert texts == ["My passport lies in the safe."], found
        everything = json.dumps(await structured(client, "memory_list", history=True, max_tokens=9000))
        assert "telescope" not in everything
        table = await client.read_resource("memory://ada/table")
        assert "safe" in table.contents[0].text and "drawer" not in table.contents[0].text
        view = await structured(client, "memory", command="view", path="/memories/tasks.md")
        assert "- call Bob" in view["text"]
        assert says(server) != "Max"
    async with mcp(server, "0123456789abcdef-bob") as client:
        assert (await structured(client, "memory_list", history=True))["all"] == 0
    try:
        says(server, "0123456789abcdef-wrong")
        raise AssertionError("a wrong token was taken")
    except openai.AuthenticationError:
        pass


async def over_stdio(program, folder):
    arguments = ["serve", "--stdio", "--memories", os.path.join(folder, "m"), "--user", "ada"]
    async with Client(StdioServerParameters(command=program, args=arguments)) as client:
        found = await structured(client, "memory_complete", part="passport lies")
        assert found["memories"][0]["text"] == "My passport lies in the safe.", found


def main(program, folder, model):
    seen = []
    for session in (first, second):
        server = Server(program, folder, model)
        try:
            asyncio.run(session(server))
        finally:
            code = server.stop()
        assert code == 0, code
        seen.append(session.__name__)
    asyncio.run(over_stdio(program, folder))
    print(json.dumps({"sessions": [*seen, "stdio"]}))


if __name__ == "__main__":
    main(*sys.argv[1:])
