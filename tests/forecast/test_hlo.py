"""What is read from a compiled step, against sums made by hand."""

import jax
import jax.numpy as jnp
import pytest

from cai_jax.forecast import hlo
from cai_jax.models import attention_blocks

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


def test_a_loop_that_takes_two_parts_at_a_time_runs_half_as_often():
    # Four parts of a weight come from other chips, while those that are there are multiplied with.
    text = """\
HloModule m, num_partitions=4

%part (p: (f32[8,8], u32[])) -> (f32[8,8], u32[]) {
  %two = u32[] constant(2)
  %p = (f32[8,8]{1,0}, u32[]) parameter(0)
  %x = f32[8,8]{1,0} get-tuple-element(%p), index=0
  %next = f32[8,8]{1,0} collective-permute(%x), channel_id=1, source_target_pairs={{0,1},{1,2},{2,3},{3,0}}
  %y = f32[8,8]{1,0} convolution(%x, %next), dim_labels=bf_io->bf
  %i = u32[] get-tuple-element(%p), index=1
  %j = u32[] add(%i, %two)
  ROOT %t = (f32[8,8]{1,0}, u32[]) tuple(%y, %j)
}

%more (q: (f32[8,8], u32[])) -> pred[] {
  %end = u32[] constant(4)
  %q = (f32[8,8]{1,0}, u32[]) parameter(0)
  %k = u32[] get-tuple-element(%q), index=1
  ROOT %less = pred[] compare(%k, %end), direction=LT
}

ENTRY %main (x: f32[8,8], zero: u32[]) -> f32[8,8] {
  %x.1 = f32[8,8]{1,0} parameter(0)
  %zero = u32[] parameter(1)
  %begun = (f32[8,8]{1,0}, u32[]) tuple(%x.1, %zero)
  %done = (f32[8,8]{1,0}, u32[]) while(%begun), condition=%more, body=%part
  ROOT %out = f32[8,8]{1,0} get-tuple-element(%done), index=0
}
"""
    found = hlo.work(text)
    assert found.flops == 2 * 2 * 8 * 8 * 8
    assert found.counts == {"collective-permute": 2} and found.moved == {"collective-permute": 2 * 8 * 8 * 4}


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


def test_what_is_fetched_for_the_next_call_is_read_once():
    text = """\
HloModule m

ENTRY %main (x: bf16[16,64]) -> bf16[16,64] {
  %x = bf16[16,64]{1,0:T(8,128)} parameter(0)
  %a = (bf16[16,64]{1,0:S(1)}, bf16[16,64]{1,0}, u32[]{:S(2)}) copy-start(%x), cross_program_prefetch_index=0
  %b = bf16[16,64]{1,0:T(8,128)S(1)} copy-done(%a)
  %c = (bf16[16,64]{1,0:T(8,128)S(1)}, bf16[16,64]{1,0:T(8,128)}, u32[]{:S(2)}) copy-start(%x)
  %d = bf16[16,64]{1,0:T(8,128)S(1)} copy-done(%c)
  ROOT %e = bf16[16,64]{1,0:T(8,128)S(1)} negate(%b)
}
"""
    assert hlo.work(text).bytes == 16 * 64 * 2


def test_weights_that_a_fusion_within_a_fusion_hands_on_are_read_once():
    # As XLA writes the products of decoding for a TPU: 64 × 32 weights in main memory, rows and results on the chip.
    text = """\
HloModule m

%handed (input: bf16[32,64]) -> bf16[64,32] {
  %input = bf16[32,64]{0,1:T(8,128)(2,1)} parameter(0)
  ROOT %turned = bf16[64,32]{1,0:T(8,128)(2,1)} bitcast(%input)
}

%product (rows: bf16[8,64], weights: bf16[32,64]) -> bf16[8,32] {
  %rows = bf16[8,64]{1,0:T(8,128)(2,1)S(1)} parameter(0)
  %weights = bf16[32,64]{0,1:T(8,128)(2,1)} parameter(1)
  %inner = bf16[64,32]{1,0:T(8,128)(2,1)} fusion(%weights), kind=kLoop, calls=%handed
  ROOT %made = bf16[8,32]{1,0:T(8,128)(2,1)S(1)} convolution(%rows, %inner), dim_labels=bf_io->bf
}

ENTRY %main (x: bf16[8,64], w: bf16[32,64]) -> bf16[8,32] {
  %x = bf16[8,64]{1,0:T(8,128)(2,1)S(1)} parameter(0)
  %w = bf16[32,64]{0,1:T(8,128)(2,1)} parameter(1)
  ROOT %out = bf16[8,32]{1,0:T(8,128)(2,1)S(1)} fusion(%x, %w), kind=kOutput, calls=%product
}
"""
    assert hlo.work(text).bytes == 64 * 32 * 2
    assert hlo.work(text).flops == 2 * 8 * 64 * 32


