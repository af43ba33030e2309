"""cmp: see, layer by layer, what a neural network has learned.

The names below are all that plugins and notebooks need; each is imported when first used, so
that importing `cmp_core` stays quick and does not import torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cmp_core.ace import ACE_VARIANTS as ACE_VARIANTS
    from cmp_core.ace import kl as kl
    from cmp_core.answers import QUESTIONS as QUESTIONS
    from cmp_core.answers import Answer as Answer
    from cmp_core.answers import Witness as Witness
    from cmp_core.arrays import Array as Array
    from cmp_core.arrays import as_tensor as as_tensor
    from cmp_core.arrays import average as average
    from cmp_core.arrays import of_class as of_class
    from cmp_core.config import Config as Config
    from cmp_core.config_io import load_config as load_config
    from cmp_core.data.raw import Images as Images
    from cmp_core.data.raw import RawData as RawData
    from cmp_core.data.raw import Stream as Stream
    from cmp_core.drawing import PALETTE as PALETTE
    from cmp_core.errors import CmpError as CmpError
    from cmp_core.errors import DataError as DataError
    from cmp_core.errors import UndefinedError as UndefinedError
    from cmp_core.errors import UsageError as UsageError
    from cmp_core.event_statistics import statistics_of as statistics_of
    from cmp_core.events import EpochFinished as EpochFinished
    from cmp_core.events import EpochStarted as EpochStarted
    from cmp_core.events import LayerActivations as LayerActivations
    from cmp_core.events import Run as Run
    from cmp_core.events import RunFailed as RunFailed
    from cmp_core.events import RunFinished as RunFinished
    from cmp_core.events import RunStarted as RunStarted
    from cmp_core.events import SnapshotWritten as SnapshotWritten
    from cmp_core.events import SplitFinished as SplitFinished
    from cmp_core.events import StepFinished as StepFinished
    from cmp_core.hookspecs import PLUGIN_API as PLUGIN_API
    from cmp_core.hookspecs import Register as Register
    from cmp_core.hookspecs import hookimpl as hookimpl
    from cmp_core.layer import Layer as Layer
    from cmp_core.layer_view import LayerView as LayerView
    from cmp_core.learning_rule import GradientRule as GradientRule
    from cmp_core.learning_rule import LearningRule as LearningRule
    from cmp_core.metric_contract import Positive as Positive
    from cmp_core.metric_contract import PositiveInt as PositiveInt
    from cmp_core.metric_contract import metric as metric
    from cmp_core.model import LayeredModel as LayeredModel
    from cmp_core.plot_contract import PlotView as PlotView
    from cmp_core.plot_contract import plot as plot
    from cmp_core.ridge import PENALTY as PENALTY
    from cmp_core.rows import Row as Row
    from cmp_core.run_log import Curve as Curve
    from cmp_core.run_log import Series as Series
    from cmp_core.run_record import RunRecord as RunRecord
    from cmp_core.run_record import load_run as load_run
    from cmp_core.run_set import Group as Group
    from cmp_core.run_set import RunSet as RunSet
    from cmp_core.sampling import FOLDS as FOLDS
    from cmp_core.second_moments import centred as centred
    from cmp_core.second_moments import inner_products as inner_products
    from cmp_core.similarity import defined_cosine as defined_cosine
    from cmp_core.snapshots.read import open_snapshot as open_snapshot
    from cmp_core.statistics import LayerStatistics as LayerStatistics
    from cmp_core.tensor_sum import TensorSum as TensorSum
    from cmp_core.workflow import evaluate as evaluate
    from cmp_core.workflow import resume as resume
    from cmp_core.workflow import run as run

_HOMES = {
    "ACE_VARIANTS": "ace",
    "kl": "ace",
    "Answer": "answers",
    "QUESTIONS": "answers",
    "Witness": "answers",
    "Array": "arrays",
    "as_tensor": "arrays",
    "average": "arrays",
    "of_class": "arrays",
    "Config": "config",
    "load_config": "config_io",
    "Images": "data.raw",
    "RawData": "data.raw",
    "Stream": "data.raw",
    "PALETTE": "drawing",
    "CmpError": "errors",
    "DataError": "errors",
    "UndefinedError": "errors",
    "UsageError": "errors",
    "statistics_of": "event_statistics",
    "EpochFinished": "events",
    "EpochStarted": "events",
    "LayerActivations": "events",
    "Run": "events",
    "RunFailed": "events",
    "RunFinished": "events",
    "RunStarted": "events",
    "SnapshotWritten": "events",
    "SplitFinished": "events",
    "StepFinished": "events",
    "PLUGIN_API": "hookspecs",
    "Register": "hookspecs",
    "hookimpl": "hookspecs",
    "Layer": "layer",
    "LayerView": "layer_view",
    "GradientRule": "learning_rule",
    "LearningRule": "learning_rule",
    "Positive": "metric_contract",
    "PositiveInt": "metric_contract",
    "metric": "metric_contract",
    "LayeredModel": "model",
    "PlotView": "plot_contract",
    "plot": "plot_contract",
    "PENALTY": "ridge",
    "Row": "rows",
    "Curve": "run_log",
    "Series": "run_log",
    "RunRecord": "run_record",
    "load_run": "run_record",
    "Group": "run_set",
    "RunSet": "run_set",
    "FOLDS": "sampling",
    "centred": "second_moments",
    "inner_products": "second_moments",
    "defined_cosine": "similarity",
    "open_snapshot": "snapshots.read",
    "LayerStatistics": "statistics",
    "TensorSum": "tensor_sum",
    "evaluate": "workflow",
    "resume": "workflow",
    "run": "workflow",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'cmp_core' has no attribute '{name}'")
    return getattr(import_module(f"cmp_core.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return [*globals(), *_HOMES]
