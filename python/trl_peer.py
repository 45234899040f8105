"""TRL's DFT loss on given hidden states: `SFTTrainer.compute_loss` of a real trainer whose backbone is replaced."""

import contextlib
import io
import os
import tempfile
from types import SimpleNamespace

os.environ.setdefault("HF_HUB_OFFLINE", "1")
import torch
import trl
from datasets import Dataset
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from trl import SFTConfig, SFTTrainer

import tokenizer

VERSION = trl.__version__


def chat_tokenizer() -> PreTrainedTokenizerFast:
    """The smallest tokenizer that `SFTTrainer` accepts; nothing is tokenised with it."""
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer.train(["a"], 262),
        eos_token=tokenizer.END,
        pad_token=tokenizer.PAD,
        chat_template=tokenizer.CHAT_TEMPLATE,
    )


def dft_loss(hidden: Tensor, weight: Tensor, targets: Tensor) -> tuple[float, Tensor]:
    """TRL's `loss_type="dft"` value and its gradient with respect to `hidden` [tokens, hidden]."""
    tokens, width = hidden.shape
    config = LlamaConfig(
        vocab_size=weight.shape[0],
        hidden_size=width,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        num_key_value_heads=1,
        head_dim=2,
        tie_word_embeddings=False,
        pad_token_id=0,
        bos_token_id=0,
        eos_token_id=0,
    )
    model = LlamaForCausalLM(config).double()
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        args = SFTConfig(
            output_dir=folder,
            use_cpu=True,
            bf16=False,
            loss_type="dft",
            report_to=[],
            dataset_kwargs={"skip_prepare_dataset": True},
        )
        rows = Dataset.from_dict({"input_ids": [[0, 1]], "labels": [[0, 1]]})
        trainer = SFTTrainer(model=model, args=args, train_dataset=rows, processing_class=chat_tokenizer())
    leaf = hidden.clone().requires_grad_()
    states = torch.cat([leaf, torch.zeros(1, width, dtype=leaf.dtype)])[None]
    model.lm_head.weight = torch.nn.Parameter(weight.clone())
    model.model.forward = lambda **_: SimpleNamespace(last_hidden_state=states)
    labels = torch.cat([torch.tensor([-100]), targets])[None]
    inputs = {"input_ids": labels.clamp(min=0), "labels": labels, "attention_mask": torch.ones_like(labels)}
    loss = trainer.compute_loss(model, inputs, num_items_in_batch=torch.tensor(tokens))
    loss.backward()
    return loss.item(), leaf.grad
