"""Few sizes, by hand."""

from cai_jax.engine import buckets


def test_widths_are_powers_of_two_up_to_the_limit():
    assert [buckets.next_power_of_two(n) for n in (1, 16, 17, 64, 65)] == [16, 16, 32, 64, 128]
    lengths = [3, 70, 16, 17, 100, 2]
    assert buckets.batches(lengths, 2) == [(16, [0, 2]), (16, [5]), (32, [3]), (128, [1, 4])]
    assert buckets.batches(lengths, 8, limit=100) == [(16, [0, 2, 5]), (32, [3]), (100, [1, 4])]
    assert buckets.batches([], 8) == []


def test_eighths_pad_a_ninth_at_most():
    assert [buckets.next_eighth_octave(n) for n in (1, 16, 17, 21, 33, 64, 65, 97)] == [16, 16, 18, 22, 36, 64, 72, 104]
    assert all(size <= buckets.next_eighth_octave(size) < 1.125 * size for size in range(17, 2000))
