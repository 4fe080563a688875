"""The shipped checkpoint: an ordinary Hugging Face directory."""

import json

import numpy as np

from cai_jax.models import checkpoint, decoder
from cai_jax.prompting.paper_format import PAPER
from cai_jax.prompting.render import encode, text_of
from cai_jax.world.documents import document
from tests.world._world import CHECKPOINT, config, tokenizer

TURNS = [
    {"role": "human", "text": "Hi there!"},
    {"role": "assistant", "text": "I am listening."},
    {"role": "human", "text": "How do I draw a map of my street?"},
]


def test_files():
    files = {file.name: file.stat().st_size for file in CHECKPOINT.rglob("*") if file.is_file()}
    assert set(files) == {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    assert sum(files.values()) < 10_000_000


def test_architecture():
    found = json.loads((CHECKPOINT / "config.json").read_text("utf-8"))
    assert found["architectures"] == ["LlamaForCausalLM"] and found["model_type"] == "llama"
    assert found["vocab_size"] == tokenizer().vocab_size
    assert (found["eos_token_id"], found["pad_token_id"]) == (tokenizer().eos_id, tokenizer().pad_id)


def test_weights_are_finite():
    from safetensors.numpy import load_file

    weights = load_file(CHECKPOINT / "model.safetensors")
    assert all(np.isfinite(weight).all() for weight in weights.values())
    assert all(weight.dtype == np.float32 for weight in weights.values())


def test_logits_agree_with_transformers():
    import jax
    import torch
    from transformers import AutoModelForCausalLM

    ids = np.array([encode(tokenizer(), document(3, shots=3))[0]], np.int32)
    assert ids.shape[1] > 200
    theirs = AutoModelForCausalLM.from_pretrained(CHECKPOINT, dtype=torch.float32).eval()
    with torch.no_grad():
        expected = theirs(torch.from_numpy(ids).long()).logits.numpy()
    model = checkpoint.load(CHECKPOINT)

    def logits(params, ids):
        return decoder.unembed(params, model.config, decoder.hidden(params, model.config, ids))

    found = jax.jit(logits)(model.params, ids)
    np.testing.assert_allclose(np.asarray(found), expected, atol=1e-4, rtol=0)


def test_tokenizer_and_chat_template_in_transformers():
    from transformers import AutoTokenizer

    theirs = AutoTokenizer.from_pretrained(CHECKPOINT)
    role = {"human": "user", "assistant": "assistant"}
    messages = [{"role": role[turn["role"]], "content": turn["text"]} for turn in TURNS]
    text = theirs.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert text == text_of(PAPER.ask(TURNS))
    assert theirs.apply_chat_template(messages, tokenize=False) == text_of(PAPER.conversation(TURNS))
    assert theirs(text)["input_ids"] == encode(tokenizer(), PAPER.ask(TURNS))[0]
    assert (theirs.eos_token_id, theirs.pad_token_id) == (tokenizer().eos_id, tokenizer().pad_id)


def test_a_system_prompt_stands_before_the_conversation():
    from transformers import AutoTokenizer

    theirs = AutoTokenizer.from_pretrained(CHECKPOINT)
    messages = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi there!"}]
    assert theirs.apply_chat_template(messages, tokenize=False) == "Be kind.\n\nHuman: Hi there!"


def test_it_has_room_for_few_shots():
    assert config().max_position >= 1024
