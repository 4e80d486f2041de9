"""Ranks never part ways: what one decides all decide, and where one fails all leave."""

import math

import pytest
import torch

from runcast.core.errors import OptionError
from runcast.trainer.ranks.sharding import mesh_of
from tests.trainer.jobs import results, run_job

pytestmark = pytest.mark.slow

EVENTS = ("on_step_end", "on_epoch_end", "on_log", "on_evaluate", "on_save", "on_substep_end")
SWITCHES = ("should_training_stop", "should_epoch_stop", "should_save", "should_evaluate", "should_log")


@pytest.mark.parametrize("processes", [2, 3])
def test_a_switch_that_one_rank_sets_is_set_for_all(tmp_path, processes):
    """Whichever it is, at every event; the ranks log, evaluate, save and stop together."""
    first, *others = results(tmp_path, "switches", processes)

    assert others == [first] * (processes - 1)
    assert first.keys() == {f"{event} {switch}" for event in EVENTS for switch in SWITCHES}
    assert first["on_step_end should_training_stop"][-1] == "end 4"
    assert first["on_substep_end should_training_stop"][-1] == "end 4"
    assert first["on_log should_training_stop"][-1] == "end 4"
    assert first["on_evaluate should_training_stop"][-1] == "end 4"
    assert first["on_save should_training_stop"][-1] == "end 4"
    assert first["on_step_end should_save"][:4] == ["epoch 0", "log 4", "save 4", "evaluate 4"]
    assert first["on_step_end should_evaluate"][:3] == ["epoch 0", "log 4", "evaluate 4"]


@pytest.mark.parametrize("processes", [2, 3])
def test_a_metric_that_differs_from_rank_to_rank_is_that_of_the_first(tmp_path, processes):
    """What is best, what is saved and what is loaded at the end is the same everywhere, with a ready eval loader."""
    first, *others = results(tmp_path, "own_metrics", processes)

    assert first["best"] == [3.0, 2]
    assert first["saved"] == ["checkpoint-1", "checkpoint-2"]
    assert [(rank["best"], rank["weights"]) for rank in others] == [(first["best"], first["weights"])] * (processes - 1)


@pytest.mark.parametrize("processes", [2, 3])
def test_a_distributed_sampler_evaluates_each_example_once(tmp_path, processes):
    """Loss, predictions and metrics are those of the whole dataset, by hand, without the examples that it repeats."""
    for found in results(tmp_path, "ready_eval_loader", processes):
        for name, (count, is_right_loss, are_right_predictions, seen) in found.items():
            assert (name, count, seen) == (name, int(name.split()[0]), int(name.split()[0]))
            assert (name, is_right_loss, are_right_predictions) == (name, True, True)


def test_tokens_are_weighed_over_the_ranks(tmp_path):
    """As in one big batch: (ln 4 + 2 ln 2) / 3, then ln 4 of one token; a step without any has no loss."""
    first, second = results(tmp_path, "weights_of_tokens", 2)

    assert first == second
    assert first["loss"] == pytest.approx([0.9241962407465937, 1.3862943611198906])
    assert first["train_loss"] == pytest.approx([(0.9241962407465937 + 1.3862943611198906) / 2])
    by_hand = math.sqrt((3 * (1 / 12) ** 2 + (1 / 4) ** 2) + ((1 / 3) ** 2 + 3 * (1 / 9) ** 2))
    assert first["grad_norm"] == pytest.approx([by_hand, math.sqrt((3 / 4) ** 2 + 3 * (1 / 4) ** 2), 0.0])
    assert first["eval_loss"] == pytest.approx(1.3862943611198906)  # of one token; the other rank has none


def test_masked_sequences_of_a_language_model_weigh_nothing_on_any_rank(tmp_path):
    """A rank without a token that counts, one batch of a rank, then a step without any; the evaluation likewise."""
    pytest.importorskip("transformers")

    for found in results(tmp_path, "masked_language_model", 2):
        first, second, nothing, whole = found["by_hand"]
        assert (nothing, abs(first - math.log(32)) < 0.1) == (None, True)
        assert found["bf16=False"] == [pytest.approx(first), pytest.approx(second), None, pytest.approx(whole)]
        assert found["bf16=True"] == [
            pytest.approx(value, abs=0.01) if value else None for value in (first, second, nothing, whole)
        ]


def test_a_failure_that_a_script_catches_is_told_after_the_timeout(tmp_path):
    """The failed rank lives on, so no connection breaks: the others wait for `ddp_timeout`, and name the reason."""
    first, _ = results(tmp_path, "caught_by_one", 2)

    assert first["error"].startswith("RankError: Rank 1 failed: ")
    assert "fail raised in on_step_end at step 2)" in first["error"]
    assert first["error"].endswith("Rank 0 cannot continue alone: see the output of rank 1.")


def test_best_weights_that_one_rank_finds_are_put_back_in_none(tmp_path):
    """On machines without a common folder, the ranks would go on with different models."""
    assert results(tmp_path, "best_weights_on_one_machine", 2) == [{"weight": 18.0}, {"weight": 18.0}]


def test_the_best_are_ranked_alike(tmp_path):
    """The best two, where a limit deletes others: as one process ranks them."""
    assert [rank["saved"] for rank in results(tmp_path, "top_k", 2)] == [["checkpoint-4", "checkpoint-5"]] * 2