def test_a_fusion_with_several_results_writes_those_in_main_memory():
    # A cache of 512 rows gets one, in place, and is read whole for its sum; of the results two lie on the chip.
    text = """\
HloModule m

%step (cache: f32[512,64], row: f32[1,64], place: s32[], zero: s32[]) -> (f32[512,64], f32[64], f32[1,64]) {
  %cache = f32[512,64]{1,0:T(8,128)} parameter(0)
  %row = f32[1,64]{1,0:T(8,128)} parameter(1)
  %place = s32[]{:T(128)} parameter(2)
  %zero = s32[]{:T(128)} parameter(3)
  %put = f32[512,64]{1,0:T(8,128)} dynamic-update-slice(%cache, %row, %place, %zero)
  %none = f32[]{:T(128)} constant(0)
  %sum = f32[64]{0:T(128)S(1)} reduce(%put, %none), dimensions={0}, to_apply=%add
  %twice = f32[1,64]{1,0:T(8,128)S(1)} add(%row, %row)
  ROOT %all = (f32[512,64]{1,0:T(8,128)}, f32[64]{0:T(128)S(1)}, f32[1,64]{1,0:T(8,128)S(1)}) tuple(%put, %sum, %twice)
}

ENTRY %main (c: f32[512,64], r: f32[1,64], p: s32[], z: s32[]) -> (f32[512,64], f32[64], f32[1,64]) {
  %c = f32[512,64]{1,0:T(8,128)} parameter(0)
  %r = f32[1,64]{1,0:T(8,128)} parameter(1)
  %p = s32[]{:T(128)S(2)} parameter(2)
  %z = s32[]{:T(128)S(2)} parameter(3)
  ROOT %out = (f32[512,64]{1,0:T(8,128)}, f32[64]{0:T(128)S(1)}, f32[1,64]{1,0:T(8,128)S(1)}) fusion(%c, %r, %p, %z), kind=kLoop, calls=%step
}
"""  # noqa: E501
    read, row = 512 * 64 * 4, 64 * 4
    assert hlo.work(text).bytes == read + row + row


def test_what_is_filled_in_memory_is_written_once():
    text = """\
HloModule m

ENTRY %main () -> f32[32,64] {
  %zero = f32[]{:T(128)S(2)} constant(0)
  ROOT %zeros = f32[32,64]{1,0:T(8,128)} broadcast(%zero), dimensions={}
}
"""
    assert hlo.work(text).bytes == 32 * 64 * 4


