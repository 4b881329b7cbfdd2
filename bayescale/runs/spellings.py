"""Spellings of the columns of runs, by the roles that they play, and words that say another unit of the loss."""

import re
from typing import Any

SIZES = ("params", "tokens", "compute")
DERIVED_SIZES = {"compute": "6 N D", "tokens": "compute / 6 N", "params": "compute / 6 D"}  # of the other two
# full names, compared by `plainly`; two of them in one table are a question
SPELLINGS = {
    "params": """
        params param n_param num_param
        parameters parameter_count param_count params_count num_params n_params num_parameters n_parameters
        number_of_params number_of_parameters model_size model_params model_parameters model_n_params model_num_params
        total_params total_parameters n_params_total num_params_total params_total n_total_params num_total_params
        trainable_params trainable_parameters n_trainable_params num_trainable_params n_trainable_parameters
        non_embedding_params non_embedding_parameters params_non_embedding n_params_non_embedding
        num_params_non_embedding n_non_embedding_params num_non_embedding_params num_non_embedding_parameters
        non_emb_params n_params_non_emb params_no_embedding active_params n_active_params num_active_params
        active_parameters model_parameter_count n_model_params num_model_params all_params all_parameters
        activated_params activated_parameters n_activated_params num_activated_params params_active params_activated
        active_param_count n_active n_activated
        parameter paramètres parámetros parametri parâmetros параметры 参数 参数量 参数数量 パラメータ数""",
    "tokens": """
        tokens tok n_tok num_tok train_tok
        n_tokens num_tokens token_count tokens_count number_of_tokens total_tokens tokens_total n_tokens_total
        n_total_tokens num_total_tokens training_tokens train_tokens n_train_tokens num_train_tokens n_training_tokens
        num_training_tokens tokens_trained trained_tokens tokens_seen seen_tokens n_tokens_seen num_tokens_seen
        total_tokens_seen train_tokens_seen training_tokens_seen tokens_processed consumed_tokens tokens_consumed
        consumed_train_tokens d_tokens total_train_tokens total_training_tokens total_trained_tokens
        num_input_tokens_seen input_tokens_seen n_input_tokens total_input_tokens
        trainingstokens jetons токены token数 训练token数 词元数 训练词元数 トークン数 学習トークン数""",
    "compute": """
        compute flops flop n_flops num_flops total_flops total_flop flops_total flop_total training_flop training_flops
        train_flop train_flops total_flos train_total_flos
        total_compute training_compute train_compute compute_flops compute_flop
        total_training_flops total_train_flops rechenaufwand 计算量 計算量""",
    "loss": """
        loss val_loss valid_loss validation_loss eval_loss evaluation_loss test_loss dev_loss held_out_loss final_loss
        loss_mean val_loss_mean eval_loss_mean mean_val_loss mean_eval_loss
        final_val_loss final_eval_loss final_test_loss val_loss_final best_val_loss min_val_loss train_loss
        training_loss final_train_loss train_loss_final avg_loss mean_loss lm_loss cross_entropy cross_entropy_loss
        ce ce_loss val_ce eval_ce test_ce val_ce_loss val_cross_entropy eval_cross_entropy test_cross_entropy
        val_cross_entropy_loss nll nll_loss val_nll eval_nll test_nll xent loss_nats neg_log_likelihood
        negative_log_likelihood val_lm_loss eval_lm_loss log_perplexity log_ppl val_log_perplexity val_log_ppl
        eval_log_perplexity eval_log_ppl test_log_perplexity test_log_ppl
        verlust validierungsverlust testverlust perte perte_de_validation pérdida pérdida_de_validación perdita perda
        потери 损失 验证损失 测试损失 損失 検証損失""",
}
VAGUE_NAMES = {"params": "size"}  # used where no other name fits
LETTERS = {"params": "n", "tokens": "d", "compute": "c", "loss": "l"}
# a column with a smaller median is something else: layers, width, context length
LETTER_MEDIAN_MIN = {"params": 1e4, "tokens": 1e6, "compute": 1e9}
# words of names that may be meant although no list has them
WORDS = {
    "params": {"params", "param", "parameters"},
    "tokens": {"tokens"},
    "compute": {"compute", "flop", "flops"},
    "loss": {"loss", "nll", "entropy", "xent"},
}
HELD_OUT = {"val", "valid", "validation", "eval", "evaluation", "test", "dev", "heldout"}
PARTS_OF_LOSSES = {"train", "training", "aux", "auxiliary", "z", "router", "balance", "balancing", "kl", "reg", "mtp"}
OTHER_MEANINGS = {"per", "batch", "se", "sem", "std", "sd", "stderr", "err", "error", "var", "max", "min"}
OTHER_MEANINGS |= {"scale", "ratio"}
# losses in other units: words of their names, the unit (--unit loss=...), a description
OTHER_LOSSES = {
    "perplexity": ({"ppl", "perplexity", "perplexities"}, "perplexity", "a perplexity"),
    "bits": ({"bpc"}, "bits", "a loss in bits"),
    "bits_per_byte": ({"bpb"}, "bits_per_byte", "a loss in bits per byte"),
}
# what else the name of a column that is given as the loss may say
OTHER_QUANTITIES = {
    "a logarithm": {"log", "ln", "log2", "log10"},
    "an exponential": {"exp"},
    "a difference": {"excess", "reducible", "delta", "diff", "difference"},
    "a ratio": {"relative", "ratio", "normalized", "normalised"},
    "a sum": {"sum", "sequence", "sequences"},
    "no loss per token": {"byte", "bytes", "char", "chars", "character", "word", "words"},
    "a multiple": {"x10", "x100", "x1000", "10", "100", "1000", "1e2", "1e3"},
}
REPEATED_NAMES = {
    "uniquetokens",
    "nuniquetokens",
    "numuniquetokens",
    "uniquetokencount",
    "epochs",
    "nepochs",
    "numepochs",
}
EXPERTS_NAMES = {"experts", "nexperts", "numexperts", "numberofexperts", "numlocalexperts", "moenumexperts"}
SE_NAMES = ("se", "sem", "stderr", "std_err", "std_error", "standard_error", "std", "sd", "err", "error", "uncertainty")