def test_who_is_first_is_not_read_from_a_checkpoint(tmp_path):
    """A resumed second rank does not log, report or save as the first."""
    found = results(tmp_path, "resumed_identity", 2)

    assert found == [{"first": True, "step": 3}, {"first": False, "step": 3}]


@pytest.mark.parametrize("processes", [2, 3])
def test_data_of_different_lengths_ends_together(tmp_path, processes):
    """Streams and ready loaders end with the shortest; datasets that are to be shared out must be the same."""
    first, *others = results(tmp_path, "unequal_data", processes)

    assert others == [first] * (processes - 1)
    assert [first[name][0] for name in ("stream", "loader", "batches")] == [6, 6, 6]
    assert first["datasets"].startswith(
        f"The ranks have train datasets of different lengths: {[8, 9, 10][:processes]}."
    )
    assert first["eval datasets"].startswith("The ranks have eval datasets of different lengths")


def test_sigterm_to_one_rank_ends_all_at_the_same_batch(tmp_path):
    """In the middle of an evaluation: no further batch, one save, exit code 143."""
    expected = {"code": 143, "step": 3, "batches": 2, "saved": ["checkpoint-3"]}

    assert results(tmp_path, "sigterm", 2) == [expected] * 2


@pytest.mark.parametrize(
    ("processes", "broken", "event"),
    [(2, 1, "on_step_begin"), (2, 0, "on_step_end"), (3, 1, "on_prediction_step"), (3, 2, "on_evaluate")],
)
def test_where_one_rank_fails_all_leave_with_its_reason(tmp_path, processes, broken, event):
    """The others say which one it was and why; the last whole step is saved, once."""
    job = run_job(tmp_path, "rank_fails", processes, str(broken), event)

    assert job.codes == [1] * processes
    for rank, output in enumerate(job.outputs):
        if rank == broken:
            assert "ValueError: broken data" in output
            assert "RankError" not in output
        elif f"RankError: Rank {broken} failed: ValueError" in output:
            assert "ValueError: broken data" in output
        else:  # without torchrun, the first rank keeps the job's store, and may end before another has read it
            assert rank != 0
            assert f"RankError: Rank {rank} lost the connection" in output
    assert [path.name for path in tmp_path.glob("out/checkpoint-*")] == ["checkpoint-2"]


def test_where_all_are_interrupted_one_saves_and_the_job_can_go_on(tmp_path):
    """The checkpoint is resumed from by all."""
    first, second = results(tmp_path, "all_fail", 2)

    assert first == second
    assert (first["saved"], first["step"]) == (["checkpoint-2"], 4)


def test_a_rank_that_is_killed_is_noticed(tmp_path):
    """The other says that a process ended without giving a reason."""
    job = run_job(tmp_path, "is_killed", 2)

    assert job.codes == [1, -9]
    assert "RankError: Rank 0 lost the connection to another process of the job" in job.outputs[0]


def test_a_save_that_fails_in_one_rank_fails_in_all(tmp_path):
    """Not only where the disk is full: here a callback's state raises in the first."""
    job = run_job(tmp_path, "save_fails", 2)

    assert job.codes == [1, 1]
    assert "RankError: Rank 0 failed: RuntimeError: no state" in job.outputs[1]


@pytest.mark.parametrize(("processes", "per_step", "steps"), [(1, 8, 12), (3, 12, 11)])
def test_another_number_of_processes_goes_on_behind_the_last_example(tmp_path, processes, per_step, steps):
    """Each example of the interrupted epoch is read once; with 12 a step, 40 that are left take one and three steps."""
    before = results(tmp_path, "interrupted", 2)
    (tmp_path / "then").mkdir()
    after = results(tmp_path / "then", "resumed_by_others", processes, str(per_step))

    second_epoch = [
        i for rank in before for i in rank["read"][rank["read"].index("step 4") + 1 :] if isinstance(i, int)
    ]
    rest = [i for rank in after for i in rank["read"][: rank["read"].index("step 8")]]
    assert len(second_epoch) == 24
    assert set(second_epoch + rest) == set(range(32))
    assert len(rest) == (8 if processes == 1 else 9)  # of three ranks one repeats an example
    assert [rank["steps"] for rank in after] == [steps] * processes
    assert all(0.1 < rank["loss"] < 2 for rank in after)


def test_replicas_of_shards_train_as_shards_over_all(tmp_path):
    """HSDP: two replicas of two shards, instead of four shards; the same losses, and bit-identical when resumed."""
    for found in results(tmp_path, "replicated_shards", 4):
        (losses, _, weights), (mine, local, own) = found["sharded"], found["replicas"]
        assert mine == pytest.approx(losses, rel=1e-6)
        assert local == [1, 3]  # of two rows, one on each process of a replica
        assert torch.tensor(own).allclose(torch.tensor(weights), rtol=1e-5)
        assert found["resumed"] == own


def test_replicas_that_the_processes_cannot_make_are_refused():
    """With both numbers."""
    assert (mesh_of(8, 1), mesh_of(8, 2)) == ((8,), (2, 4))
    with pytest.raises(OptionError, match="replicas=3, of which 8 processes cannot make equal ones"):
        mesh_of(8, 3)
