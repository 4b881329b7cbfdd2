"""Spellings of the columns of runs, by the roles that they play, and words that say another unit of the loss."""

import re
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from bayescale.runs.loss_unit import LOSS_UNITS, PERPLEXITY

SIZES = ("params", "tokens", "compute")
DERIVED_SIZES = {"compute": "6 N D", "tokens": "compute / 6 N", "params": "compute / 6 D"}  # of the other two
# A full name is a word of HEADS with words of AROUND before and after it: n_train_tokens, tokens (total). Two such
# names in one table are a question.
WITHOUT = "(?:non|no|excl|excluding|without|wo|incl|including|with|w)(?:emb|embd|embed|embeds|embedding|embeddings)"
BEFORE = "nr noof nº of de di do nombre anzahl número numero число 総"  # only before the word of HEADS
COUNTING = "n num number count counts total overall 数 数量"
HEADS = {
    "params": """
        param params parameter parameters modelsize nactive nactivated
        paramètres parámetros parametri parâmetros параметры параметров 参数 参数量 パラメータ""",
    "tokens": "tok toks token tokens trainingstokens jetons токен токены токенов 词元 トークン",
    "compute": "compute flop flops flos rechenaufwand 计算量 計算量",
    "loss": """
        loss lossl ce nll xent crossentropy neglog(?:lik|likelihood|prob) negativeloglikelihood
        (?:log|ln)(?:perplexity|ppl) (?:perplexity|ppl)(?:log|ln) min(?:val|valid|validation|eval|test)loss
        nats(?:per)?token
        validierungsverlust testverlust verlust perte pérdida perdita perda потери 损失 損失""",
}
AROUND = {
    "params": f"{COUNTING} size model 模型 full all trainable trained learnable active activated {WITHOUT}",
    "tokens": f"""
        {COUNTING} d data train training trained trainedon pretraining seen processed consumed used input cum cumulative
        during trainings entraînement deentrenamiento detreinamento detreino diaddestramento обучения 训练 学習""",
    "compute": f"""
        {COUNTING} c train training pretraining used cum cumulative budget estimated approx nominal iso target""",
    "loss": """
        val valid validation eval evaluation test dev heldout train training pretrain pretraining final best last end
        at mean avg average lm token pertoken set split nats devalidation devalidación
        validierung dentraînement deentrenamiento diaddestramento 验证 测试 训练 検証""",
}
COMPARED_MAX = 80  # characters of what is compared with them


def _pattern(role: str) -> re.Pattern[str]:
    heads, around, before = ("|".join(words.split()) for words in (HEADS[role], AROUND[role], BEFORE))
    first = around if role == "loss" else f"{around}|{before}"  # dice is no "di ce"
    return re.compile(rf"(?:{first})*(?:{heads})(?:{around}|{heads})*")


