"""Training a tokenizer: WordPiece, byte-level BPE, Unigram, characters.

The same text gives the same vocabulary on every run. The library's WordPiece alone would not: it numbers
pieces in the order of a hash table, and ties between merges fall by number.

Layouts (ids in order):
  wordpiece  [PAD] [UNK] [CLS] [SEP] [MASK], characters, ##characters, merges
  bpe        <|endoftext|> <pad>, 256 bytes, merges
  unigram    <pad> </s> <unk> [CLS] [SEP] [MASK], pieces by score, <extra_id_99> ... <extra_id_0> (T5-4)
  char       <|endoftext|> <pad> <unk>, characters by code point
"""

import io
from collections import Counter
from collections.abc import Callable, Iterable

import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, processors, trainers

from ptk.data.frames import bert_template, eos_template
from ptk.data.tokenizer import Tokenizer, from_library
from ptk.data.word_counts import alphabet, characters, count_words, left_out, repeated
from ptk.errors import DataError, RecipeError
from ptk.recipe import TokenizerSpec

BERT = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
GPT = {"bos": "<|endoftext|>", "eos": "<|endoftext|>", "pad": "<pad>"}
T5 = {"pad": "<pad>", "eos": "</s>", "unk": "<unk>", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
SENTINELS = [f"<extra_id_{n}>" for n in reversed(range(100))]  # <extra_id_0> is the last id (T5-4)

MAX_WORD = 200  # letters; a longer word is [UNK] (TOK-3)
ALPHABET_SHARE = 0.5  # of the vocabulary that single characters may take
COVERAGE = 0.99995  # of the characters seen, by Unigram (ALB-7), and every Hangul syllable besides
MIN_COUNT = 2  # a merge seen once is a memory, not a piece


def train(spec: TokenizerSpec, texts: Iterable[str]) -> Tokenizer:
    """Train ``spec.kind`` on one pass over ``texts``; the result's ``notes`` say what fell short.

    The same texts give the same bytes. Raises DataError without any text and RecipeError when
    ``vocab_size`` has no room for the special tokens and an alphabet.
    """
    trainers_by_kind: dict[str, Callable[[TokenizerSpec, Iterable[str]], Tokenizer]] = {
        "wordpiece": _wordpiece,
        "bpe": _bpe,
        "unigram": _unigram,
        "char": _char,
    }
    return trainers_by_kind[spec.kind](spec, texts)


def bert_normalizer(
    *, lowercase: bool, strip_accents: bool, space_cjk: bool = True, compose: bool = True
) -> normalizers.Normalizer:
    """BERT's cleaning in BERT's order: lower, then decompose and drop category Mn (TOK-1).

    ``compose`` puts Hangul together again, which decomposition takes apart: jamo are letters, not Mn.
    Where the library differs from BERT: private-use characters are dropped, the ideographs U+2B820..2B91F
    get no blanks around them, a capital sigma becomes σ at the end of a word too, and punctuation
    younger than Unicode 9 is not split off.
    """
    steps = [
        normalizers.BertNormalizer(
            clean_text=True, handle_chinese_chars=space_cjk, strip_accents=False, lowercase=False
        )
    ]
    return normalizers.Sequence(steps + _letter_case(lowercase, strip_accents, compose))


def _letter_case(lowercase: bool, strip_accents: bool, compose: bool = True) -> list[normalizers.Normalizer]:
    steps: list[normalizers.Normalizer] = [normalizers.Lowercase()] if lowercase else []
    if strip_accents:  # the plain StripAccents drops Mc and Me as well
        steps.append(normalizers.BertNormalizer(False, False, strip_accents=True, lowercase=False))
    return [*steps, normalizers.NFC()] if compose else steps


def _wordpiece(spec: TokenizerSpec, texts: Iterable[str]) -> Tokenizer:
    normalizer = bert_normalizer(lowercase=spec.lowercase, strip_accents=spec.lowercase)
    splitter = pre_tokenizers.BertPreTokenizer()
    raw, notes = count_words(texts)
    words: Counter[str] = Counter()
    for word, count in raw.items():
        for piece, _ in splitter.pre_tokenize_str(normalizer.normalize_str(word)):
            if len(piece) <= MAX_WORD:
                words[piece] += count
    chars, inner, rest = alphabet(words, int(spec.vocab_size * ALPHABET_SHARE) - len(BERT))
    notes += rest
    start = [*BERT.values(), *chars, *(f"##{char}" for char in inner)]
    counter = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
    counter.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    # Pieces numbered in advance, as special tokens of the trainer, make its ties fall the same way each time.
    trainer = trainers.WordPieceTrainer(
        vocab_size=spec.vocab_size,
        min_frequency=MIN_COUNT,
        special_tokens=start,
        limit_alphabet=len(chars),
        show_progress=False,
    )
    counter.train_from_iterator(repeated(words, set(chars)), trainer)
    vocabulary = counter.get_vocab()
    library = tokenizers.Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=MAX_WORD))
    library.normalizer = normalizer
    library.pre_tokenizer = splitter
    library.decoder = decoders.WordPiece()
    library.post_processor = bert_template(("[CLS]", 2), ("[SEP]", 3))
    library.add_special_tokens(list(BERT.values()))
    notes += _shortfall(spec, len(vocabulary))
    return from_library(library, BERT, segments=True, notes=notes)


