"""Adapters in peft's files: what peft makes of ours, and we of peft's."""

import json
from dataclasses import replace

import chex
import jax
import numpy as np
import peft
import pytest
import torch
import transformers
from safetensors.numpy import load_file, save_file

from cai_jax.models import checkpoint as checkpoints
from cai_jax.models import decoder, heads, lora
from cai_jax.models.config import ModelError
from cai_jax.models.locate import base_of
from tests.support import families, llama

# peft asks this transformers in a way that it is about to forget.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")

IDS = [[5, 17, 200, 33, 4, 81]]
# Families whose kernels lie apart, side by side, and head by head, with kernels stored either way round.
CASES = ("llama", "gpt2", "gpt_neox", "phi3")


def on_top(model, rank=3, seed=0):
    """The model with a random adapter."""
    fresh = lora.init(model.params, rank, jax.random.key(seed))
    keys = iter(jax.random.split(jax.random.key(seed + 1), 64))
    adapter = jax.tree.map(lambda leaf: leaf + 0.1 * jax.random.normal(next(keys), leaf.shape), fresh)
    return replace(model, params=lora.joined(model.params, adapter, 1.5))


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """Folder of a small random Llama that tests may not write to."""
    path = tmp_path_factory.mktemp("base")
    llama.write(path)
    return path


@pytest.fixture
def saved(base, tmp_path):
    """Folder of an adapter of `base`."""
    checkpoints.save_adapter(on_top(checkpoints.load(base)), tmp_path / "adapter")
    return tmp_path / "adapter"


@pytest.mark.parametrize("case", CASES)
def test_an_adapter_is_the_same_model_here_in_peft_and_merged(case, tmp_path):
    theirs = families.write(case, tmp_path / "base")
    ours = on_top(checkpoints.load(tmp_path / "base"))
    checkpoints.save_adapter(ours, tmp_path / "adapter")
    again = checkpoints.load(tmp_path / "adapter")
    chex.assert_trees_all_equal(again.params, ours.params)
    assert again.base == base_of(tmp_path / "adapter") == (tmp_path / "base").resolve()
    wanted = ours.logits(IDS)
    assert abs(wanted - checkpoints.load(tmp_path / "base").logits(IDS)).max() > 0.1
    again.save(tmp_path / "merged")
    assert not (tmp_path / "merged" / "adapter_config.json").exists()
    np.testing.assert_allclose(families.logits(families.read(tmp_path / "merged"), IDS), wanted, atol=1e-4)
    adapted = peft.PeftModel.from_pretrained(theirs, tmp_path / "adapter").eval()
    np.testing.assert_allclose(families.logits(adapted, IDS), wanted, atol=1e-4)


@pytest.mark.parametrize(
    "settings",
    [
        {"lora_alpha": 6},
        {"lora_alpha": 6, "use_rslora": True},
        {"rank_pattern": {"q_proj": 2}, "alpha_pattern": {"1.mlp.down_proj": 7}},
    ],
)
def test_an_adapter_of_some_modules_that_peft_has_made_loads(base, tmp_path, settings):
    theirs = transformers.AutoModelForCausalLM.from_pretrained(base)
    config = peft.LoraConfig(r=4, target_modules=["q_proj", "down_proj"], task_type="CAUSAL_LM", **settings)
    adapted = peft.get_peft_model(theirs, config).eval()
    torch.manual_seed(1)
    with torch.no_grad():
        for name, weight in adapted.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.3)
    adapted.save_pretrained(tmp_path)
    ours = checkpoints.load(tmp_path)
    np.testing.assert_allclose(ours.logits(IDS), families.logits(adapted, IDS), atol=1e-4)
    # Another adapter goes on top of it.
    assert abs(on_top(ours).logits(IDS) - ours.logits(IDS)).max() > 0.1


def test_a_reward_model_has_its_head_beside_its_adapter(base, tmp_path):
    head = {"kernel": jax.random.normal(jax.random.key(0), (32,)), "bias": np.float32(0.7)}
    model = replace(on_top(checkpoints.load(base)), head=head)
    checkpoints.save_adapter(model, tmp_path)
    again = checkpoints.load(tmp_path)
    chex.assert_trees_all_close(again.head, head)
    last = decoder.hidden(again.params, again.config, np.array(IDS))[:, -1]
    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(base, num_labels=1)
    adapted = peft.PeftModel.from_pretrained(theirs, tmp_path).eval()
    np.testing.assert_allclose(heads.score(again.head, last), families.logits(adapted, IDS)[:, 0] + 0.7, atol=1e-4)


def test_adapters_share_the_arrays_of_their_base(base, saved, tmp_path):
    under = checkpoints.load(base)
    checkpoints.save_adapter(on_top(under, rank=2, seed=5), tmp_path / "other")
    one, two = (checkpoints.adapted(under, path) for path in (saved, tmp_path / "other"))
    assert one.params["layers_0"]["mlp"]["up_proj"] is two.params["layers_0"]["mlp"]["up_proj"]
    assert one.params["embed"] is under.params["embed"]
    narrow = checkpoints.load(saved, "bfloat16")
    assert {leaf.dtype.name for leaf in jax.tree.leaves(narrow.params)} == {"bfloat16"}


def test_nodes_of_one_cache_may_be_moved_together(tmp_path):
    nodes = tmp_path / "cache"
    llama.write(nodes / "model-1" / "hf")
    model = on_top(checkpoints.load(nodes / "model-1" / "hf"))
    checkpoints.save_adapter(model, nodes / "finetune-2" / "hf")
    nodes.rename(tmp_path / "moved")
    again = checkpoints.load(tmp_path / "moved" / "finetune-2" / "hf")
    np.testing.assert_array_equal(again.logits(IDS), model.logits(IDS))


def edit(path, **changes):
    file = path / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def change(path, make):
    tensors = load_file(path / "adapter_model.safetensors")
    make(tensors)
    save_file(tensors, path / "adapter_model.safetensors")


Q = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
BREAKAGES = {
    "no weights": (lambda path: (path / "adapter_model.safetensors").unlink(), "does not exist, but adapter_config"),
    "no base named": (lambda path: edit(path, base_model_name_or_path=None), "names no base; say it there"),
    "base not here": (lambda path: edit(path, base_model_name_or_path="org/gone"), "its base org/gone is not on this"),
    "another kind": (lambda path: edit(path, peft_type="IA3"), "of the type 'IA3'; supported: LORA"),
    "magnitudes": (lambda path: edit(path, use_dora=True), "sets use_dora; merge it into its base"),
    "half of it": (lambda path: change(path, lambda found: found.pop(Q)), "adapter of model.layers.0.self_attn.q_proj"),
    "another width": (
        lambda path: change(path, lambda found: found.update({Q: np.zeros((3, 8), np.float32)})),
        "does not fit its base, whose kernel is 32 x 32",
    ),
    "an embedding": (
        lambda path: change(path, lambda found: found.update(lora_embedding_A=np.zeros((3, 8), np.float32))),
        "holds lora_embedding_A, which is no adapter of a linear layer",
    ),
}  # fmt: skip


@pytest.mark.parametrize("breakage", BREAKAGES)
def test_a_broken_adapter_is_refused_by_name(saved, breakage):
    harm, message = BREAKAGES[breakage]
    harm(saved)
    with pytest.raises(ModelError, match=message):
        checkpoints.load(saved)