NAMES = {role: _pattern(role) for role in HEADS}
AFTER_LETTERS = {
    role: re.compile(f"(?:{'|'.join(words.split())})*") for role, words in AROUND.items()
}  # N (total), L_val
VAGUE_NAMES = {"params": "size", "compute": "budget"}  # used where no other name fits
VAGUE_MEDIAN_MIN = {"params": 1e4, "compute": 1e15}  # a budget of tokens, or of money, is smaller
LETTERS = {"params": "n", "tokens": "d", "compute": "c", "loss": "l"}
# a column with a smaller median is something else: layers, width, context length
COUNT_MEDIAN_MIN = {"params": 1e4, "tokens": 1e6, "compute": 1e9}
# words of names that may be meant although no list has them
WORDS = {
    "params": {"params", "param", "parameters"},
    "tokens": {"tokens"},
    "compute": {"compute", "flop", "flops"},
    "loss": {"loss", "nll", "entropy", "xent"},
}
UNITS_OVER = {"nat", "nats", "bit", "bits"}  # nats/token is no path
HELD_OUT = {"val", "valid", "validation", "eval", "evaluation", "test", "dev", "heldout"}
PARTS_OF_LOSSES = {"train", "training", "aux", "auxiliary", "z", "router", "balance", "balancing", "kl", "reg", "mtp"}
OTHER_MEANINGS = {"per", "batch", "se", "sem", "std", "sd", "stderr", "err", "error", "var", "max", "min"}
OTHER_MEANINGS |= {"scale", "ratio"}
PERPLEXITIES = {*LOSS_UNITS[PERPLEXITY].words.split()}
LOGARITHMIC = re.compile(r"(?<![a-z])(?:log[\s_]?(10|2)?|ln|lg)(?![a-z0-9])", re.IGNORECASE)
LOSSES_BY_BASE = {"2": "bits", "10": "hartleys", "lg": "hartleys"}  # of the logarithm of a perplexity; others are nats
DATA_UNITS = {"byte", "bytes", "char", "chars", "character", "characters", "word", "words", "kb", "mb", "gb", "tb"}
# what else the name of a column that is given as the loss may say
OTHER_QUANTITIES = {
    "a logarithm": {"log", "ln", "log2", "log10"},
    "an exponential": {"exp"},
    "a difference": {"excess", "reducible", "delta", "diff", "difference"},
    "a ratio": {"relative", "ratio", "normalized", "normalised"},
    "a sum": {"sum", "sequence", "sequences"},
    "no loss per token": DATA_UNITS,
    "a multiple": {"x10", "x100", "x1000", "10", "100", "1000", "1e2", "1e3"},
}
SECONDS = {"s", "sec", "second", "seconds"}  # tok/s is a rate, and no plural of tok
FORMULA = re.compile(r"[Δ∆∂^²√+*×]|\s[-–−]\s|[-–−]\s*(?:E\b|[0-9])")
# what other columns say of a run: spellings of their names as `plainly` has them, the likeliest first
OTHERS = {
    "step": "step globalstep trainstep trainerglobalstep trainglobalstep iteration iter iternum numupdates",  # of a row
    "steps": "steps globalsteps iterations iters updates trainsteps trainingsteps numsteps",  # of a row, or in all
    "planned steps": "maxsteps totalsteps numtrainsteps maxiters",
    "epochs": "epochs nepochs numepochs trainepochs numtrainepochs trainingepochs numtrainingepochs epoch passes",
    "run": """
        run runname runid runpath experiment experimentname exp expname name displayname job jobid jobname id""",
    "model": "model modelname modelid checkpoint file label",
    "index": "index column1 unnamed0",
    "seed": "seed seeds randomseed replicate repeat trial",
    "state": "state status runstate runstatus",
    "moment": "timestamp time walltime datetime relativetime",  # of a row
    "date": "created createdat updated updatedat date runtime starttime endtime",  # of a run
    "learning rate": "lr learningrate rate",
    "experts": "experts nexperts numexperts numberofexperts numlocalexperts moenumexperts",
    "layers": "nlayers numlayers nlayer layers numhiddenlayers depth nblocks numblocks",
    "width": "dmodel hiddensize nembd nembed width modeldim hiddendim embeddim dim embeddingdim",
    "samples": """
        samples consumedsamples consumedtrainsamples samplesseen trainsamples sequences numsequences sequencesseen
        examples numexamples examplesseen""",
    "batch": "globalbatchsize totalbatchsize effectivebatchsize batchsizesequences",
    "vague batch": "batchsize trainbatchsize bsz",  # of all devices, or of one
    "device batch": """
        perdevicetrainbatchsize perdevicebatchsize microbatchsize trainmicrobatchsizepergpu batchsizeperdevice
        batchsizepergpu devicebatchsize""",
    "accumulation": "gradientaccumulationsteps gradaccumsteps gradaccumulationsteps gradaccum accumulategradbatches",
    "devices": "worldsize numgpus ngpus numdevices ndevices dataparallelsize",
    "length": """
        seqlen sequencelength seqlength contextlength blocksize nctx maxseqlen maxseqlength contextsize
        encoderseqlength tokenspersample tokensperexample""",
    "tokens a step": """
        tokensperstep tokensperbatch batchtokens batchsizetokens globalbatchsizetokens tokensperiteration
        tokensperiter""",
    "tokens a parameter": """
        tokensperparam tokensperparameter tokensparam tokensparams tokensparameter tokensparameters tokenparamratio
        tokensparamratio tokensparamsratio tokentoparamratio tokensperparamratio tpp dn dnratio tokensn
        tokenstoparams""",
    "unique tokens": "uniquetokens nuniquetokens numuniquetokens uniquetokencount",
    "tokens of the data": "datasettokens datasetsizetokens trainingsettokens",
}
NO_SETTINGS = ("run", "seed", "state", "moment", "date")  # what is said of a run besides, and was not set
SPELLINGS = {kind: tuple(words.split()) for kind, words in OTHERS.items()}
STANDARD_ERRORS = ("se", "sem", "stderr", "std_err", "std_error", "standard_error")  # also with no loss in the name
SE_NAMES = (*STANDARD_ERRORS, "std", "sd", "err", "error", "uncertainty")


RENAMED_COLUMNS = {"run": "run_name"}  # in a Dataset of runs: run is the dimension there


