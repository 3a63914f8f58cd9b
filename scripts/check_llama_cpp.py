"""Loads a base model and a LoRA adapter with llama.cpp (pip: xllamacpp) and compares next tokens with expected ones.

    check_llama_cpp.py BASE.gguf ADAPTER.gguf EXPECTED.json

EXPECTED.json: [{"tokens": [ids of the prompt], "top": id, "logprobs": {"id": log-probability, ...}}, ...]. An empty ADAPTER loads none.
Prints one JSON line: cases, how many top tokens agree, and the largest difference of a log-probability that both sides name.
"""

import json
import sys

import xllamacpp


def server(base, adapter):
    params = xllamacpp.CommonParams()
    params.model.path = base
    params.n_ctx = 512
    params.n_parallel = 1
    params.n_gpu_layers = 0
    params.warmup = False
    params.cpuparams.n_threads = 1
    params.cpuparams_batch.n_threads = 1
    params.verbosity = 0
    params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    if adapter:
        params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(adapter, 1.0)]
    return xllamacpp.Server(params)


def main(base, adapter, expected):
    llama = server(base, adapter)
    with open(expected) as file:
        cases = json.load(file)
    same, worst = 0, 0.0
    for case in cases:
        request = {"prompt": case["tokens"], "max_tokens": 1, "temperature": 0, "logprobs": 10, "cache_prompt": False}
        answer = llama.handle_completions(request)
        found = answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
        same += found[0]["id"] == case["top"]
        theirs = {str(entry["id"]): entry["logprob"] for entry in found}
        both = [abs(theirs[id] - value) for id, value in case["logprobs"].items() if id in theirs]
        worst = max([worst, *both])
    print(json.dumps({"cases": len(cases), "same": same, "difference": worst}))


if __name__ == "__main__":
    main(*sys.argv[1:])