def _bpe(spec: TokenizerSpec, texts: Iterable[str]) -> Tokenizer:
    special = list(dict.fromkeys(GPT.values()))
    least = len(special) + 256
    if spec.vocab_size < least:
        raise RecipeError(f"tokenizer.vocab_size {spec.vocab_size} is less than the bytes; use at least {least}")
    library = tokenizers.Tokenizer(models.BPE())
    if spec.lowercase:
        library.normalizer = normalizers.Sequence(_letter_case(True, True))
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    library.decoder = decoders.ByteLevel()
    library.post_processor = processors.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=spec.vocab_size,
        min_frequency=MIN_COUNT,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    library.train_from_iterator(texts, trainer)
    size = library.get_vocab_size()
    if size == least:
        raise DataError("too little text to train a tokenizer on: no pair of bytes occurs twice")
    return from_library(library, GPT, notes=_shortfall(spec, size))


def _unigram(spec: TokenizerSpec, texts: Iterable[str]) -> Tokenizer:
    normalizer = normalizers.Sequence(
        [
            normalizers.Nmt(),  # drops control characters, makes newline and ▁ itself blanks
            normalizers.Replace("\0", ""),
            *_letter_case(spec.lowercase, spec.lowercase),
            normalizers.Replace(Regex(r"\s+"), " "),
            normalizers.Strip(),
        ]
    )
    raw, notes = count_words(texts)
    words: Counter[str] = Counter()
    for word, count in raw.items():
        for part in normalizer.normalize_str(word).split():
            words[part] += count
    pieces, rest = _sentencepiece(words, spec.vocab_size - len(SENTINELS))
    library = tokenizers.Tokenizer(models.Unigram(pieces, unk_id=2, byte_fallback=False))
    library.normalizer = normalizer
    library.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    library.decoder = decoders.Metaspace(prepend_scheme="always")
    library.post_processor = eos_template("</s>", 1)
    library.add_special_tokens([*T5.values(), *SENTINELS])
    notes += rest + _shortfall(spec, library.get_vocab_size())
    return from_library(library, T5, notes=notes)


def _sentencepiece(words: Counter[str], size: int) -> tuple[list[tuple[str, float]], tuple[str, ...]]:
    """Train on the word counts; pieces with their scores, T5's specials first.

    ALBERT's eight user symbols are left out: SentencePiece learns them as pieces where the text has them.
    """
    import sentencepiece

    seen = characters(words)
    # Beside much English, coverage alone would drop syllables that Korean text needs.
    hangul = sorted(char for char in seen if "가" <= char <= "힣")
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=(f"{word}\t{count}" for word, count in words.items()),
            input_format="tsv",
            model_writer=model,
            model_type="unigram",
            vocab_size=size,
            hard_vocab_limit=False,
            character_coverage=COVERAGE,
            required_chars="".join(hangul) if len(hangul) < size * ALPHABET_SHARE else "",
            normalization_rule_name="identity",  # the words are normalised already
            pad_id=0,
            eos_id=1,
            unk_id=2,
            bos_id=-1,
            control_symbols=list(T5.values())[3:],
            max_sentence_length=1 << 24,
            num_threads=16,  # a part of the result: sums are formed per thread
            minloglevel=3,
        )
    except (RuntimeError, OSError) as error:
        reason = str(error).splitlines()[-1]
        total = size + len(SENTINELS)
        raise RecipeError(f"tokenizer.vocab_size {total} cannot be trained as unigram: {reason}") from error
    processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    pieces = [(processor.id_to_piece(id_), processor.get_score(id_)) for id_ in range(processor.vocab_size())]
    return pieces, left_out(
        seen, {piece for piece, _ in pieces if len(piece) == 1}, f"become <unk>: beyond {COVERAGE:.3%}"
    )


def _char(spec: TokenizerSpec, texts: Iterable[str]) -> Tokenizer:
    special = [*dict.fromkeys(GPT.values()), "<unk>"]
    steps = _letter_case(spec.lowercase, spec.lowercase)
    normalizer = normalizers.Sequence(steps)
    seen: Counter[str] = Counter()
    for text in texts:
        seen.update(normalizer.normalize_str(text))
    if not seen:
        raise DataError("no text to train a tokenizer on; check corpus.path")
    room = spec.vocab_size - len(special)
    if room < 1:
        raise RecipeError(f"tokenizer.vocab_size {spec.vocab_size} leaves no room for characters; use 100 or more")
    kept = sorted(sorted(seen, key=lambda char: (-seen[char], char))[:room])
    vocabulary = {token: id_ for id_, token in enumerate([*special, *kept])}
    library = tokenizers.Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>"))  # nothing to merge
    library.normalizer = normalizer
    library.decoder = decoders.Fuse()
    library.add_special_tokens([AddedToken(token, normalized=False) for token in special])
    notes = left_out(seen, set(kept), "become <unk>; a larger tokenizer.vocab_size keeps them")
    return from_library(library, {**GPT, "unk": "<unk>"}, notes=notes)


def _shortfall(spec: TokenizerSpec, size: int) -> tuple[str, ...]:
    if size >= spec.vocab_size:
        return ()
    return (
        f"the text gave {size} of {spec.vocab_size} entries (tokenizer.vocab_size): "
        f"it has no more pieces that occur {MIN_COUNT} times",
    )
