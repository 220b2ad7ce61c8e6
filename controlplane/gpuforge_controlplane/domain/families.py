"""The family of a GPU model: the word that rates, requests and placement agree on."""

import re

# One line a generation, newest first. A space separates tokens that must follow each other.
_KNOWN = (
    # data centre
    "GB300, B300, GB200, B200, B100, GB10",
    "GH200, H200, H100, H800, H20",
    "L40S, L40, L20, L4, L2",
    "A100X, A100, A800, A40, A30X, A30, A16, A10G, A10M, A10, A2",
    "T4G, T4, V100S, V100, P100, P40, P6, P4, M60, M40, M10, M4, K80, K40",
    # workstation
    "RTX PRO 6000, RTX PRO 5000, RTX PRO 4500, RTX PRO 4000, RTX PRO 2000",
    "RTX 6000 Ada, RTX 5880 Ada, RTX 5000 Ada, RTX 4500 Ada, RTX 4000 Ada, RTX 4000 SFF Ada, RTX 2000 Ada",
    "A6000, A5500, A5000, A4500, A4000, A2000",
    "RTX 8000, RTX 6000, RTX 5000, RTX 4000, GV100, GP100",
    # what laboratories run as well
    "RTX 5090 D, RTX 5090, RTX 5080, RTX 5070 Ti, RTX 5070, RTX 5060 Ti, RTX 5060",
    "RTX 4090 D, RTX 4090, RTX 4080, RTX 4070 Ti, RTX 4070, RTX 4060 Ti, RTX 4060",
    "RTX 3090 Ti, RTX 3090, RTX 3080 Ti, RTX 3080, RTX 3070 Ti, RTX 3070, RTX 3060 Ti, RTX 3060",
    "RTX 2080 Ti, RTX 2080, RTX 2070, RTX 2060, GTX 1080 Ti, GTX 1080",
    "TITAN RTX, TITAN V, TITAN Xp",
)

KNOWN_FAMILIES: tuple[str, ...] = tuple(name for line in _KNOWN for name in line.split(", "))

# Longest first, so that `RTX 6000 Ada` is found before `RTX 6000`.
_BY_LENGTH = tuple(
    sorted(
        ((tuple(name.upper().split()), name) for name in KNOWN_FAMILIES),
        key=lambda entry: (-len(entry[0]), -len(entry[1]), entry[1]),
    )
)
_VENDOR = frozenset({"NVIDIA", "TESLA", "QUADRO", "GEFORCE", "CORPORATION", "(R)", "(TM)"})
_MEMORY = re.compile(r"\b\d+\s*(?:GIB|GB|G)\b|\bHBM\d\w*|\bGDDR\d\w*", re.IGNORECASE)
_SEPARATOR = re.compile(r"[\s/_,-]+")


def family_of(model: str) -> str | None:
    """Family of a model string as NVML or a user writes it, or None for one we do not know.

    Whole tokens are compared: `GH200` holds no token `H200`, `RTX A6000` holds `A6000`.
    """
    tokens = tuple(token.upper() for token in _tokens(model))
    for words, name in _BY_LENGTH:
        if _holds(tokens, words):
            return name
    return None


def pool_family(model: str) -> str:
    """Family under which a GPU is pooled and metered: the known one, else its own bare name.

    A card newer than this list still schedules with its like; it is merely `unrated`.
    """
    return family_of(model) or " ".join(_tokens(model)) or "unknown"


def _tokens(model: str) -> list[str]:
    words = _SEPARATOR.split(_MEMORY.sub(" ", model))
    return [word for word in words if word and word.upper() not in _VENDOR]


def _holds(tokens: tuple[str, ...], words: tuple[str, ...]) -> bool:
    width = len(words)
    return any(tokens[at : at + width] == words for at in range(len(tokens) - width + 1))
