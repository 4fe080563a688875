"""What passes through a decoder take, against sums made by hand."""

from dataclasses import replace

import pytest

from cai_jax.forecast import decoder_cost, onchip_memory
from cai_jax.models import attention_blocks
from cai_jax.models.config import Config

# A layer has 8·(8 + 2·4) weights for queries, keys and values, 8·8 for the output, and 3·8·16 for feeding forward.
CONFIG = Config(
    vocab_size=32, hidden_size=8, layers=2, heads=2, kv_heads=1, head_dim=4, intermediate_size=16, max_position=512
)
INPUTS, LAYER = 128, 128 + 64 + 384


def decoder(platform="cpu", **changed):
    changed = {"room": 108 * 2**20 if platform == "tpu" else 0, **changed}
    return decoder_cost.DecoderCost(replace(CONFIG, **changed.pop("config", {})), 4, 4, platform, **changed)


def test_rows_attend_to_themselves_a_block_at_a_time():
    assert attention_blocks.pairs(16) == 16 * 16
    assert attention_blocks.pairs(200) == 128 * 128 + 72 * 200, "from 128 tokens on the causal triangle is cut"
    assert attention_blocks.pairs(2048) == 256 * (256 + 512 + 768 + 1024 + 1280 + 1536 + 1792 + 2048), (
        "into eight pieces at most"
    )
    assert attention_blocks.pairs(200, window=10) == 128 * 128 + 72 * (200 - 119)
    assert attention_blocks.pairs(1024, on_kernel=True) == 3 * 512 * 512, "of four blocks one lies in the future"


def test_reading_multiplies_every_token_with_every_weight_and_every_query_with_its_keys():
    # Two products of two heads of width 4, of 3 rows of 16 queries with 16 own keys and 32 shared ones.
    attention = 2 * 2 * 2 * 4 * 3 * 16 * (16 + 32)
    assert decoder().read(3, 16, shared=32).flops == 2 * 48 * 2 * LAYER + 2 * attention
    # For keys and values alone the last layer does not attend.
    assert decoder().read(3, 16, shared=32, kept=True).flops == 2 * 48 * (LAYER + INPUTS) + attention
    # An adapter of rank 2: of three inputs side by side, of the output, and of gate, up and down.
    sides = 2 * (3 * (8 + 16) + (8 + 8) + 3 * (8 + 16))
    assert decoder(rank=2).read(3, 16).flops == decoder().read(3, 16).flops + 2 * 48 * 2 * sides


def test_heads_are_padded_to_a_kernels_lanes():
    own = 2 * 2 * 128 * 2 * 128 * 128  # per row and layer
    assert decoder("tpu").read(3, 128).flops == 2 * 384 * 2 * LAYER + 2 * 3 * own
    assert decoder("tpu").read(3, 128, kernel=False).flops == decoder().read(3, 128).flops


def test_decoding_attends_to_the_whole_cache_and_draws():
    step = 2 * 3 * (2 * LAYER + 8 * 32) + 2 * 2 * 2 * 2 * 4 * 3 * (64 + 16)
    assert decoder().decode(3, positions=64, steps=8, shared=16).flops == 8 * step


def test_decoding_on_a_chip_reads_weights_and_cache_once_a_token():
    half = replace(decoder("tpu"), size=2, stored=2)
    weights, cache = 2 * (2 * LAYER + 8 * 32), 2 * 2 * 2 * 4 * (3 * 64 + 16)
    beside = 2 * 4 * 2 * INPUTS  # before the first: read and written twice
    assert half.decode(3, positions=64, steps=8, shared=16).bytes == 8 * (weights + cache) + beside


def test_a_gradient_takes_two_products_where_the_forward_takes_one():
    attention = 2 * 2 * 2 * 2 * 4 * 3 * 16 * 16
    assert decoder().train(3, 16).flops == 3 * (2 * 48 * 2 * LAYER + attention)
    # Computed again, all but the last product of a layer.
    again = 2 * 48 * 2 * (LAYER - 8 * 16) + attention
    assert decoder().train(3, 16, remat=True).flops == decoder().train(3, 16).flops + again
    # Below an adapter there is no gradient by the weights, nor by what the first layer reads.
    sides = 2 * (3 * (8 + 16) + (8 + 8) + 3 * (8 + 16))
    frozen = 2 * 48 * (2 * 2 * LAYER - INPUTS + 3 * 2 * sides) + 3 * attention
    assert decoder(rank=2).train(3, 16, frozen=True).flops == frozen
    # The kernel's gradient takes three and four where its forward takes two.
    kernel = 2 * 2 * 2 * 128 * 2 * 3 * 128 * 128
    assert decoder("tpu").train(3, 128).flops == 3 * 2 * 384 * 2 * LAYER + 4.5 * kernel


