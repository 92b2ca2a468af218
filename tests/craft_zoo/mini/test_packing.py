"""Packing and unpacking weights restores them up to the documented rounding."""

import torch
from safetensors.torch import load_file

from craft_zoo.mini.packing import EMBEDDING, pack, save, unpack

VOCABULARY = 20


def small_state():
    generator = torch.Generator().manual_seed(0)
    return {
        EMBEDDING: torch.randn(VOCABULARY, 8, generator=generator),
        "matrix": torch.randn(4, 6, generator=generator),
        "kernel": torch.randn(6, 2, 3, 3, generator=generator).transpose(0, 1),
        "vector": torch.randn(5, generator=generator),
        "scale": torch.tensor(4.6051702),
        "count": torch.tensor(0),
    }


def test_round_trip():
    state = small_state()
    back = unpack(pack(state, torch.arange(VOCABULARY)), VOCABULARY)
    assert back.keys() == state.keys()
    for name in ("vector", "scale", "count"):
        assert torch.equal(back[name], state[name])
    for name in ("matrix", "kernel"):
        torch.testing.assert_close(back[name], state[name], rtol=1e-3, atol=1e-4)
    step = state[EMBEDDING].abs().amax(dim=1, keepdim=True) / 127
    assert ((back[EMBEDDING] - state[EMBEDDING]).abs() <= 0.6 * step).all()


def test_tokens_left_out_share_the_mean_row():
    state = small_state()
    kept = torch.tensor([7, 3, 7])
    weight = unpack(pack(state, kept), VOCABULARY)[EMBEDDING]
    mean = state[EMBEDDING][[3, 7]].mean(dim=0)
    others = [i for i in range(VOCABULARY) if i not in (3, 7)]
    torch.testing.assert_close(weight[others], mean.expand(18, 8), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(weight[3], state[EMBEDDING][3], rtol=0, atol=0.02)


def test_a_row_of_zeros_stays_zero():
    state = small_state()
    state[EMBEDDING][5] = 0
    assert unpack(pack(state, torch.arange(VOCABULARY)), VOCABULARY)[EMBEDDING][5].abs().sum() == 0


def test_saved_in_one_step(tmp_path):
    path = tmp_path / "packed.safetensors"
    path.write_bytes(b"old")
    packed = pack(small_state(), torch.arange(VOCABULARY))
    save(packed, path)
    read = load_file(path)
    assert all(torch.equal(read[name], tensor) for name, tensor in packed.items())
    assert [p.name for p in tmp_path.iterdir()] == ["packed.safetensors"]
