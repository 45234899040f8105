"""A small world of arithmetic word problems: questions, worked solutions, and demonstrations that do not fit.

All numbers lie in 0..99, so that a model of under a million parameters can learn to add and subtract them. A clean
solution is one line a step and the answer, `14 + 23 = 37` then `#### 37`. The kinds of incompatible demonstration:

    shuffled   the words of the solution in random order
    wrong      another number in place of the answer
    offstyle   the right answer in another register
    swapped    the solution of another problem

Everything is a function of the `random.Random` that is passed in.
"""

from dataclasses import dataclass, replace
from random import Random

NAMES = ["Mia", "Tom", "Ana", "Ben", "Lea", "Sam", "Eva", "Max"]
ITEMS = ["apples", "coins", "books", "cards", "shells", "stamps", "pens", "eggs"]
GAINS = ["{n} finds {b} more.", "{n} buys {b} more.", "A friend gives {n} {b} more.", "Then {n} wins {b}."]
LOSSES = ["{n} gives away {b}.", "{n} loses {b}.", "{n} sells {b}.", "A friend takes {b} from {n}."]
OFFSTYLE = [
    "Well, that is easy, my friend: it must be {c}, I am quite sure.",
    "Let me think about it. Hmm, the number you want is {c}, no doubt.",
    "Oh, what a nice little question! I would say {c}.",
]
KINDS = ("shuffled", "wrong", "offstyle", "swapped")


@dataclass(frozen=True)
class Problem:
    """A question, its steps `(a, sign, b, c)` and its demonstration."""

    question: str
    steps: tuple[tuple[int, str, int, int], ...]
    solution: str

    @property
    def answer(self) -> str:
        """The true answer."""
        return str(self.steps[-1][3])

    def lines(self) -> list[str]:
        """The steps as `a + b = c`."""
        return [f"{a} {sign} {b} = {c}" for a, sign, b, c in self.steps]


def apply(rng: Random, a: int) -> tuple[int, str, int, int]:
    """One random step from `a` that stays in 0..99."""
    if rng.random() < 0.5 and a < 99:
        b = rng.randint(1, 99 - a)
        return a, "+", b, a + b
    b = rng.randint(1, a) if a > 0 else 0
    return a, "-", b, a - b


def random_steps(rng: Random, count: int) -> tuple[tuple[int, str, int, int], ...]:
    """A chain of steps, each from the result of the last."""
    steps, a = [], rng.randint(1, 98)
    for _ in range(count):
        steps.append(apply(rng, a))
        a = steps[-1][3]
    return tuple(steps)


def worked(steps: tuple[tuple[int, str, int, int], ...]) -> str:
    """The clean solution."""
    lines = [f"{a} {sign} {b} = {c}" for a, sign, b, c in steps]
    return "\n".join([*lines, f"#### {steps[-1][3]}"])


def comparison(rng: Random) -> Problem:
    """A one-step problem about two people."""
    steps = random_steps(rng, 1)
    ((a, sign, b, _),) = steps
    n, m = rng.sample(NAMES, 2)
    item = rng.choice(ITEMS)
    if sign == "+" and rng.random() < 0.5:
        text = f"{n} has {a} {item} and {m} has {b}. How many {item} do they have together?"
    else:
        word = "more" if sign == "+" else "fewer"
        text = f"{n} has {a} {item}. {m} has {b} {word} than {n}. How many {item} does {m} have?"
    return Problem(text, steps, worked(steps))


def story(rng: Random, count: int) -> Problem:
    """A problem of `count` events in a row."""
    steps = random_steps(rng, count)
    n, item = rng.choice(NAMES), rng.choice(ITEMS)
    events = [rng.choice(GAINS if sign == "+" else LOSSES).format(n=n, b=b) for _, sign, b, _ in steps]
    text = f"{n} has {steps[0][0]} {item}. {' '.join(events)} How many {item} does {n} have now?"
    return Problem(text, steps, worked(steps))


def problem(rng: Random) -> Problem:
    """A clean problem of one or two steps."""
    draw = rng.random()
    return comparison(rng) if draw < 0.3 else story(rng, 1 if draw < 0.55 else 2)


def distinct(rng: Random, count: int, skip: set[str]) -> list[Problem]:
    """`count` clean problems with new questions; `skip` grows by them."""
    result: list[Problem] = []
    while len(result) < count:
        candidate = problem(rng)
        if candidate.question not in skip:
            skip.add(candidate.question)
            result.append(candidate)
    return result


def shuffled_words(rng: Random, text: str) -> str:
    """The words of `text` in another order."""
    words = text.split()
    original = list(words)
    while words == original and len(set(words)) > 1:
        rng.shuffle(words)
    return " ".join(words)


def spoil(rng: Random, clean: Problem, kind: str, others: list[Problem]) -> Problem:
    """`clean` with an incompatible demonstration of a kind; its answer stays the true one."""
    if kind == "shuffled":
        return replace(clean, solution=shuffled_words(rng, clean.solution))
    if kind == "wrong":
        a, sign, b, c = clean.steps[-1]
        wrong = rng.choice([x for x in range(100) if x != c])
        return replace(clean, solution=worked((*clean.steps[:-1], (a, sign, b, wrong))))
    if kind == "offstyle":
        return replace(clean, solution=rng.choice(OFFSTYLE).format(c=clean.answer))
    if kind == "swapped":
        return replace(clean, solution=rng.choice([p for p in others if p.answer != clean.answer]).solution)
    raise ValueError(f"unknown kind `{kind}`")


def spoil_fraction(rng: Random, problems: list[Problem], fraction: float) -> list[tuple[str, Problem]]:
    """Each problem with its kind, `clean` or one of `KINDS` in equal shares of `fraction`, in the given order."""
    spoiled = rng.sample(range(len(problems)), round(fraction * len(problems)))
    kinds = {index: KINDS[i % len(KINDS)] for i, index in enumerate(spoiled)}
    return [
        (kinds[i], spoil(rng, p, kinds[i], problems)) if i in kinds else ("clean", p) for i, p in enumerate(problems)
    ]