@pytest.mark.parametrize(("times", "frozen", "products"), [(1, False, 3), (2, False, 8), (1, True, 2), (2, True, 6)])
def test_logits_of_several_blocks_are_computed_again(times, frozen, products):
    assert decoder().learn(10, times, frozen).flops == products * 2 * 10 * 8 * 32


def test_what_a_layer_makes_stays_on_the_chip_while_it_fits():
    weights = 4 * (2 * LAYER + 8 * 32)
    assert decoder("tpu").read(3, 16).bytes == weights
    # 2^21 tokens of 4·(8 + 2·16) bytes are 320 MiB: what feeding forward hands over is written and read, gate and up
    # twice each, the residual stream four times. Of attending, 8 + 2·16 + 8 numbers and a block's scores, as well.
    many = decoder("tpu", config={"heads": 1, "kv_heads": 1, "head_dim": 8, "vocab_size": 2**22})
    tokens = 2**21
    moved = many.read(tokens // 128, 128, kernel=True).bytes
    beside = 4 * 4 * 8 * 24
    attending = 4 * tokens * (3 * 8 + 2 * 24 + 4 * 24 + 3 * 8) + beside
    feeding = 4 * tokens * (4 * 8 + 2 * 2 * 16)
    looked_up = 2 * tokens * 4 * 8
    layer = 8 * 24 + 64 + 384
    assert moved == 2 * (4 * layer + attending + feeding) + looked_up


def test_on_a_chip_without_room_all_that_split_heads_make_goes_to_memory():
    # 48 tokens and two chips. Of the residual stream, 8 numbers a token, a layer reads or writes: two for every sum
    # of both chips, three for adding it, what three products read, what gate and up read, what two products write.
    hidden = 48 * 4 * 8 * (2 * (2 + 3) + 3 + 2 + 2)
    # Heads, 8 + 2·4 numbers a token: as made, turned and attended to, by halves; gate and up.
    heads, inner = 48 * 4 * (16 * 2 + 16 * 4 + 8 * 3) / 2, 48 * 4 * 16 * 4 / 2
    scores = 3 * 4 * 3 * 2 * 16 * 16 / 2
    weights, looked_up = 4 * 2 * LAYER / 2, 2 * 48 * 4 * 8
    moved = decoder("tpu", split=2, room=0).read(3, 16).bytes
    assert moved == weights + looked_up + 2 * (hidden + heads + inner + scores)
    # Weights that come from four other places are handed on four times; what is made of them grows with every second.
    grown = 48 * 4 * (16 + 2 * 16) / 2 * 4
    few = decoder("tpu", split=2, room=0).read(3, 16, parts=4).bytes
    assert few == moved + 4 * weights + 2 * grown
    # What 2^22 tokens hand over, 128 MiB, is not fetched as a whole, and five products read it for every second part.
    many, again = decoder("tpu", split=2, room=0).read(2**18, 16, parts=4).bytes, 2**22 * 4 * 8 * 5
    assert many == 5 * weights + (few - 5 * weights) * 2**18 / 3 + 2 * again


def test_what_would_move_most_stays_on_the_chip_while_it_lives():
    often, seldom, later = (
        onchip_memory.Value(6, 5, 0, 2),
        onchip_memory.Value(6, 2, 2, 3),
        onchip_memory.Value(6, 2, 3, 0),
    )
    assert onchip_memory.spilled([seldom, often], [12, 12, 12, 12]) == 0
    assert onchip_memory.spilled([seldom, often], [12, 12, 11, 12]) == 6 * 2, "they meet at one moment"
    assert onchip_memory.spilled([often], [12, 5, 12, 12]) == 6 * 5
    # From the last moment into the next round's first, at which the first is made.
    assert onchip_memory.spilled([often, later], [11, 12, 12, 12]) == 6 * 2
    assert onchip_memory.spilled([onchip_memory.together([often, seldom])], [12] * 4) == 0
    assert onchip_memory.spilled([onchip_memory.together([often, seldom])], [12, 12, 12, 11]) == 6 * 5 + 6 * 2


def test_an_update_reads_and_writes_weights_and_moments_and_reads_the_gradient_twice():
    assert decoder("tpu").update(100, summed=False) == 8 * 4 * 100
    assert decoder("tpu").update(100, summed=True) == 10 * 4 * 100


def test_muon_makes_three_products_five_times():
    def of(m, n):
        return 5 * 2 * (m * m * n + m * m * m + m * m * n)

    assert decoder().orthogonalised().flops == 2 * (2 * of(8, 8) + 2 * of(4, 8) + 3 * of(8, 16))


def test_devices_that_split_a_decoder_take_their_part():
    assert decoder(split=2).read(3, 16).flops == decoder().read(3, 16).flops / 2
    assert decoder("tpu", split=2).unembed(5).bytes == 4 * 8 * 32 / 2
