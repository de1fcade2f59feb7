"""A tree of beginnings: its numbers by hand, and what a model says in it against reading every text for itself."""

import numpy as np
import pytest
import torch

from course_utils.evaluation import prefix_tree
from course_utils.evaluation.prefix_tree import PrefixTree, next_logprobs
from course_utils.models.decoder import Decoder, DecoderConfig


def test_a_tree_by_hand():
    tree = PrefixTree([[5, 7, 9], [5, 6], [5, 7], [8], [5, 6]])
    assert tree.tokens.tolist() == [5, 6, 7, 9, 8] and tree.depths.tolist() == [0, 1, 1, 2, 0]
    assert tree.ends.tolist() == [4, 2, 4, 4, 5]
    assert [tree.path(i).tolist() for i in range(5)] == [[0, 2, 3], [0, 1], [0, 2], [4], [0, 1]]
    assert [tree.above(node).tolist() for node in range(5)] == [[], [0], [0], [0, 2], []]


@pytest.mark.parametrize("at_once", [1, 7, 1_000])
@pytest.mark.parametrize("group", [1, 4, 48])
def test_what_a_token_sees_in_the_tree_is_its_own_text(at_once, group, monkeypatch):
    monkeypatch.setattr(prefix_tree, "GROUP", group)
    model = Decoder(DecoderConfig(vocab_size=12, hidden_size=16, intermediate_size=24, num_hidden_layers=2), seed=3)
    draw = np.random.default_rng(0)
    texts = [[1, *draw.integers(1, 4, draw.integers(1, 9)).tolist()] for _ in range(40)]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(4.0)  # so that what is seen makes a difference
        expected = [model(torch.tensor([text])).logits[0].log_softmax(-1) for text in texts]
    tree = PrefixTree(texts)
    assert len(tree.tokens) == len({tuple(text[:n]) for text in texts for n in range(1, len(text) + 1)})
    nodes = np.array([tree.path(i)[place] for i in range(40) for place in (-1, 0)])
    tokens = draw.integers(0, 12, 80)
    found = next_logprobs(model, tree, nodes, tokens, at_once)
    wanted = [float(expected[i // 2][-1 if i % 2 == 0 else 0, token]) for i, token in enumerate(tokens)]
    assert np.allclose(found, wanted, atol=1e-4)
