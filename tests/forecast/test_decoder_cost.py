"""What passes through a decoder take, against sums made by hand."""

from dataclasses import replace

import pytest

from cai_jax.forecast.decoder_cost import DecoderCost
from cai_jax.models import attention_blocks
from cai_jax.models.config import Config

# A layer has 8·(8 + 2·4) weights for queries, keys and values, 8·8 for the output, and 3·8·16 for feeding forward.
CONFIG = Config(
    vocab_size=32, hidden_size=8, layers=2, heads=2, kv_heads=1, head_dim=4, intermediate_size=16, max_position=512
)
INPUTS, LAYER = 128, 128 + 64 + 384


def decoder(platform="cpu", **changed):
    return DecoderCost(CONFIG, 4, 4, platform, **changed)


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


def test_a_pass_reads_its_weights_once_and_looks_up_its_tokens():
    whole = 4 * 2 * LAYER + 4 * 48 * 8
    assert decoder().read(3, 16).bytes == whole
    # Keys and values of a text before all rows are read, those that are kept are written: 4 numbers each in two layers.
    assert decoder().read(3, 16, shared=32).bytes == whole + 2 * 4 * 4 * 2 * 32
    assert decoder().read(3, 16, kept=True).bytes == whole - 4 * (LAYER - INPUTS) + 2 * 4 * 4 * 2 * 48
    assert decoder().unembed(5).bytes == 4 * 8 * 32


def test_decoding_reads_weights_and_cache_once_a_token():
    half = replace(decoder("tpu"), size=2, stored=2)
    weights, cache = 2 * (2 * LAYER + 8 * 32), 2 * 2 * 2 * 4 * (3 * 64 + 16)
    assert half.decode(3, positions=64, steps=8, shared=16).bytes == 8 * (weights + cache)
    # A chip keeps float32 as the bfloat16 in which it multiplies; a processor does not.
    assert decoder("tpu").decode(3, 64, 8).bytes == 8 * (weights + 2 * 2 * 2 * 4 * 4 * 3 * 64 / 2)
    assert decoder().decode(3, 64, 8).bytes == 8 * (2 * weights + 2 * 2 * 4 * 4 * 3 * 64)


def test_learning_reads_weights_twice_and_writes_a_gradient():
    assert decoder().train(3, 16).bytes == (2 + 1) * 4 * 2 * LAYER
    assert decoder().train(3, 16, remat=True).bytes == (3 + 1) * 4 * 2 * LAYER
    assert decoder(rank=2).train(3, 16, frozen=True).bytes == 2 * 4 * 2 * LAYER
    assert decoder().learn(10, 2).bytes == 2 * (2 + 1) * 4 * 8 * 32
    assert decoder().learn(10, 2, frozen=True).bytes == 2 * 2 * 4 * 8 * 32


def test_an_update_reads_gradient_weights_and_moments_and_writes_all_but_the_gradient():
    assert decoder().update(100) == 7 * 4 * 100
    assert decoder(split=2).update(100, shards=5) == 7 * 4 * 10


def test_a_cache_holds_keys_and_values_of_every_layer():
    assert decoder().cache(10) == 2 * 4 * 4 * 2 * 10
    assert decoder(split=2).cache(10) == 4 * 4 * 2 * 10


def test_a_layer_holds_its_input_and_attention_or_what_it_feeds_forward():
    # 48 tokens of 8 numbers; queries and output of 8, keys and values of 4 each; scores of two heads, 16 keys a query.
    attending = 4 * 48 * (8 + 2 * 8 + 2 * 4) + 4 * 3 * 2 * 16 * 16
    feeding = 4 * 48 * (8 + 2 * 16)
    assert decoder().layer_values(3, 16) == max(attending, feeding)
    # Of longer rows a block of 128 queries has scores at one time; a kernel has none.
    assert decoder().layer_values(1, 256) == 4 * 256 * 32 + 4 * 2 * 128 * 256
    assert decoder("gpu").layer_values(1, 256) == 4 * 256 * (8 + 32)


def test_a_gradient_keeps_of_every_layer_what_goes_into_its_products():
    # Inputs of both norms, queries and attention's output, keys, values, gate and up; of every head the weights.
    layer = 4 * 48 * (2 * 8 + 2 * 8 + 2 * 4 + 2 * 16) + 4 * 3 * 2 * 16 * 16
    assert decoder().saved(3, 16) == 2 * layer
    assert decoder().saved(3, 16, remat=True) == 2 * 4 * 48 * 8 + layer, "and all of the one that is at hand"
    assert decoder("gpu").saved(3, 16) == 2 * (layer - 4 * 3 * 2 * 16 * 16)


def test_what_is_trained():
    whole = 8 * 32 + 2 * (LAYER + 2 * 8) + 8
    assert decoder().trained(False, headed=True) == whole
    assert decoder().trained(False, headed=False) == whole, "of which the unembedding is the embedding"
    untied = DecoderCost(replace(CONFIG, tie_embeddings=False), 4, 4, "cpu")
    assert untied.trained(False, headed=True) == whole + 8 * 32
    assert untied.trained(False, headed=False) == whole, "a scalar head in the place of the unembedding"
    # Of rank 2: [8, 2] and [2, 8] for queries, twice [8, 2] and [2, 4], output, gate, up and down.
    sides = 2 * ((8 + 8) + 2 * (8 + 4) + (8 + 8) + 3 * (8 + 16))
    assert decoder(rank=2).trained(True, headed=True) == 2 * sides


def test_muon_makes_three_products_five_times():
    def of(m, n):
        return 5 * 2 * (m * m * n + m * m * m + m * m * n)

    assert decoder().orthogonalised().flops == 2 * (2 * of(8, 8) + 2 * of(4, 8) + 3 * of(8, 16))


def test_devices_that_split_a_decoder_take_their_part():
    assert decoder(split=2).read(3, 16).flops == decoder().read(3, 16).flops / 2
    assert decoder(split=2).unembed(5).bytes == 4 * 8 * 32 / 2
    assert decoder(split=2).logits(5) == 4 * 5 * 32 / 2
