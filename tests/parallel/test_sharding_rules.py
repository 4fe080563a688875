"""The table of partition rules, on abstract parameters and an abstract mesh: no devices needed."""

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import AbstractMesh, AxisType
from jax.sharding import PartitionSpec as P

from cai_jax.learn import optim, ppo
from cai_jax.models import decoder, lora
from cai_jax.models.config import Config
from cai_jax.parallel.mesh import AXES, make_mesh, row_shards
from cai_jax.parallel.sharding_rules import shardings
from tests.learn import _toy as toy

MESH = AbstractMesh((2, 4, 2), AXES, axis_types=(AxisType.Auto,) * 3)


def specs(tree):
    laid = jax.tree_util.tree_leaves_with_path(shardings(tree, MESH))
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf.spec for path, leaf in laid}


def abstract(config):
    return jax.eval_shape(lambda: decoder.init(config, jax.random.key(0)))


def test_every_parameter_of_an_untied_decoder_has_its_place():
    config = Config(32, 16, layers=2, heads=4, kv_heads=2, head_dim=8, intermediate_size=24, tie_embeddings=False)
    found = specs(abstract(config))
    assert found["embed"] == P("tensor", "fsdp")
    assert found["unembed"] == P("fsdp", "tensor")
    assert found["final_norm"] == found["layers_1/mlp_norm"] == P()
    for name in ("attention/q_proj", "attention/v_proj", "mlp/gate_proj"):
        assert found[f"layers_1/{name}"] == P("fsdp", "tensor")
    assert found["layers_0/attention/o_proj"] == found["layers_0/mlp/down_proj"] == P("tensor", "fsdp")


def test_biases_lie_as_the_outputs_that_they_are_added_to():
    gpt2 = {"norm": "layer", "gated": False, "learned_positions": True, "mlp_bias": True}
    found = specs(abstract(Config(32, 16, 2, 4, 4, 4, 24, family="gpt2", qkv_bias=True, out_bias=True, **gpt2)))
    assert found["embed_positions"] == P(None, "fsdp")
    assert found["layers_1/attention/k_bias"] == found["layers_1/mlp/up_bias"] == P("tensor")
    for name in ("layers_0/attention/o_bias", "layers_0/mlp/down_bias", "layers_0/mlp_norm_bias", "final_norm_bias"):
        assert found[name] == P()


def test_the_whole_state_of_ppo_is_laid_out_like_its_parameters():
    settings = ppo.PPO(critic_optim=optim.Optim(1e-3, kind="muon"))
    state = jax.eval_shape(lambda: ppo.PPOState.create(settings, toy.params(), toy.scored()))
    found = specs(state)
    assert found["policy/params/layers_0/mlp/up_proj"] == P("fsdp", "tensor")
    places = [spec for path, spec in found.items() if path.endswith("layers_0/mlp/up_proj")]
    assert places == [P("fsdp", "tensor")] * 5  # parameters twice, Adam's two moments, Muon's one
    assert found["beta"] == found["stats/mean"] == found["critic/params/head/kernel"] == P()


def test_an_adapter_lies_as_the_inputs_and_outputs_of_its_kernel():
    config = Config(32, 16, layers=1, heads=4, kv_heads=2, head_dim=8, intermediate_size=24)
    adapter = jax.eval_shape(lambda: lora.init(decoder.init(config, jax.random.key(0)), 3, jax.random.key(0)))
    found = specs({"policy": {"mu": adapter}})
    for name, (inputs, outputs) in {
        "attention/k_proj": ("fsdp", "tensor"),
        "mlp/up_proj": ("fsdp", "tensor"),
        "attention/o_proj": ("tensor", "fsdp"),
        "mlp/down_proj": ("tensor", "fsdp"),
    }.items():
        assert found[f"policy/mu/layers_0/{name}_a"] == P(inputs, None)
        assert found[f"policy/mu/layers_0/{name}_b"] == P(None, outputs)


def test_a_dimension_that_does_not_divide_stays_whole():
    assert specs({"embed": jnp.zeros((5, 8))}) == {"embed": P(None, "fsdp")}


def test_a_parameter_without_a_rule_is_refused():
    with pytest.raises(ValueError, match="no partition rule for mystery"):
        specs({"mystery": jnp.zeros((2, 2))})
    with pytest.raises(ValueError, match="embed has shape"):
        specs({"embed": jnp.zeros((2, 2, 2))})


def test_mesh_sizes():
    devices = jax.devices()[:1]
    mesh = make_mesh(devices=devices)
    assert dict(mesh.shape) == {"data": 1, "fsdp": 1, "tensor": 1}
    assert row_shards(mesh) == 1
    for sizes in ((2, 1, 1), (-1, -1, 1), (-1, 2, 1), (1, 0, -1)):
        with pytest.raises(ValueError, match="does not fit 1 devices"):
            make_mesh(*sizes, devices=devices)
