"""Where a tokenizer is found, and how it is read: tokenizer.json, BERT's vocab.txt, SentencePiece's .model.

A reader returns the `tokenizers` object and notes for the user; nothing is unpickled or executed.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import decoders, models, pre_tokenizers

from ptk.data import sentencepiece_model
from ptk.data.frames import bert_template
from ptk.data.tokenizer_training import MAX_WORD, bert_normalizer
from ptk.errors import DataError

Read = tuple[tokenizers.Tokenizer, tuple[str, ...]]

# Names by which a role is recognised in a tokenizer that comes without tokenizer_config.json.
ROLES = {
    "pad": ("[PAD]", "<pad>"),
    "unk": ("[UNK]", "<unk>"),
    "cls": ("[CLS]",),
    "sep": ("[SEP]",),
    "mask": ("[MASK]", "<mask>"),
    "bos": ("<s>", "<|endoftext|>"),
    "eos": ("</s>", "<|endoftext|>"),
}
LOADABLE = "tokenizer.json, vocab.txt or a SentencePiece .model"


def find(path: str) -> Path:
    """The one file that defines the tokenizer: ``path`` itself, in that folder, or fetched from the hub."""
    place = Path(path).expanduser()
    if place.is_dir():
        return _in_folder(place)
    if place.is_file():
        return place
    if place.suffix in (".model", ".txt", ".json") or not re.fullmatch(r"[\w-][\w.-]*(/[\w.-]+)?", path):
        raise DataError(f"{path}: no such file; tokenizer.path takes a folder, {LOADABLE}, or a hub id")
    return _in_folder(_fetched(path))


def _in_folder(folder: Path) -> Path:
    for name in ("tokenizer.json", "vocab.txt"):
        if (folder / name).is_file():
            return folder / name
    models = sorted(folder.glob("*.model"))
    if len(models) != 1:
        found = f"{len(models)} .model files" if models else "none of them"
        raise DataError(f"{folder}: a tokenizer's folder holds {LOADABLE}; found {found}")
    return models[0]


def _fetched(name: str) -> Path:
    """The tokenizer files of a hub repository, as they lie there.

    AutoTokenizer would rebuild the normaliser of a BertTokenizer, at the cost of Hangul.
    """
    from huggingface_hub import snapshot_download

    patterns = ["tokenizer*.json", "special_tokens_map.json", "vocab.txt", "*.model"]
    try:
        return Path(snapshot_download(name, allow_patterns=patterns))
    except Exception as error:  # a dozen classes of the hub's client and of its transport
        cause = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise DataError(
            f"{name}: neither a local path nor a tokenizer that could be fetched ({cause}); "
            "check the name, or download it once and give its folder"
        ) from error


def read(path: Path) -> Read:
    if path.suffix == ".json":
        return read_json(path), ()
    if path.suffix == ".model":
        return sentencepiece_model.read(path), ()
    if path.suffix == ".txt":
        return read_vocab(path)
    raise DataError(f"{path}: not a tokenizer; expected {LOADABLE}")


def roles(library: tokenizers.Tokenizer, config: Mapping[str, Any]) -> dict[str, str]:
    """Role -> special token: as the configuration names them, else by their usual names."""
    given = {role: config.get(f"{role}_token") for role in ROLES}
    named = {role: token["content"] if isinstance(token, dict) else token for role, token in given.items()}
    if not any(named.values()):
        known = library.get_vocab(with_added_tokens=True)
        named = {role: next((name for name in usual if name in known), None) for role, usual in ROLES.items()}
    return {role: name for role, name in named.items() if name and library.token_to_id(name) is not None}


def read_config(folder: Path) -> dict[str, Any]:
    """tokenizer_config.json over special_tokens_map.json; empty where neither is there."""
    config: dict[str, Any] = {}
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        if (folder / name).is_file():
            try:
                config |= json.loads((folder / name).read_text(encoding="utf-8"))
            except (ValueError, TypeError) as error:
                raise DataError(f"{folder / name}: not a JSON object ({error}); fetch it again") from error
    return config


def read_json(path: Path) -> tokenizers.Tokenizer:
    try:
        return tokenizers.Tokenizer.from_str(path.read_text(encoding="utf-8"))
    except Exception as error:  # the library raises plain Exception
        raise DataError(f"{path}: not a tokenizer of the tokenizers library ({error})") from error


def read_vocab(path: Path) -> Read:
    """BERT's vocabulary: a token a line, its id the line's number (TOK-4)."""
    try:
        tokens = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: byte {error.start} is not UTF-8; a vocabulary is UTF-8 text") from error
    vocabulary = {token.removesuffix("\r"): id_ for id_, token in enumerate(tokens)}
    if "[UNK]" not in vocabulary:
        raise DataError(f"{path}: no line [UNK]; a WordPiece vocabulary has one token a line and needs [UNK]")
    config = read_config(path.parent)
    lowercase, notes = config.get("do_lower_case"), ()
    if lowercase is None:
        lowercase = not any(token != token.lower() for token in vocabulary if not re.match(r"\[.+\]$", token))
        guess = "uncased, as no entry has capitals" if lowercase else "cased, as entries have capitals"
        notes = (f"{path}: taken as {guess}; do_lower_case in tokenizer_config.json says otherwise",)
    accents = config.get("strip_accents")
    # A multilingual uncased BERT was trained on Hangul taken apart; its vocabulary shows it.
    jamo = any("\u1100" <= char <= "\u11ff" for token in vocabulary for char in token)
    library = tokenizers.Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=MAX_WORD))
    library.normalizer = bert_normalizer(
        lowercase=lowercase,
        strip_accents=lowercase if accents is None else accents,
        space_cjk=config.get("tokenize_chinese_chars", True) is not False,
        compose=not jamo,
    )
    library.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    library.decoder = decoders.WordPiece()
    special = [names[0] for names in ROLES.values() if names[0] in vocabulary]
    library.add_special_tokens(special)
    if "[CLS]" in vocabulary and "[SEP]" in vocabulary:
        library.post_processor = bert_template(("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"]))
    return library, notes
