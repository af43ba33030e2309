"""The names that plugins and notebooks use; `__init__.py` imports each when it is first used."""

from .analysis.questions import (
    QUESTIONS as QUESTIONS,
)
from .analysis.questions import (
    Answer as Answer,
)
from .analysis.questions import (
    MetricEvidence as MetricEvidence,
)
from .config.load import load_config as load_config
from .config.schema import Config as Config
from .data.raw import (
    Images as Images,
)
from .data.raw import (
    RawData as RawData,
)
from .data.raw import (
    Stream as Stream,
)
from .errors import (
    CmpError as CmpError,
)
from .errors import (
    DataError as DataError,
)
from .errors import (
    UndefinedError as UndefinedError,
)
from .errors import (
    UsageError as UsageError,
)
from .events.hookspecs import (
    PLUGIN_API as PLUGIN_API,
)
from .events.hookspecs import (
    Register as Register,
)
from .events.hookspecs import (
    hookimpl as hookimpl,
)
from .events.payloads import (
    EpochFinished as EpochFinished,
)
from .events.payloads import (
    EpochStarted as EpochStarted,
)
from .events.payloads import (
    LayerActivations as LayerActivations,
)
from .events.payloads import (
    Run as Run,
)
from .events.payloads import (
    RunFailed as RunFailed,
)
from .events.payloads import (
    RunFinished as RunFinished,
)
from .events.payloads import (
    RunStarted as RunStarted,
)
from .events.payloads import (
    SnapshotWritten as SnapshotWritten,
)
from .events.payloads import (
    SplitFinished as SplitFinished,
)
from .events.payloads import (
    StepFinished as StepFinished,
)
from .events.rows import Row as Row
from .events.view import LayerView as LayerView
from .layers.arrays import (
    Array as Array,
)
from .layers.arrays import (
    as_tensor as as_tensor,
)
from .layers.arrays import (
    average as average,
)
from .layers.arrays import (
    of_class as of_class,
)
from .layers.layer import Layer as Layer
from .layers.sampling import FOLDS as FOLDS
from .layers.similarity import defined_cosine as defined_cosine
from .measurement.metric import (
    Positive as Positive,
)
from .measurement.metric import (
    PositiveInt as PositiveInt,
)
from .measurement.metric import (
    metric as metric,
)
from .measurement.selection import with_installed_metric_info as with_installed_metric_info
from .measurement.tensor_sum import TensorSum as TensorSum
from .plotting.plot import (
    PlotView as PlotView,
)
from .plotting.plot import (
    plot as plot,
)
from .plotting.render import PALETTE as PALETTE
from .runs.log import (
    Curve as Curve,
)
from .runs.log import (
    Series as Series,
)
from .runs.record import (
    RunRecord as RunRecord,
)
from .runs.record import (
    load_run as load_run,
)
from .runs.replicates import (
    ReplicateGroup as ReplicateGroup,
)
from .runs.replicates import (
    RunSet as RunSet,
)
from .snapshots.read import open_snapshot as open_snapshot
from .statistics.batch import statistics_of as statistics_of
from .statistics.interface import LayerStatistics as LayerStatistics
from .statistics.moments import (
    centred as centred,
)
from .statistics.moments import (
    inner_products as inner_products,
)
from .statistics.ridge import PENALTY as PENALTY
from .training.ace import (
    ACE_VARIANTS as ACE_VARIANTS,
)
from .training.ace import (
    kl as kl,
)
from .training.learning_rule import (
    GradientRule as GradientRule,
)
from .training.learning_rule import (
    LearningRule as LearningRule,
)
from .training.model import LayeredModel as LayeredModel
from .workflow import (
    evaluate as evaluate,
)
from .workflow import (
    resume as resume,
)
from .workflow import (
    run as run,
)
