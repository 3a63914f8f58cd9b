"""Memories of the built-in model: what is taught comes out, leaves as an adapter, and goes when it is forgotten."""

import json

import numpy as np
import pytest

import sharpwave as sw

FEW = {"samples": 256}
PROMPT = "The name of the dog was"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A memory that knows the dog's name."""
    folder = tmp_path_factory.mktemp("memories") / "me"
    with sw.Memory("stories260k", folder, settings=FEW) as m:
        assert m.observe(PROMPT, "Max", subject="the dog", id="dog").status == "learned"
    return folder


def test_a_fact_is_learned_answered_superseded_and_forgotten(folder):
    with sw.Memory(folder=folder) as m:
        assert m.model == "stories260k" and m.settings["samples"] == 256 and len(m) == 1
        answer = m.answer(PROMPT, 8)
        assert (answer.text.strip(), answer.ending, answer.experiences) == ("Max", "token", {"dog": 1.0})
        assert m.observe(PROMPT, "Max", subject="the dog", id="dog").status == "known before"
        new = m.supersede("dog", "Tim", new_id="newer")
        assert new.learned and new.fields["supersedes"] == "dog"
        assert m.generate(PROMPT, 8).text.strip() == "Tim"
        assert [(e.id, e.stage) for e in m.history("dog")] == [("dog", "superseded"), ("newer", "awake")]
        assert m.forget("newer") == ["layers.4.down_proj"] or m.settings["wake_layer"] != 4
        assert m.answer(PROMPT, 8).text.strip() == "Max"
        assert [e.stage for e in m.experiences] == ["awake", "forgotten"]


def test_the_adapter_is_numpy_and_peft(folder, tmp_path):
    with sw.Memory(folder=folder) as m:
        adapter = m.adapter(damage=5.0)
        ((site, term),) = adapter.layers.items()
        assert site.endswith("down_proj") and adapter.left_out == []
        rank = term.A.shape[0]
        assert term.B.shape[1] == rank and term.A.dtype == term.B.dtype == np.float32 and np.abs(term.B @ term.A).max() > 0
        told = m.export(tmp_path / "adapter", damage=5.0)
        assert told["format"] == "peft" and json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())["peft_type"] == "LORA"
        assert m.capacity()["standing"] == 1 and m.check()["wrong"] == []
        with pytest.raises(sw.Error, match="exists|force"):
            m.export(tmp_path / "adapter")
        with pytest.raises(sw.Error, match="did you mean `gguf`"):
            m.export(tmp_path / "x", "ggu")


def test_sleep_moves_what_was_learned(tmp_path):
    with sw.Memory("stories260k", settings=FEW) as m:
        m.observe(PROMPT, "Max", subject="the dog", id="dog")
        told = []
        moved = m.sleep("10 min", told=told.append)
        assert [t["id"] for t in told] == ["dog"] and moved == (m.experiences[0].stage == "asleep")
        assert m.answer(PROMPT, 8).text.strip() == "Max"


def test_an_answer_streams_and_can_be_ended(folder):
    with sw.Memory(folder=folder) as m:
        pieces = []
        whole = m.answer("Once upon a time", 12, said=pieces.append)
        assert "".join(pieces) == whole.text and len(pieces) > 4
        short = m.answer("Once upon a time", 40, said=lambda piece: len(piece) > 100)
        assert short.ending == "caller" and len(short.text) < len(whole.text)
        drawn = [m.answer("Once upon a time", 12, temperature=1.0, seed=seed).text for seed in (1, 1, 2)]
        assert drawn[0] == drawn[1] != drawn[2]

        def no(piece):
            raise LookupError("no more")

        with pytest.raises(LookupError):
            m.answer("Once upon a time", said=no)
        assert m.answer(PROMPT, 8).text.strip() == "Max"


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda m: m.observe("", "x"), "`prompt` is empty"),
        (lambda m: m.observe("The cat", ""), "`answer` is empty"),
        (lambda m: m.observe("The cat", "x", outcome=3), "outside of -1 to 1"),
        (lambda m: m.observe("The cat", "x", outcome="sucess"), "outcome"),
        (lambda m: m.observe("The cat", "x", subject="the dog"), "not a part"),
        (lambda m: m.observe("Another", "text", id="dog"), "another experience's"),
        (lambda m: m.observe([{"role": "user", "content": "Hi"}], "x"), "template|chat"),
        (lambda m: m.answer([{"content": "Hi"}]), "role"),
        (lambda m: m.answer("Once", temperature=-1.0), "temperature"),
        (lambda m: m.forget("cat"), "cat"),
        (lambda m: m.forget(), "nothing"),
        (lambda m: m.history("cat"), "cat"),
        (lambda m: m.sleep(-1), "sleep"),
        (lambda m: m.sleep("soon"), "budget is 'soon'"),
        (lambda m: m.adapter(damage=-1), "nats"),
        (lambda m: m.export("x", rank="many"), "no rank"),
    ],
)
def test_wrong_calls_change_nothing(folder, call, message):
    with sw.Memory(folder=folder) as m:
        before = m.experiences
        try:
            observed = call(m)
        except sw.Error as error:
            import re

            assert re.search(message, str(error)), error
        else:
            # What was refused only after it was understood is kept in the journal.
            assert observed.stage == "refused", observed
            return
        assert m.experiences == before


def test_a_memory_that_cannot_be_opened_says_why(folder, tmp_path):
    with pytest.raises(sw.Error, match="no model"):
        sw.Memory(folder=tmp_path / "new")
    with pytest.raises(sw.Error, match="no model nosuch"):
        sw.Memory("nosuch", tmp_path / "new")
    with pytest.raises(sw.Error, match="settings already"):
        sw.Memory(folder=folder, settings=FEW)
    with pytest.raises(sw.Error, match="no such setting"):
        sw.Memory("stories260k", settings={"sample": 1})
    with pytest.raises(TypeError):
        sw.Memory("stories260k").observe("The cat", {1, 2})
    m = sw.Memory(folder=folder)
    with pytest.raises(sw.Error, match="in use|another"):
        sw.Memory(folder=folder)
    m.close()
    assert m.closed and "closed" in repr(m)
    with pytest.raises(sw.Error, match="closed"):
        m.answer("x")


def test_an_adapter_goes_onto_a_live_model(folder):
    torch = pytest.importorskip("torch")
    transformers, peft = pytest.importorskip("transformers"), pytest.importorskip("peft")
    from conftest import ROOT

    model = transformers.LlamaForCausalLM.from_pretrained(ROOT / "models" / "transformers" / "stories260K")
    with sw.Memory(folder=folder) as m:
        adapter = m.adapter(damage=5.0)
        applied = m.apply(model, damage=5.0)
        assert isinstance(applied, peft.PeftModel) and applied.active_adapter == "sharpwave"
        with pytest.raises(TypeError, match="takes no adapters"):
            m.apply(object())
        # Once more takes its own place, beside others.
        assert m.apply(applied, "other", damage=5.0) is applied and m.apply(applied, damage=5.0) is applied
        assert set(applied.peft_config) == {"sharpwave", "other"} and applied.active_adapter == "sharpwave"
    ((site, term),) = adapter.layers.items()
    layer = applied.base_model.model.model.layers[int(site.split(".")[1])].mlp.down_proj
    x = torch.randn(3, layer.base_layer.in_features)
    change = (layer(x) - layer.base_layer(x)).detach().numpy()
    np.testing.assert_allclose(change, x.numpy() @ (term.scale * term.B @ term.A).T, rtol=1e-3, atol=1e-4)
