"""Searches a space of recipes for several objectives at once: Optuna's samplers and storage, in rungs of fidelity.

It knows nothing of what a candidate is worth: it is handed `evaluate(recipe) -> figures`. Every trial is in Optuna's
storage the moment that it ends (`sqlite:///study.db`, or PostgreSQL by URL), so that a killed search goes on where it
was, several processes may share one, and `optuna-dashboard` shows it. Candidates are tried cheaply first; those that no
other dominates, and the next best, go on to the longer trainings (successive halving, Jamieson & Talwalkar,
arXiv 1502.07943, ranked by non-dominated sorting, Deb et al., "NSGA-II", IEEE Trans. Evol. Comp. 2002).
"""
from __future__ import annotations

import dataclasses
import math
import warnings
from typing import Any, Callable, Mapping, NamedTuple, Sequence

import numpy as np

from leanood.compression import space as spaces

_RECIPE, _FAILURE, _DETAIL, _REPEATED = "recipe", "failure", "detail", "repeated"
SAMPLERS = ("tpe", "random")
_REPEATS = 10  # in a row, after which another is drawn at random; after ten times as many there are none left
_HEARTBEAT_S = 10  # a trial whose process has not been heard of for four of these is given to another


class Objective(NamedTuple):
    """A figure to improve."""

    name: str
    maximize: bool
    worst: float  # the reference point of hypervolumes; what is worse than it counts for nothing


class Evaluation(NamedTuple):
    """What `evaluate` says of a candidate: a figure for each objective; whatever else is to be kept must suit JSON."""

    figures: Mapping[str, float]
    detail: Mapping[str, Any] = {}


class Candidate(NamedTuple):
    """One recipe at one fidelity."""

    recipe: str
    epochs: int
    figures: Mapping[str, float] | None  # None: it failed
    detail: Mapping[str, Any]
    failure: str  # why, else ""


@dataclasses.dataclass(frozen=True)
class Settings:
    """How long and how to search.

    Attributes:
      trials: candidates of the first rung, each another recipe; fewer where the space has no more.
      rungs: epochs of each fine-tuning, rung by rung; survivors of one are trained anew for the next.
      survive: share of a rung's candidates that goes on, those first that nothing dominates.
      sampler: "tpe" (multi-objective tree-structured Parzen estimators) or "random".
      seed: of the sampler.
      storage: an SQLAlchemy URL, e.g. "sqlite:///study.db" or "postgresql://user@host/name".
      name: of the study in that storage.
    """

    trials: int = 30
    rungs: tuple[int, ...] = (2, 10)
    survive: float = 1 / 3
    sampler: str = "tpe"
    seed: int = 0
    storage: str = "sqlite:///study.db"
    name: str = "leanood"

    def __post_init__(self) -> None:
        if self.trials < 1:
            raise ValueError(f"trials is {self.trials}, but should be 1 or more")
        if not self.rungs or min(self.rungs) < 1 or list(self.rungs) != sorted(set(self.rungs)):
            raise ValueError(f"rungs are {self.rungs}, but should be rising numbers of epochs")
        if not 0 < self.survive <= 1:
            raise ValueError(f"survive is {self.survive}, but should be a share in (0, 1]")
        if self.sampler not in SAMPLERS:
            raise ValueError(f"sampler is {self.sampler!r}, but should be one of {', '.join(SAMPLERS)}")


def search(space: spaces.Space, evaluate: Callable[[str], Evaluation], objectives: Sequence[Objective],
           settings: Settings, *, always: Sequence[Mapping[str, Any]] = (),
           progress: Callable[[str], None] | None = None) -> list[Candidate]:
    """Returns the candidates of all rungs, in the order of their trials; goes on where a killed search stopped.

    Args:
      space: what is drawn from.
      evaluate: recipe text -> what it is worth. A ValueError or RuntimeError of it makes the candidate a failed one,
        whose reason is kept; the search goes on.
      objectives: two or more of the figures.
      settings: how.
      always: parameters of candidates to try first, by the names that the space gives them.
      progress: told of every candidate in a line.
    """
    for rung in range(len(settings.rungs)):
        study = _study(settings, objectives, rung)
        if rung == 0:
            for parameters in always:
                study.enqueue_trial(dict(parameters), skip_if_exists=True)
            wanted = settings.trials
        else:
            survivors = survivors_of(_ended(_study(settings, objectives, rung - 1)), objectives, settings.survive)
            for trial in survivors:
                study.enqueue_trial(trial.params, skip_if_exists=True)
            wanted = len(survivors)
        _run(study, space, evaluate, objectives, settings.rungs[rung], wanted, progress)
    return candidates(objectives, settings)


