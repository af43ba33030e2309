"""Tests of `cmp_core.distributed.processes`: what processes tell each other."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from cmp_core.distributed.processes import ALONE, Processes
from cmp_core.errors import UsageError
from tests.processes import in_processes


def exchanged() -> dict[str, Any]:
    processes = Processes.started()
    rank = processes.rank
    calls: list[int] = []

    def fail() -> None:
        raise UsageError("there is no such folder")

    with pytest.raises(UsageError, match="no such folder"):
        processes.on_first(fail)
    view = torch.arange(10.0)[rank : rank + 2]
    return {
        "gather": processes.gather({"rank": rank, "view": view}),
        "reduce": processes.reduce([rank], lambda a, b: a + b),
        "sum": processes.sum(torch.tensor([1.0, rank])).tolist(),
        "any": (processes.any(rank == 1), processes.any(False)),
        "first": processes.on_first(lambda: f"made by {rank}"),
        "then": (processes.first_then_others(lambda: calls.append(rank) or rank), calls),
        "again": Processes.started().size,
    }


@pytest.mark.parametrize("size", [2, 3])
def test_all_processes_have_the_same_answers_in_order_of_rank(size: int) -> None:
    ranks = list(range(size))
    for rank, told in enumerate(in_processes(size, exchanged)):
        assert [one["rank"] for one in told["gather"]] == ranks
        assert [one["view"].tolist() for one in told["gather"]] == [[i, i + 1.0] for i in ranks]
        assert told["reduce"] == ranks
        assert told["sum"] == [size, sum(ranks)]
        assert told["any"] == (True, False)
        assert told["first"] == "made by 0"
        assert told["then"] == (rank, [rank])
        assert told["again"] == size


def test_a_single_process_tells_itself() -> None:
    assert Processes.started() is ALONE
    assert ALONE.is_first
    tensor = torch.ones(2)
    assert ALONE.sum(tensor) is tensor
    with pytest.raises(UsageError):
        ALONE.on_first(_refuse)


def _refuse() -> None:
    raise UsageError("no")


def alone() -> str:
    import cmp_core.distributed.processes as module

    module.WAIT = module.timedelta(seconds=1)
    if torch.distributed.get_rank() == 1:
        torch.distributed.barrier()
        return ""
    with pytest.raises(UsageError) as caught:
        Processes.started()
    torch.distributed.barrier()
    return str(caught.value)


def test_a_process_that_does_not_come_is_named() -> None:
    told, _ = in_processes(2, alone)
    assert told.startswith("waited 1 s for process 1 of 2: when torch.distributed is in use, every")
