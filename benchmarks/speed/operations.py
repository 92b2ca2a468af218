"""Lower bound on the floating-point operations of scoring a generation."""

from __future__ import annotations

from craft_zoo.benchmarks.speed.naive import NaiveScorer


def needed_operations(scorer: NaiveScorer) -> int:
    """Operations per candidate; a multiply-add counts as two.

    Counts the matrix products that depend on the candidate and affect the output: the context
    tokens once per layer (shared by all classes), each class name's tokens up to end-of-text, each
    pair of positions that attend to each other, and in the last layer only the queries of the
    end-of-text tokens. Excludes work shared by all candidates (the start token and the first
    layer's projections of the names' tokens), normalisation, activation, softmax and additions.
    """
    model = scorer.model
    blocks = model.transformer.resblocks
    layers, hidden = len(blocks), blocks[0].mlp.c_fc.out_features
    embed_dim, width = model.text_projection.shape[1], model.text_projection.shape[0]
    n_context = len(scorer.initial_context)
    stop = 1 + n_context
    lengths = [int(end) + 1 - stop for end in scorer.ends]
    tokens, classes = sum(lengths), len(lengths)

    keys_values, mlp = 2 * 2 * width**2, 2 * 2 * width * hidden
    query_out = 2 * 2 * width**2
    whole = keys_values + query_out + mlp
    pair = 4 * width  # per query-key pair: attention score and weighted value
    context_pairs = sum(range(2, stop + 1))
    name_pairs = sum(stop + place for n in lengths for place in range(1, n + 1))
    last_pairs = sum(stop + n for n in lengths)

    context = n_context * ((layers - 1) * whole + keys_values) + (layers - 1) * pair * context_pairs
    first = tokens * (2 * width**2 + mlp)
    middle = tokens * (layers - 2) * whole
    attention = pair * ((layers - 1) * name_pairs + last_pairs)
    last = tokens * keys_values + classes * (query_out + mlp + 2 * width * embed_dim)
    return context + first + middle + attention + last