def candidates(objectives: Sequence[Objective], settings: Settings) -> list[Candidate]:
    """Returns what the storage has, rung by rung; of a search that still runs, too."""
    rows = []
    for rung, epochs in enumerate(settings.rungs):
        for trial in _ended(_study(settings, objectives, rung)):
            recipe = trial.user_attrs.get(_RECIPE)
            if recipe is None:  # its process died before it was drawn whole
                continue
            figures = None if trial.values is None else {o.name: v for o, v in zip(objectives, trial.values)}
            rows.append(Candidate(recipe, epochs, figures, trial.user_attrs.get(_DETAIL, {}),
                                  trial.user_attrs.get(_FAILURE, "")))
    return rows


def front(rows: Sequence[Candidate], objectives: Sequence[Objective]) -> list[Candidate]:
    """Returns the candidates that no other dominates: none is as good in everything and better in something."""
    there = [row for row in rows if row.figures is not None]
    losses = np.array([_losses(row.figures or {}, objectives) for row in there]).reshape(-1, len(objectives))
    return [row for row, rank in zip(there, _ranks(losses)) if rank == 0]


def hypervolume(rows: Sequence[Candidate], objectives: Sequence[Objective]) -> float:
    """Returns the volume that the front dominates, up to the objectives' worst (Zitzler & Thiele, 1998).

    The volume is in the product of the objectives' units; compare it between searches of the same objectives.
    """
    from optuna import _hypervolume

    reference = np.array([-o.worst if o.maximize else o.worst for o in objectives])
    losses = np.array([_losses(row.figures or {}, objectives) for row in front(rows, objectives)])
    losses = losses.reshape(-1, len(objectives))
    inside = losses[(losses < reference).all(axis=1)]
    return float(_hypervolume.compute_hypervolume(inside, reference)) if len(inside) else 0.0


def survivors_of(trials: Sequence[Any], objectives: Sequence[Objective], share: float) -> list[Any]:
    """Returns the best share of a rung's trials, by non-dominated rank; within a rank, the earlier first.

    Those that are worse than an objective's `worst` come after all others: longer training won't save them.
    """
    there = [trial for trial in trials if trial.values is not None]
    if not there:
        return []
    losses = np.array([[-v if o.maximize else v for v, o in zip(trial.values, objectives)] for trial in there])
    hopeless = (losses > [-o.worst if o.maximize else o.worst for o in objectives]).any(axis=1)
    order = np.lexsort((_ranks(losses), hopeless))
    return [there[i] for i in sorted(order[:math.ceil(share * len(there))])]


