"""Loads a model in float32 with transformers and an adapter with PEFT, and compares logits with expected ones.

    check_peft.py MODEL ADAPTER EXPECTED.json

MODEL is a folder of transformers, or a GGUF file that transformers can read. EXPECTED.json: [{"tokens": [ids of the prompt],
"logits": [of the last token], "plain": [the same without the adapter]}, ...].
Prints one JSON line: cases, and the largest difference of a logit with and without the adapter.
"""

import json
import os
import sys
import warnings

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM


def largest(model, cases, key):
    worst = 0.0
    for case in cases:
        with torch.no_grad():
            logits = model(torch.tensor([case["tokens"]])).logits[0, -1]
        worst = max(worst, (logits - torch.tensor(case[key])).abs().max().item())
    return worst


def main(model, adapter, expected):
    # A key that PEFT misses or does not expect is a warning there, and a failure here.
    warnings.simplefilter("error", UserWarning)
    where = {"gguf_file": os.path.basename(model)} if model.endswith(".gguf") else {}
    folder = os.path.dirname(model) if where else model
    base = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager", **where).eval()
    with open(expected) as file:
        cases = json.load(file)
    plain = largest(base, cases, "plain")
    adapted = largest(PeftModel.from_pretrained(base, adapter).eval(), cases, "logits")
    print(json.dumps({"cases": len(cases), "plain": plain, "difference": adapted}))


if __name__ == "__main__":
    main(*sys.argv[1:])
