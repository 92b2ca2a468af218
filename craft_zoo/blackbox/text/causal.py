"""The engine: a causal text tower from only the positions that reach the answer, each once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from open_clip.transformer import QuickGELU, ResidualAttentionBlock
from torch import Tensor, nn
from torch.nn import functional as F

from craft_zoo.blackbox.text.encoder import TextEncoder
from craft_zoo.blackbox.text.packing import pack
from craft_zoo.blackbox.text.tower import end_positions, text_tower
from craft_zoo.errors import CraftZooError

# More rows in a block than this make a CPU no faster: its matrix products are at their best.
_CPU_ROWS = 4096


@dataclass(frozen=True)
class _Sequences:
    """m sequences of one length, beside each other in the rows of a block, with one mask.

    Attributes:
        count: m.
        length: tokens of a sequence.
        mask: (length, past + length), 0 where a token sees another and -inf where it doesn't.
        ends: (k,) positions whose features are asked for.
        first: (m,) the class of each sequence's first name, which is its only one where each class
            stands behind a context of its own.
    """

    count: int
    length: int
    mask: Tensor
    ends: Tensor
    first: Tensor

    @property
    def rows(self) -> int:
        return self.count * self.length


@dataclass(frozen=True)
class _Pack:
    """Class names that are encoded together.

    Attributes:
        sequences: how they are laid out.
        names: (rows, dim), their embeddings with positions.
        projected: (rows, 3 dim), queries, keys and values of the first layer, where names have not
            met a context yet.
        classes: (C',) index of the class behind each feature.
    """

    sequences: tuple[_Sequences, ...]
    names: Tensor
    projected: Tensor
    classes: Tensor


class CausalTextEncoder(TextEncoder):
    """The same features for a causal tower, from only the positions that reach the answer.

    Nothing after the end-of-text token can reach it, so the sequence ends there. ``[SOS] ctx``
    cannot see the class name, so its keys and values are computed once a context and shared by all
    classes, those of ``[SOS]`` once for good. The names' tokens are packed into sequences of about
    equal length, without padding, in which a mask keeps the names apart. In the last layer only the
    end-of-text positions are asked for. Where each class has a context of its own, nothing but
    ``[SOS]`` is shared and each name is a sequence.
    """

    def _prepare(self) -> None:
        self.tower = text_tower(self.model)
        self.blocks: list[ResidualAttentionBlock] = list(self.tower.transformer.resblocks)
        self._width = self.embedding.embedding_dim
        self._heads = self.blocks[0].attn.num_heads
        self._compiled = torch.compile(self._encode_names) if self._compile else None
        start, stop = self.start, self.stop
        dtype = self.tower.transformer.get_cast_dtype()
        position = self.tower.positional_embedding.detach().to(dtype)
        self._context_position = position[start:stop]
        nothing = position.new_empty(1, 0, 2, self._heads, self._width // self._heads)
        self._sos = [nothing for _ in self.blocks]
        if start:
            sos = self.embedding(self.tokens[0, :start]).to(dtype) + position[:start]
            self._sos = self._encode_prefix(sos[None], self._sos)
        self._ends = (end_positions(self.tower, self.tokens) + 1).tolist()
        self._packs = self._lay_out()
        self._apart: list[_Pack] = []  # names each by itself, once they are needed

    def _lay_out(self, **bins: int) -> list[_Pack]:
        """The names in packs; see :func:`pack` for ``bin_tokens``."""
        stop, ends = self.stop, self._ends
        position = self.tower.positional_embedding.detach().to(self._context_position.dtype)
        device, dtype = position.device, position.dtype
        packs = []
        for alike_bins in pack([end - stop for end in ends], self._most_rows(), **bins):
            sequences = tuple(
                _Sequences(
                    count=len(alike.members),
                    length=sum(alike.lengths),
                    mask=_mask(stop, alike.lengths).to(device, dtype),
                    ends=(torch.tensor(alike.lengths).cumsum(0) - 1).to(device),
                    first=torch.tensor([members[0] for members in alike.members], device=device),
                )
                for alike in alike_bins
            )
            classes = [
                name for alike in alike_bins for members in alike.members for name in members
            ]
            names = torch.cat(
                [
                    self.embedding(self.tokens[c, stop : ends[c]]).to(dtype)
                    + position[stop : ends[c]]
                    for c in classes
                ]
            )
            projected = _project(self.blocks[0], self.blocks[0].ln_1(names))
            packs.append(_Pack(sequences, names, projected, torch.tensor(classes, device=device)))
        return packs

    def _most_rows(self) -> int:
        """Rows that a block may have: what memory allows, and on a CPU what makes it faster."""
        hidden = max(block.mlp.c_fc.out_features for block in self.blocks)
        floats = 6 * self._width + 2 * hidden  # a row's activations at their widest
        weight = self.embedding.weight
        fitting = max(1, self._memory // 2 // (floats * weight.element_size()))
        return min(fitting, _CPU_ROWS) if weight.device.type == "cpu" else fitting

    def _contexts_per_wave(self, prefixes: int) -> int:
        """Contexts whose features, keys and values fit into memory together.

        Args:
            prefixes: of a context: 1, or one for each class.
        """
        keys_values = 2 * prefixes * self.stop * self._width * len(self.blocks)
        floats = len(self.tokens) * self._feature_dim() + keys_values
        return max(1, self._memory // 2 // (4 * floats))

    @torch.inference_mode()
    def __call__(self, contexts: Tensor) -> Iterator[Tensor]:
        """See :meth:`TextEncoder.__call__`."""
        contexts = contexts.to(self._context_position.dtype)
        if contexts.ndim == 4 and not self._apart:
            self._apart = self._lay_out(bin_tokens=1)
        prefixes = contexts.shape[1] if contexts.ndim == 4 else 1
        for wave in contexts.split(self._contexts_per_wave(prefixes)):
            yield from self._encode_wave(wave)

    def _encode_wave(self, contexts: Tensor) -> Tensor:
        """(P, C, embed_dim), block by block."""
        past = self._encode_contexts(contexts.view(-1, *contexts.shape[-2:]))
        own = contexts.ndim == 4
        if own:
            past = [layer.unflatten(0, contexts.shape[:2]) for layer in past]
        shape = len(contexts), len(self.tokens), self._feature_dim()
        features = torch.empty(shape, device=contexts.device)
        for names in self._apart if own else self._packs:
            step = max(1, self._most_rows() // len(names.names))
            for first in range(0, len(contexts), step):
                some = slice(first, first + step)
                encoded = self._encode([layer[some] for layer in past], names)
                features[some, names.classes] = F.normalize(encoded.float(), dim=-1)
        return features

    def _feature_dim(self) -> int:
        projection = self.tower.text_projection
        if projection is None:
            return self._width
        return projection.out_features if isinstance(projection, nn.Linear) else projection.shape[1]

    def _encode_contexts(self, contexts: Tensor) -> list[Tensor]:
        """Keys and values of ``[SOS] ctx`` in every layer, for K contexts block by block."""
        step = max(1, self._most_rows() // contexts.shape[1])
        blocks = [
            self._encode_prefix(some + self._context_position, self._sos)
            for some in contexts.split(step)
        ]
        return [
            torch.cat(layer) if len(layer) > 1 else layer[0] for layer in zip(*blocks, strict=True)
        ]

    def _encode_prefix(self, x: Tensor, past: list[Tensor]) -> list[Tensor]:
        """Keys and values of a sequence and of what stands before it, in every layer.

        Args:
            x: (P, length, dim).
            past: of each layer, (P or 1, n, 2, heads, head_dim).

        Returns:
            Of each layer, (P, n + length, 2, heads, head_dim).
        """
        n_sequences, length, width = x.shape
        mask = _mask(past[0].shape[1], (length,)).to(x)
        x = x.reshape(-1, width)
        extended = []
        for block, before in zip(self.blocks, past, strict=True):
            projected = self._split(_project(block, block.ln_1(x)), n_sequences, 1, length)
            key_value = _extend(before[:, None], projected[:, :, :, 1:])
            extended.append(key_value[:, 0])
            if block is not self.blocks[-1]:
                x = _finish(block, x, _attend(projected[:, :, :, 0], key_value, mask))
        return extended

    def _encode(self, past: list[Tensor], names: _Pack) -> Tensor:
        if self._compiled is None:
            return self._encode_names(past, names)
        try:
            return self._compiled(past, names)
        except RuntimeError as error:  # what dynamo and inductor raise
            reason = str(error).strip().splitlines()[0]
            raise CraftZooError(
                f"torch.compile cannot be used here ({reason}): leave out --compile"
            ) from error

    def _encode_names(self, past: list[Tensor], names: _Pack) -> Tensor:
        """Features (P, C', embed_dim) of a pack's names behind P contexts.

        ``past`` is (P, n, …) of contexts that all names share, (P, C, n, …) of those of each class.

        Rows lie in the order (kind of sequences, context, sequence, token), so that each kind is a
        piece of them.
        """
        n_contexts = len(past[0])
        sizes = [sequences.rows for sequences in names.sequences]
        sizes_by_context = [n_contexts * size for size in sizes]

        def repeat(rows: Tensor) -> list[Tensor]:
            return [piece.repeat(n_contexts, 1) for piece in rows.split(sizes)]

        x = torch.cat(repeat(names.names))
        for block, before in zip(self.blocks, past, strict=True):
            if block is self.blocks[0]:
                projected = repeat(names.projected)
            else:
                projected = list(_project(block, block.ln_1(x)).split(sizes_by_context))
            last = block is self.blocks[-1]
            asked, attended = [], []
            for rows, piece, kind in zip(
                x.split(sizes_by_context), projected, names.sequences, strict=True
            ):
                shape = n_contexts, kind.count, kind.length
                parts, mask = self._split(piece, *shape), kind.mask
                query, key_value = parts[:, :, :, 0], parts[:, :, :, 1:]
                if last:
                    query, mask = query[:, :, kind.ends], mask[kind.ends]
                    asked.append(rows.view(*shape, -1)[:, :, kind.ends].flatten(0, 2))
                behind = before[:, None] if before.ndim == 5 else before[:, kind.first]
                attended.append(_attend(query, _extend(behind, key_value), mask))
            x = _finish(block, torch.cat(asked) if last else x, torch.cat(attended))
        x = self.tower.ln_final(x)
        projection = self.tower.text_projection
        if projection is not None:
            x = projection(x) if isinstance(projection, nn.Module) else x @ projection
        ends = [n_contexts * kind.count * len(kind.ends) for kind in names.sequences]
        pieces = [piece.view(n_contexts, -1, x.shape[-1]) for piece in x.split(ends)]
        return torch.cat(pieces, dim=1)

    def _split(self, projected: Tensor, *shape: int) -> Tensor:
        """(P, m, length, 3, heads, head_dim)."""
        return projected.reshape(*shape, 3, self._heads, -1)


def _mask(past: int, lengths: Sequence[int]) -> Tensor:
    """(sum, past + sum): a token sees what is past and its own name up to itself."""
    own = torch.block_diag(*[torch.ones(n, n).tril() for n in lengths])
    seen = torch.cat([torch.ones(len(own), past), own], dim=1)
    return torch.zeros_like(seen).masked_fill(seen == 0, float("-inf"))


def _project(block: ResidualAttentionBlock, x: Tensor) -> Tensor:
    """Queries, keys and values, (rows, dim) → (rows, 3 dim)."""
    return F.linear(x, block.attn.in_proj_weight, block.attn.in_proj_bias)


def _extend(past: Tensor, key_value: Tensor) -> Tensor:
    """(P, m, n + length, 2, …): keys and values behind those of pasts (P or 1, m or 1, n, 2, …)."""
    past = past.expand(*key_value.shape[:2], *past.shape[2:])
    return torch.cat([past, key_value], dim=2)


def _attend(query: Tensor, key_value: Tensor, mask: Tensor) -> Tensor:
    """(P, m, q, heads, head_dim), (P, m, n, 2, heads, head_dim), (q, n) → (P·m·q, dim)."""
    key, value = key_value.flatten(0, 1).unbind(2)
    attended = F.scaled_dot_product_attention(
        query.flatten(0, 1).transpose(1, 2),
        key.transpose(1, 2),
        value.transpose(1, 2),
        attn_mask=mask,
    )
    return attended.transpose(1, 2).flatten(0, 1).flatten(1)


def _finish(block: ResidualAttentionBlock, x: Tensor, attended: Tensor) -> Tensor:
    """The rest of the block after attention, on rows."""
    x = x + block.ls_1(block.attn.out_proj(attended))
    return x + block.ls_2(_mlp(block.mlp, block.ln_2(x)))


def _mlp(mlp: nn.Sequential, x: Tensor) -> Tensor:
    if not isinstance(mlp.gelu, QuickGELU):
        return mlp(x)
    # x · sigmoid(1.702 x) in four passes over the widest activations; SiLU does it in one, with
    # the factor carried by the matrix products on its sides.
    hidden, out = mlp.get_submodule("c_fc"), mlp.get_submodule("c_proj")
    assert isinstance(hidden, nn.Linear)
    assert isinstance(out, nn.Linear)
    x = torch.addmm(1.702 * hidden.bias, x, hidden.weight.T, alpha=1.702)
    x = F.silu(x, inplace=True)
    return torch.addmm(out.bias, x, out.weight.T, alpha=1 / 1.702)