def _run(study: Any, space: spaces.Space, evaluate: Callable[[str], Evaluation], objectives: Sequence[Objective],
         epochs: int, wanted: int, progress: Callable[[str], None] | None) -> None:
    """Runs trials until `wanted` recipes have ended, whoever ran them."""
    repeats, sampler = 0, study.sampler  # repeats in a row

    def objective(trial: Any) -> tuple[float, ...]:
        nonlocal repeats
        try:
            recipe = spaces.at(space.draw(trial), epochs)
        except ValueError as error:  # Optuna's choices are fixed by a study's first trial
            raise _OtherSpace(" ".join(str(error).split())) from error
        if recipe in _recipes(study):
            repeats += 1
            trial.set_user_attr(_REPEATED, recipe)
            raise _Repeated(recipe)
        repeats = 0
        trial.set_user_attr(_RECIPE, recipe)
        try:
            worth = evaluate(recipe)
            values = tuple(float(worth.figures[o.name]) for o in objectives)
        except (ValueError, RuntimeError) as error:
            trial.set_user_attr(_FAILURE, " ".join(str(error).split()))
            raise
        trial.set_user_attr(_DETAIL, dict(worth.detail))
        return values

    def told(study: Any, trial: Any) -> None:
        if progress and not repeats:
            reason = trial.user_attrs.get(_FAILURE)
            figures = f"failed: {reason}" if reason else ", ".join(
                f"{o.name} {v:.4g}" for o, v in zip(objectives, trial.values or ()))
            progress(f"{trial.user_attrs.get(_RECIPE, 'candidate')}: {figures}")
        study.sampler = sampler if repeats < _REPEATS else _sampler("random", trial.number, wanted)
        if len(_recipes(study)) >= wanted or repeats == 10 * _REPEATS:
            study.stop()

    if len(_recipes(study)) < wanted:
        try:
            study.optimize(objective, catch=(ValueError, RuntimeError, _Repeated), callbacks=[told])
        except _OtherSpace as error:
            raise ValueError(f"the search in this storage was begun with other recipes to choose from ({error}); begin "
                             "another: give another --out, or --storage") from error


class _OtherSpace(Exception):
    """What a search was begun with isn't what it is asked to go on with."""


class _Repeated(Exception):
    """A recipe was drawn that has ended already: it counts for nothing, and another is drawn."""


def _ended(study: Any) -> list[Any]:
    from optuna.trial import TrialState

    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.FAIL))
    # A trial whose process died has no verdict: another took its place.
    return [trial for trial in trials if trial.state == TrialState.COMPLETE or trial.user_attrs.get(_FAILURE)]


def _recipes(study: Any) -> set[str]:
    """Returns the recipes that have ended, well or not."""
    return {trial.user_attrs[_RECIPE] for trial in _ended(study) if _RECIPE in trial.user_attrs}


def _study(settings: Settings, objectives: Sequence[Objective], rung: int) -> Any:
    import optuna
    from optuna import storages

    optuna.logging.set_verbosity(optuna.logging.ERROR)  # a failed trial is told in our own line
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    sampler = _sampler(settings.sampler, settings.seed + 1000 * rung, settings.trials)
    try:
        storage = storages.RDBStorage(
            settings.storage, heartbeat_interval=_HEARTBEAT_S, grace_period=4 * _HEARTBEAT_S,
            heartbeat_stale_trial_callback=storages.RetryHeartbeatStaleTrialCallback(max_retry=3))
        return optuna.create_study(
            storage=storage, sampler=sampler, study_name=f"{settings.name}-{settings.rungs[rung]}-epochs",
            directions=["maximize" if o.maximize else "minimize" for o in objectives], load_if_exists=True)
    except ValueError:
        raise
    except Exception as error:  # noqa: BLE001 - SQLAlchemy and its drivers raise many kinds
        raise ValueError(f"storage {settings.storage} cannot be opened ({' '.join(str(error).split())[:200]}); give "
                         "sqlite:///FILE or postgresql://USER@HOST/NAME") from error


def _sampler(name: str, seed: int, trials: int) -> Any:
    from optuna import samplers

    if name == "random":
        return samplers.RandomSampler(seed=seed)
    # Its own 10 at random would be a third of a usual search; a fifth, and what a person would try, come first.
    return samplers.TPESampler(seed=seed, multivariate=True, group=True, constant_liar=True,
                               n_startup_trials=min(10, max(4, trials // 5)))


def _losses(figures: Mapping[str, float], objectives: Sequence[Objective]) -> list[float]:
    return [-figures[o.name] if o.maximize else figures[o.name] for o in objectives]


def _ranks(losses: np.ndarray) -> np.ndarray:
    """Returns each row's non-dominated rank, int [N]: 0 for the front, 1 for the front of the rest, …"""
    ranks = np.full(len(losses), -1)
    no_worse = (losses[:, None] <= losses[None]).all(axis=2)
    dominates = no_worse & (losses[:, None] < losses[None]).any(axis=2)
    rank = 0
    while (ranks < 0).any():
        left = ranks < 0
        ranks[left & ~(dominates & left[:, None]).any(axis=0)] = rank
        rank += 1
    return ranks
