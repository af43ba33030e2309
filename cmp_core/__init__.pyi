"""The names that plugins and notebooks use; `__init__.py` imports each when it is first used."""

from .analysis.comparison import (
    Comparison as Comparison,
    Difference as Difference,
    compare as compare,
)
from .analysis.evidence import (
    MetricEvidence as MetricEvidence,
)
from .analysis.questions import (
    QUESTIONS as QUESTIONS,
    Answer as Answer,
    answers_of as answers_of,
)
from .config.load import (
    load_config as load_config,
)
from .config.schema import (
    Config as Config,
)
from .data.raw import (
    Images as Images,
    RawData as RawData,
    Stream as Stream,
)
from .errors import (
    CmpError as CmpError,
    DataError as DataError,
    UndefinedError as UndefinedError,
    UsageError as UsageError,
)
from .events.activations import (
    LayerActivations as LayerActivations,
    LayerView as LayerView,
    SplitFinished as SplitFinished,
)
from .events.hookspecs import (
    PLUGIN_API as PLUGIN_API,
    Register as Register,
    hookimpl as hookimpl,
)
from .events.payloads import (
    EpochFinished as EpochFinished,
    EpochStarted as EpochStarted,
    Run as Run,
    RunFailed as RunFailed,
    RunFinished as RunFinished,
    RunStarted as RunStarted,
    SnapshotWritten as SnapshotWritten,
    StepFinished as StepFinished,
)
from .events.rows import (
    Row as Row,
    as_frame as as_frame,
)
from .layers.arrays import (
    Array as Array,
    as_labels as as_labels,
    as_matrices as as_matrices,
    as_matrix as as_matrix,
    as_tensor as as_tensor,
    average as average,
    class_indices as class_indices,
    of_class as of_class,
    rescaled as rescaled,
)
from .layers.layer import (
    Layer as Layer,
)
from .layers.sampling import (
    FOLDS as FOLDS,
)
from .layers.similarity import (
    defined_cosine as defined_cosine,
)
from .measurement.arrays import (
    measure_arrays as measure_arrays,
)
from .measurement.metric import (
    metric as metric,
)
from .measurement.options import Positive as Positive, PositiveInt as PositiveInt
from .measurement.recompute import (
    recompute as recompute,
)
from .measurement.selection import (
    with_installed_metric_info as with_installed_metric_info,
)
from .measurement.tensor_sum import (
    TensorSum as TensorSum,
)
from .observation.measure import (
    measure as measure,
)
from .observation.observer import (
    Observer as Observer,
    observe as observe,
)
from .plotting.plot import (
    PlotView as PlotView,
    plot as plot,
)
from .plotting.render import (
    PALETTE as PALETTE,
)
from .reporting.write import (
    report as report,
)
from .runs.log import (
    Curve as Curve,
    Series as Series,
)
from .runs.record import (
    RunRecord as RunRecord,
    load_run as load_run,
)
from .runs.replicates import (
    ReplicateGroup as ReplicateGroup,
    RunSet as RunSet,
)
from .snapshots.arrays import (
    SnapshotWriter as SnapshotWriter,
    write_snapshot as write_snapshot,
)
from .snapshots.read import (
    open_snapshot as open_snapshot,
)
from .statistics.arrays import (
    held_out_statistics_of as held_out_statistics_of,
    statistics_of as statistics_of,
)
from .statistics.interface import (
    LayerStatistics as LayerStatistics,
)
from .statistics.least_squares import (
    PENALTY as PENALTY,
)
from .statistics.moments import (
    centred as centred,
)
from .training.ace import (
    ACE_VARIANTS as ACE_VARIANTS,
    kl as kl,
)
from .training.learning_rule import (
    GradientRule as GradientRule,
    LearningRule as LearningRule,
)
from .training.model import (
    LayeredModel as LayeredModel,
)
from .workflow import (
    evaluate as evaluate,
    resume as resume,
    run as run,
)
