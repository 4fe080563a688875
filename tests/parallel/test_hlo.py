"""What is read from a compiled step, against sums made by hand."""

import jax
import jax.numpy as jnp
import pytest

from cai_jax.parallel import hlo

LOOP = """\
HloModule jit_f, num_partitions=8

%body (p: (s32[], bf16[32,64])) -> (s32[], bf16[32,64]) {
  %p = (s32[]{:T(128)}, bf16[32,64]{1,0:T(8,128)(2,1)}) parameter(0)
  %i = s32[]{:T(128)} get-tuple-element(%p), index=0
  %x = bf16[32,64]{1,0:T(8,128)(2,1)} get-tuple-element(%p), index=1
  %all = bf16[64,64]{1,0:T(8,128)(2,1)S(1)} all-gather(%x), channel_id=1, replica_groups=[4,2]<=[8], dimensions={0}
  %sum = (f32[16]{0}, /*index=1*/f32[8]{0}) all-reduce(%a, %b), replica_groups={{0,1,2,3},{4,5,6,7}}, to_apply=%add
  ROOT %out = (s32[], bf16[32,64]) tuple(%i, %x)
}

%condition (p.1: (s32[], bf16[32,64])) -> pred[] {
  %n = s32[]{:T(128)} constant(5)
  %p.1 = (s32[]{:T(128)}, bf16[32,64]{1,0:T(8,128)(2,1)}) parameter(0)
  %i.1 = s32[]{:T(128)} get-tuple-element(%p.1), index=0
  ROOT %less = pred[]{:T(512)} compare(%i.1, %n), direction=LT
}

ENTRY %main (x: bf16[32,64]) -> (s32[], bf16[32,64]) {
  %x.1 = bf16[32,64]{1,0:T(8,128)(2,1)} parameter(0)
  %zero = s32[]{:T(128)} constant(0)
  %start = (s32[], bf16[32,64]) tuple(%zero, %x.1)
  ROOT %loop = (s32[], bf16[32,64]) while(%start), condition=%condition, body=%body
}
"""


def compiled(function, *shapes):
    return hlo.work(jax.jit(function).lower(*shapes).compile().as_text())


def floats(*shape):
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def test_products_count_twice_m_n_k_and_as_often_as_their_loop_runs():
    def function(x, w, v):
        x, _ = jax.lax.scan(lambda x, _: (jnp.tanh(x @ w), None), x, length=7)
        return jnp.einsum("bij,bjk->bik", x.reshape(4, 8, 64), v)

    found = compiled(function, floats(32, 64), floats(64, 64), floats(4, 64, 16))
    assert found.flops == 7 * 2 * 32 * 64 * 64 + 4 * 2 * 8 * 64 * 16


def test_a_loop_whose_count_the_data_decides_runs_as_often_as_told():
    def function(n, x, w):
        return jax.lax.fori_loop(0, n, lambda _, x: x @ w, x)

    shapes = jax.ShapeDtypeStruct((), jnp.int32), floats(32, 64), floats(64, 64)
    text = jax.jit(function).lower(*shapes).compile().as_text()
    assert hlo.work(text, trips=3).flops == 3 * 2 * 32 * 64 * 64


def test_a_gradient_has_twice_its_forward_products():
    found = compiled(jax.grad(lambda w, x: jnp.sum(jnp.square(x @ w))), floats(64, 48), floats(32, 64))
    assert found.flops == 2 * (2 * 32 * 64 * 48), "the forward product, and that with the weights' gradient"


def test_elementwise_work_is_read_once_and_written_once():
    assert compiled(lambda x: jnp.tanh(x) * 2 + x, floats(1000)).bytes == 2 * 4000


def test_an_array_changed_in_place_counts_with_the_change():
    def write(cache, row):
        return jax.lax.dynamic_update_slice(cache, row, (3, 0))

    text = jax.jit(write, donate_argnums=0).lower(floats(512, 64), floats(1, 64)).compile().as_text()
    assert hlo.work(text).bytes <= 4 * 2 * 64 * 4


def test_collectives_count_with_their_loop_and_their_ring():
    # A body that names what is not there: only what a collective gives is looked at.
    text = LOOP.replace("(%a, %b)", "(%x, %x)")
    found = hlo.work(text)
    assert found.counts == {"all-gather": 5, "all-reduce": 5}
    assert found.moved == {"all-gather": 5 * 64 * 64 * 2 / 2, "all-reduce": 5 * 2 * (16 + 8) * 4 * 3 / 4}


def test_what_is_fetched_ahead_is_read_once():
    text = """\
HloModule m

ENTRY %main (x: bf16[16,64]) -> bf16[16,64] {
  %x = bf16[16,64]{1,0:T(8,128)} parameter(0)
  %a = ((bf16[16,64]{1,0:T(8,128)}), bf16[4,64]{1,0:T(8,128)S(1)}, s32[]{:S(2)}) slice-start(%x), slice={[0:4], [0:64]}
  %b = bf16[4,64]{1,0:T(8,128)S(1)} slice-done(%a)
  %c = (bf16[16,64]{1,0:T(8,128)S(1)}, bf16[16,64]{1,0:T(8,128)}, u32[]{:S(2)}) copy-start(%x)
  %d = bf16[16,64]{1,0:T(8,128)S(1)} copy-done(%c)
  ROOT %e = bf16[16,64]{1,0:T(8,128)} negate(%d)
}
"""
    assert hlo.work(text).bytes == 4 * 64 * 2 + 16 * 64 * 2 + 16 * 64 * 2


def test_groups_are_read_in_every_notation():
    for said, size in (
        ("replica_groups={{0,2},{1,3}}", 2),
        ("replica_groups=[2,4]<=[4,2]T(1,0)", 4),
        ("replica_groups=mesh['a'=4,'b'=2] {'a'}", 4),
        ("replica_groups={}", 8),
    ):
        assert hlo._group(said, 8) == size


def test_batched_products_of_a_tpu_count_what_meets():
    # 16 products [64, 32] x [32, 8], the batch as a window that walks over a stretched image.
    text = """\
HloModule m

ENTRY %main (x: bf16[16,64,32], w: bf16[16,32,8]) -> bf16[16,64,8] {
  %x = bf16[16,64,32]{2,1,0} parameter(0)
  %w = bf16[16,32,8]{2,1,0} parameter(1)
  ROOT %c = bf16[16,64,8]{2,1,0} convolution(%x, %w), window={size=16 stride=15 pad=0_0 lhs_dilate=16}, dim_labels=0bf_0io->0bf
}
"""  # noqa: E501
    assert hlo.work(text).flops == 16 * 2 * 64 * 32 * 8


@pytest.mark.parametrize(("length", "share"), [(128, 1.0), (512, 1.0), (1024, 0.75), (2048, 0.625), (384, 2 / 3)])
def test_a_causal_kernel_skips_the_blocks_of_the_future(length, share):
    assert hlo._causal(length) == pytest.approx(share)