RENAMED_COLUMNS = {"run": "run_name"}  # in a Dataset of runs: run is the dimension there


def plainly(name: Any) -> str:
    """A name for comparison: letters and digits in lower case (``eval/loss`` and ``evalLoss`` are equal)."""
    return "".join(character for character in str(name).casefold() if character.isalnum() or character == "√")


def last_part(name: Any) -> str:
    """The last part of a path such as ``model.n_params``; of a ratio such as tokens/params or 1/loss nothing."""
    parts = re.split(r"[./:|\\]", str(name))
    if "/" not in str(name):
        return parts[-1]
    *_, over, under = ("", *map(plainly, str(name).split("/")))
    ours = {role for role, names in NAMES.items() if under in names}
    others = {role for role, names in NAMES.items() if over in {*names, LETTERS[role]} and role not in ours}
    return "" if over.isdigit() or (ours and others) else parts[-1]


NAMES = {role: frozenset(map(plainly, names.split())) for role, names in SPELLINGS.items()}


def other_loss(name: Any) -> str | None:
    """The key of OTHER_LOSSES that the name of a column implies, or None."""
    words = words_of(name)
    if words & {"log", "ln", "log10"}:  # of a perplexity: a loss
        return None
    if "log2" in words and words & OTHER_LOSSES["perplexity"][0]:
        return "bits"
    kind = next((kind for kind, (those, _, _) in OTHER_LOSSES.items() if words & those), None)
    if kind is None and {"bits", "per"} <= words:
        return "bits_per_byte" if "byte" in words else "bits"
    return kind


def words_of(name: Any) -> set[str]:
    """The words of a name, in lower case."""
    apart = re.sub(r"([a-z])([A-Z])", r"\1 \2", str(name))
    return set(re.split(r"[\W_]+", apart.casefold()))
