"""Adapters in peft's files: what peft makes of ours, and we of peft's."""

import json
import re
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
from cai_jax.models.locate import base_of, bases, described
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


def cut(path):
    file = path / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-4])


H = "base_model.model.score.weight"
Q = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
BREAKAGES = {
    "no weights": (lambda path: (path / "adapter_model.safetensors").unlink(), "does not exist, but adapter_config"),
    "no base named": (lambda path: edit(path, base_model_name_or_path=None), "names no base; say it there"),
    "base not here": (lambda path: edit(path, base_model_name_or_path="org/gone"), "its base org/gone is not on this"),
    "another kind": (lambda path: edit(path, peft_type="IA3"), "of the type 'IA3'; supported: LORA"),
    "magnitudes": (lambda path: edit(path, use_dora=True), "sets use_dora; merge it into its base"),
    "quantised": (lambda path: edit(path, use_qalora=True), "sets use_qalora; merge it into its base"),
    "a feature of the future": (lambda path: edit(path, new_config={"a": 1}), "sets new_config; merge it"),
    "a base that is no name": (lambda path: edit(path, base_model_name_or_path=[1]), "names no base"),
    "its own base": (lambda path: edit(path, base_model_name_or_path="."), "stands on itself"),
    "a scale that is text": (lambda path: edit(path, lora_alpha="x"), "lora_alpha or alpha_pattern that is none"),
    "an infinite scale": (lambda path: edit(path, lora_alpha=1e999), "has the scale inf for model.layers.0"),
    "a pattern that is none": (lambda path: edit(path, alpha_pattern={"(": 2}), "alpha_pattern that is none"),
    "a list of patterns": (lambda path: edit(path, alpha_pattern=["q_proj"]), "alpha_pattern that is none"),
    "a bias": (
        lambda path: change(path, lambda found: found.update({Q.replace("lora_A.weight", "bias"): np.zeros(32)})),
        r"holds model\.layers\.0\.self_attn\.q_proj\.bias, which is no adapter",
    ),
    "a head of two scores": (
        lambda path: change(path, lambda found: found.update({H: np.zeros((2, 32), np.float32)})),
        "score.weight is no head of one score",
    ),
    "not sound": (lambda path: cut(path), "adapter_model.safetensors is cut off or damaged"),
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


@pytest.mark.parametrize(
    "start", ["pissa", "pissa_niter_4", "olora", "corda", "loftq", "lora_ga", "mica", "new", 1, []]
)
def test_a_start_that_changes_the_base_is_refused_by_name(saved, start):
    edit(saved, init_lora_weights=start)
    said = f"init_lora_weights .*{re.escape(str(start))}.*, which changes the base; save it as plain LoRA"
    with pytest.raises(ModelError, match=said):
        checkpoints.load(saved)


# peft says so while it loads how the adapter began, to convert it.
@pytest.mark.filterwarnings("ignore:.*changes the base weights of the model:UserWarning")
@pytest.mark.parametrize("start", ["pissa", "olora"])
def test_what_peft_makes_of_such_a_start_is_refused_until_it_is_converted(base, tmp_path, start):
    theirs = transformers.AutoModelForCausalLM.from_pretrained(base)
    settings = {"r": 4, "lora_alpha": 4, "target_modules": ["q_proj", "down_proj"], "task_type": "CAUSAL_LM"}
    adapted = peft.get_peft_model(theirs, peft.LoraConfig(init_lora_weights=start, **settings))
    adapted.peft_config["default"].init_lora_weights = True
    adapted.save_pretrained(tmp_path / "start")
    adapted.peft_config["default"].init_lora_weights = start
    torch.manual_seed(1)
    with torch.no_grad():  # as training would
        for name, weight in adapted.named_parameters():
            if "lora_" in name:
                weight.add_(0.1 * torch.randn_like(weight))
    adapted.save_pretrained(tmp_path / "raw")
    with pytest.raises(ModelError, match=f"init_lora_weights '{start}', which changes the base"):
        checkpoints.load(tmp_path / "raw")
    adapted.save_pretrained(tmp_path / "plain", path_initial_model_for_weight_conversion=str(tmp_path / "start"))
    ours = checkpoints.load(tmp_path / "plain")
    np.testing.assert_allclose(ours.logits(IDS), families.logits(adapted.eval(), IDS), atol=1e-3)


@pytest.mark.parametrize("start", [True, False, None, "gaussian", "eva", "orthogonal"])
def test_a_start_that_leaves_the_base_alone_loads(saved, start):
    wanted = checkpoints.load(saved).params
    edit(saved, init_lora_weights=start)
    chex.assert_trees_all_equal(checkpoints.load(saved).params, wanted)


def test_adapters_on_adapters_down_to_whole_weights(base, saved, tmp_path):
    checkpoints.save_adapter(replace(on_top(checkpoints.load(base), seed=7), base=saved), tmp_path / "second")
    assert bases(tmp_path / "second") == [saved.resolve(), base.resolve()]
    assert bases(base) == [] and described(tmp_path / "second") == tmp_path / "second"
    (tmp_path / "second" / "config.json").unlink()
    (saved / "config.json").unlink()
    assert described(tmp_path / "second") == base.resolve()
    edit(saved, base_model_name_or_path=str(tmp_path / "second"))
    with pytest.raises(ModelError, match="is an adapter that stands on itself"):
        bases(tmp_path / "second")


@pytest.mark.parametrize("breakage", BREAKAGES)
def test_a_broken_adapter_is_refused_by_name(saved, breakage):
    harm, message = BREAKAGES[breakage]
    harm(saved)
    with pytest.raises(ModelError, match=message):
        checkpoints.load(saved)
