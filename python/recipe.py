"""The part of a training recipe that the reference trainer supports; keys and defaults are those of cadft."""

import tomllib
from dataclasses import dataclass, replace
from pathlib import Path

from objectives import (
    DFT,
    NLL,
    Gate,
    Objective,
    chord_phi,
    deft,
    eaft,
    idft,
    info_sft,
    power,
    prift_mass,
    prift_prob,
    profit,
    psft,
    rho,
    sed_sft,
    talr,
)


@dataclass(frozen=True)
class Recipe:
    """A parsed recipe; paths are relative to the recipe's own folder."""

    folder: Path
    model: Path
    train: list[Path]
    max_length: int
    global_batch: int
    micro_batch: int
    objective: Objective
    running: bool
    decay: float
    start_until: float
    normalisation: str
    lr: float
    betas: tuple[float, float]
    weight_decay: float
    eps: float
    clip: float
    schedule: str
    warmup: float
    steps: int


def parse_objective(value: str | dict) -> tuple[Objective, dict]:
    """The objective and its table of options."""
    if isinstance(value, str):
        value = {value: {}}
    ((name, options),) = value.items()
    alpha = options.get("alpha", {"eaft": 1.0, "power": 0.5}.get(name))
    beta = options.get("beta", 1.0)
    threshold = options.get("threshold", {"info-sft": 0.93, "profit": 0.1, "sed-sft": 0.95, "prift": 0.5}.get(name))

    def gate(default: str) -> Objective:
        return parse_objective(options.get("gate", default))[0]

    def frozen(gates: Gate, every: int = 0) -> Objective:
        return Objective(name, gates, looks_at_tokens=True, every=every)

    members = {
        "nll": lambda: NLL,
        "dft": lambda: DFT,
        "cadft": lambda: replace(gate("dft"), name=name, beta=beta),
        "power": lambda: Objective(name, power(alpha)),
        "asft": lambda: Objective(name, power(1.0), anchor=options.get("lambda", 0.05)),
        "eaft": lambda: Objective(name, eaft(alpha)),
        "iw-sft": lambda: Objective(name, power(0.0), temperature=options.get("temperature", 1.0)),
        "idft": lambda: Objective(name, idft(beta)),
        "deft": lambda: Objective(name, deft),
        "info-sft": lambda: Objective(name, info_sft(threshold)),
        "chord-phi": lambda: Objective(name, chord_phi),
        "profit": lambda: Objective(name, profit(threshold)),
        "sed-sft": lambda: Objective(name, sed_sft(options.get("lambda", 1.0), options.get("k", 2), threshold)),
        "talr": lambda: Objective(name, talr(options.get("temperature"), options.get("floor", 0.01))),
        "kl-sft": lambda: replace(gate("nll"), name=name, anchor=options.get("lambda", 0.05)),
        "prift": lambda: frozen(prift_mass(threshold) if options.get("support") == "mass" else prift_prob),
        "psft": lambda: frozen(psft(options.get("clip", 0.28)), options.get("every", 8)),
        "rho": lambda: frozen(rho(options.get("top", 0.6))),
    }
    return members[name](), options


def load(path: Path) -> Recipe:
    """Read a recipe; only sequential order and the assistant mask are implemented here."""
    doc = tomllib.loads(path.read_text(encoding="utf-8"))
    data, batch, optimizer, schedule = doc["data"], doc["batch"], doc["optimizer"], doc["schedule"]
    if data["order"] != "sequential" or data.get("mask", "assistant") != "assistant":
        raise ValueError("the reference follows sequential order and the assistant mask only")
    objective, options = parse_objective(doc["objective"])
    loss = doc.get("loss", {})
    if loss.get("start", "nll") != "nll":
        raise ValueError("the reference starts with NLL only")
    return Recipe(
        folder=path.parent,
        model=path.parent / doc["model"]["path"],
        train=[path.parent / p for p in data["train"]],
        max_length=data.get("max-length", 2048),
        global_batch=batch["global"],
        micro_batch=batch["micro"],
        objective=objective,
        running=options.get("statistics", "exact") == "running",
        decay=options.get("statistics-decay", 0.99),
        start_until=loss.get("start-until", 0.1) if "start" in loss else 0.0,
        normalisation=loss.get("normalisation", "token-mean"),
        lr=optimizer["lr"],
        betas=tuple(optimizer.get("betas", (0.9, 0.95))),
        weight_decay=optimizer.get("weight-decay", 0.01),
        eps=optimizer.get("eps", 1e-8),
        clip=optimizer.get("clip", 1.0),
        schedule=schedule.get("kind", "cosine"),
        warmup=schedule.get("warmup", 0.1),
        steps=schedule["steps"],
    )