def plainly(name: Any) -> str:
    """A name for comparison: letters and digits in lower case (``eval/loss`` and ``evalLoss`` are equal)."""
    return "".join(character for character in str(name).casefold() if character.isalnum() or character == "√")


def is_name(role: str, name: Any) -> bool:
    """Whether a name is a full name of a role; ratios such as tokens/params are none."""
    plain = plainly(name)
    return len(plain) <= COMPARED_MAX and NAMES[role].fullmatch(plain) is not None and not _is_ratio(str(name))


def _is_ratio(name: str) -> bool:
    """Whether a name with a slash is a ratio, such as tokens/params, tok/s or 1/loss, and no path."""
    *_, over, under = ("", *map(plainly, name.split("/")))
    if "/" in name and under in SECONDS:
        return True
    ours = {role for role in NAMES if is_name(role, under) or under == LETTERS[role]} if "/" in name else set()
    others = {role for role in NAMES if is_name(role, over) or over == LETTERS[role]} - ours if ours else set()
    return "/" in name and (over.isdigit() or bool(ours and others))


def is_letter(role: str, name: Any) -> bool:
    """Whether a name is the letter of a role, alone or before words of AROUND: N, L_val, N (non-embedding)."""
    letter, *rest = re.split(r"[^\w/]+|_", str(name).strip().casefold())  # D/N is a ratio
    if role == "loss" and rest and {*rest} <= {*LETTERS.values(), ""}:  # L(N, D)
        return letter == "l"
    return letter == LETTERS[role] and AFTER_LETTERS[role].fullmatch("".join(rest)[:COMPARED_MAX]) is not None


def last_part(name: Any, settings: Collection[str] = ()) -> str:
    """The last part of a path such as ``model.n_params``; of a ratio, and of a unit such as nats/token, nothing.

    ``settings`` are those of :func:`settings_of`.
    """
    *before, last = re.split(r"[./:|\\]", str(name))
    no_path = _is_ratio(str(name)) and str(name).rpartition("/")[0] not in settings
    over = re.split(r"[\s(\[（]", before[-1])[-1] if before else ""  # L [nats/token]
    return "" if no_path or plainly(over) in UNITS_OVER else last


def is_called(name: Any, *kinds: str) -> bool:
    """Whether a name, or the last part of a path, is a spelling of one of these kinds of OTHERS."""
    plain = {plainly(name), plainly(last_part(name))}
    return any(not plain.isdisjoint(SPELLINGS[kind]) for kind in kinds)


def settings_of(names: Iterable[Any]) -> set[str]:
    """What heads settings in these names, as in ``parameters/lr``: then ``parameters/tokens`` is no ratio."""
    pairs = [(first, last) for first, _, last in (str(name).rpartition("/") for name in names)]
    return {first for first, last in pairs if is_name("params", first) and not any(is_name(one, last) for one in NAMES)}


def other_loss(name: Any) -> str | None:
    """The unit of the loss, other than nats, that the name of a column implies, or None."""
    words = words_of(name)
    if words & PERPLEXITIES and (base := LOGARITHMIC.search(str(name))):
        return LOSSES_BY_BASE.get(base[1] or base[0].casefold()[:2])
    kind = next((kind for kind, unit in LOSS_UNITS.items() if words & {*unit.words.split()}), None)
    if kind is None and {"bits", "per"} <= words:
        return "bits_per_byte" if "byte" in words else "bits"
    return kind


def other_quantity(name: Any) -> str | None:
    """What else than a loss the name of a column may say, or None."""
    words = words_of(name)
    said = next((what for what, those in OTHER_QUANTITIES.items() if words & those), None)
    return said or ("a difference or another formula" if FORMULA.search(str(name)) else None)


def words_of(name: Any) -> set[str]:
    """The words of a name, in lower case."""
    apart = re.sub(r"([a-z])([A-Z])", r"\1 \2", str(name))
    return set(re.split(r"[\W_]+", apart.casefold()))


def related(role: str, name: Any) -> bool:
    """Whether a name has a word of a role, and none of another meaning."""
    words = words_of(name)
    return bool(words & WORDS[role]) and not words & OTHER_MEANINGS


def related_columns(role: str, names: Sequence[Any]) -> list[Any]:
    """Columns whose names are related to a role."""
    return [name for name in names if role in WORDS and related(role, name)]


def roles_named(names: Sequence[Any]) -> set[str]:
    """The roles that columns of these names may have."""
    known = (is_name, is_letter, related)
    found = {role for role in WORDS for name in names if any(one(role, name) for one in known)}
    return found | ({"loss"} if any(map(other_loss, names)) else set())