def test_a_collective_that_goes_on_beside_a_product_counts_once():
    # Four chips gather 16 rows each, in main memory; the gathering is named in three fusions.
    text = """\
HloModule m, num_partitions=4

%starts (own: bf16[16,64]) -> (bf16[16,64], bf16[64,64], s32[2], u32[]) {
  %own = bf16[16,64]{1,0:T(8,128)(2,1)} parameter(0)
  %gather.1 = bf16[64,64]{1,0:T(8,128)(2,1)} all-gather(%own), channel_id=1, replica_groups=[1,4]<=[4], dimensions={0}, frontend_attributes={chain_id="3"}
  ROOT %begun = (bf16[16,64]{1,0:T(8,128)(2,1)}, bf16[64,64]{1,0:T(8,128)(2,1)}, s32[2]{0:S(4)}, u32[]{:S(2)}) custom-call(%gather.1), custom_call_target="AsyncCollectiveStart"
}

%beside (own.2: bf16[16,64], all.2: bf16[64,64], flag.2: s32[2], x.2: f32[8,8]) -> (f32[8,8], bf16[16,64], bf16[64,64], s32[2]) {
  %own.2 = bf16[16,64]{1,0:T(8,128)(2,1)} parameter(0)
  %all.2 = bf16[64,64]{1,0:T(8,128)(2,1)} parameter(1)
  %flag.2 = s32[2]{0:S(4)} parameter(2)
  %x.2 = f32[8,8]{1,0:T(8,128)} parameter(3)
  %gather.2 = bf16[64,64]{1,0:T(8,128)(2,1)} all-gather(%own.2), channel_id=1, replica_groups=[1,4]<=[4], dimensions={0}, frontend_attributes={chain_id="3"}
  %product = f32[8,8]{1,0:T(8,128)} convolution(%x.2, %x.2), dim_labels=bf_io->bf
  ROOT %on = (f32[8,8]{1,0:T(8,128)}, bf16[16,64]{1,0:T(8,128)(2,1)}, bf16[64,64]{1,0:T(8,128)(2,1)}, s32[2]{0:S(4)}) tuple(%product, %own.2, %gather.2, %flag.2)
}

%ends (own.3: bf16[16,64], all.3: bf16[64,64], flag.3: s32[2]) -> bf16[64,64] {
  %own.3 = bf16[16,64]{1,0:T(8,128)(2,1)} parameter(0)
  %all.3 = bf16[64,64]{1,0:T(8,128)(2,1)} parameter(1)
  %flag.3 = s32[2]{0:S(4)} parameter(2)
  %gather.3 = bf16[64,64]{1,0:T(8,128)(2,1)} all-gather(%own.3), channel_id=1, replica_groups=[1,4]<=[4], dimensions={0}, frontend_attributes={chain_id="3"}
  ROOT %ended = bf16[64,64]{1,0:T(8,128)(2,1)} custom-call(%own.3, %all.3, %gather.3, %flag.3), custom_call_target="AsyncCollectiveDone"
}

ENTRY %main (w: bf16[16,64], x: f32[8,8]) -> bf16[64,64] {
  %w = bf16[16,64]{1,0:T(8,128)(2,1)} parameter(0)
  %x = f32[8,8]{1,0:T(8,128)} parameter(1)
  %a = (bf16[16,64]{1,0:T(8,128)(2,1)}, bf16[64,64]{1,0:T(8,128)(2,1)}, s32[2]{0:S(4)}, u32[]{:S(2)}) fusion(%w), kind=kCustom, calls=%starts
  %a.0 = bf16[16,64]{1,0:T(8,128)(2,1)} get-tuple-element(%a), index=0
  %a.1 = bf16[64,64]{1,0:T(8,128)(2,1)} get-tuple-element(%a), index=1
  %a.2 = s32[2]{0:S(4)} get-tuple-element(%a), index=2
  %b = (f32[8,8]{1,0:T(8,128)}, bf16[16,64]{1,0:T(8,128)(2,1)}, bf16[64,64]{1,0:T(8,128)(2,1)}, s32[2]{0:S(4)}) fusion(%a.0, %a.1, %a.2, %x), kind=kCustom, calls=%beside
  %b.1 = bf16[16,64]{1,0:T(8,128)(2,1)} get-tuple-element(%b), index=1
  %b.2 = bf16[64,64]{1,0:T(8,128)(2,1)} get-tuple-element(%b), index=2
  %b.3 = s32[2]{0:S(4)} get-tuple-element(%b), index=3
  ROOT %c = bf16[64,64]{1,0:T(8,128)(2,1)} fusion(%b.1, %b.2, %b.3), kind=kCustom, calls=%ends
}
"""  # noqa: E501
    found = hlo.work(text)
    assert found.counts == {"all-gather": 1} and found.moved == {"all-gather": 64 * 64 * 2 * 3 / 4}
    assert found.bytes == (16 + 64) * 64 * 2 + 2 * 8 * 8 * 4, "the gathering, and beside it a product"
    assert found.flops == 2 * 8 * 8 * 8


def test_a_sum_of_which_each_chip_keeps_its_part_is_sent_once():
    text = """\
HloModule m, num_partitions=4

%all-reduce-scatter (input: bf16[64,64]) -> bf16[16,64] {
  %input = bf16[64,64]{1,0:T(8,128)(2,1)} parameter(0)
  %sum = bf16[64,64]{1,0:T(8,128)(2,1)} all-reduce(%input), channel_id=1, replica_groups={{0,1,2,3}}, to_apply=%add
  %zero = u32[] constant(0)
  %mine = u32[] partition-id()
  ROOT %part = bf16[16,64]{1,0:T(8,128)(2,1)} dynamic-slice(%sum, %mine, %zero), dynamic_slice_sizes={16,64}
}

ENTRY %main (g: bf16[64,64]) -> bf16[16,64] {
  %g = bf16[64,64]{1,0:T(8,128)(2,1)} parameter(0)
  ROOT %out = bf16[16,64]{1,0:T(8,128)(2,1)} fusion(%g), kind=kCustom, calls=%all-reduce-scatter
}
"""
    found = hlo.work(text)
    assert found.counts == {"reduce-scatter": 1} and found.moved == {"reduce-scatter": 64 * 64 * 2 * 3 / 4}
    assert found.bytes == (64 + 16) * 64 * 2


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
    assert attention_blocks.pairs(length, on_kernel=True) / length**2 == pytest.approx(share)
