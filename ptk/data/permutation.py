"""The order of rows: a random permutation that is never stored.

``order(n, seed)[i]`` is a function, so that any position of any epoch is found at once, in any process, without an
array of n numbers (a run of a billion rows resumes as fast as one of a thousand). A Feistel network permutes the
smallest even power of two that holds n; numbers that fall outside are sent through again until they are inside.
"""

import numpy as np

ROUNDS = 6


def keys(*seed: int) -> np.ndarray:
    """Round keys [ROUNDS] from the numbers that the order depends on."""
    return np.random.SeedSequence(seed).generate_state(ROUNDS, np.uint64)


def permute(index: np.ndarray, n: int, round_keys: np.ndarray) -> np.ndarray:
    """Where each ``index`` [K] in [0, n) goes; a bijection of [0, n)."""
    half = np.uint64(max(1, (max(n - 1, 1).bit_length() + 1) // 2))
    result = feistel(index.astype(np.uint64), half, round_keys)
    outside = result >= n
    while outside.any():
        result[outside] = feistel(result[outside], half, round_keys)
        outside = result >= n
    return result.astype(np.int64)


def feistel(value: np.ndarray, half: np.uint64, round_keys: np.ndarray) -> np.ndarray:
    mask = (np.uint64(1) << half) - np.uint64(1)
    left, right = value >> half, value & mask
    for key in round_keys:
        mixed = (right + key) * np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
        left, right = right, left ^ ((mixed >> np.uint64(32)) & mask)
    return (left << half) | right
