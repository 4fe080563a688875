"""Trees of rows: by hand, and against what they must be for any rows."""

from hypothesis import given
from hypothesis import strategies as st

from cai_jax.engine.prefix_tree import grow

ROWS = st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=12), min_size=1, max_size=12)


def spelled(nodes):
    """(start, stop, rows) of every node, with its children's."""
    return [(node.start, node.stop, node.rows, spelled(node.children)) for node in nodes]


def test_a_conversation_with_two_principles_in_two_orders():
    rows = [[7, 7, 7, p, p, *order] for p in (1, 2) for order in ((8, 9), (9, 8))]
    orders = [[(5, 7, [n], [])] for n in range(4)]
    assert spelled(grow(rows, least=2)) == [
        (0, 3, [0, 1, 2, 3], [(3, 5, [0, 1], orders[0] + orders[1]), (3, 5, [2, 3], orders[2] + orders[3])])
    ]
    # Two tokens are not worth a level of their own here, so the principle is read with each order.
    leaves = [(3, 7, [n], []) for n in range(4)]
    assert spelled(grow(rows, least=3)) == [(0, 3, [0, 1, 2, 3], leaves)]
    assert spelled(grow(rows, least=6)) == [(0, 7, [n], []) for n in range(4)]


def test_a_row_that_others_begin_with_keeps_a_token_of_its_own():
    assert spelled(grow([[1, 2, 3], [1, 2, 3, 4], [1, 2, 3]], least=2)) == [
        (0, 2, [0, 1, 2], [(2, 3, [0, 2], []), (2, 4, [1], [])])
    ]


def test_a_short_coincidence_does_not_hide_a_long_one():
    rows = [[5, 1, 1, 1, 2], [5, 1, 1, 1, 3], [5, 4, 4, 4, 2], [5, 4, 4, 4, 3]]
    assert [(node.start, node.stop, node.rows) for node in grow(rows, least=3)] == [(0, 4, [0, 1]), (0, 4, [2, 3])]


@given(ROWS, st.integers(1, 4))
def test_every_row_is_spelled_by_the_way_to_its_leaf(rows, least):
    found = {}

    def walk(node, before):
        same = {tuple(rows[number][node.start : node.stop]) for number in node.rows}
        assert len(same) == 1 and node.start == len(before) and node.size > 0
        text = [*before, *same.pop()]
        if not node.children:
            found.update({number: text for number in node.rows})
            return
        assert node.size >= least and len(node.children) > 1
        assert sorted(number for child in node.children for number in child.rows) == node.rows
        for child in node.children:
            walk(child, text)

    for node in grow(rows, least):
        walk(node, [])
    assert [found[number] for number in range(len(rows))] == rows


@given(ROWS, st.randoms(use_true_random=False))
def test_the_tree_does_not_depend_on_the_order_of_the_rows(rows, random):
    shuffled = rows[:]
    random.shuffle(shuffled)

    def shape(rows):
        return sorted((rows[n.rows[0]][: n.stop], n.start, len(n.rows)) for n in nodes(grow(rows, 2)))

    def nodes(some):
        return [each for node in some for each in (node, *nodes(node.children))]

    assert shape(rows) == shape(shuffled)
