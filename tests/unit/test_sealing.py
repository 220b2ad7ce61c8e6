"""Sealing: opens with its key alone, and tells when it is another."""

from hypothesis import given
from hypothesis import strategies as st

from gpuforge_controlplane.services.sealing import open_sealed, open_tagged, seal, seal_tagged

keys = st.binary(min_size=1, max_size=64)
nonces = st.binary(min_size=32, max_size=32)


@given(keys, nonces, st.binary(max_size=200))
def test_what_is_sealed_comes_out_again(key: bytes, nonce: bytes, secret: bytes) -> None:
    assert open_sealed(key, nonce, seal(key, nonce, secret)) == secret
    assert open_tagged(key, nonce, seal_tagged(key, nonce, secret)) == secret


@given(keys, nonces, st.binary(min_size=8, max_size=200), st.data())
def test_a_changed_byte_or_another_key_is_noticed(
    key: bytes, nonce: bytes, secret: bytes, data: st.DataObject
) -> None:
    sealed = seal_tagged(key, nonce, secret)
    place = data.draw(st.integers(0, len(sealed) - 1))
    changed = sealed[:place] + bytes([sealed[place] ^ 1]) + sealed[place + 1 :]
    assert open_tagged(key, nonce, changed) is None
    assert open_tagged(key + b"x", nonce, sealed) is None
    assert secret not in sealed


def test_each_secret_has_a_pad_of_its_own_as_long_as_itself() -> None:
    long = bytes(200)
    first, second = seal(b"key", b"1" * 32, long), seal(b"key", b"2" * 32, long)
    assert first != second
    blocks = {first[at : at + 32] for at in range(0, 192, 32)}
    assert len(blocks) == 6
