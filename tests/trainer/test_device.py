"""The same training on every device: the bodies run on the CPU and, marked gpu, on a CUDA device."""

import pytest
import torch
from torch.profiler import ProfilerActivity

from runcast.run.init import init
from runcast.trainer.data.transfer import Mover, prefetch, tensors_of, to_device
from runcast.trainer.ranks.job import backend_for

CUDA = pytest.param("cuda", marks=pytest.mark.gpu)
DEVICES = pytest.mark.parametrize("device", ["cpu", CUDA])
WAITS = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize", "aten::_local_scalar_dense")


class Profiler:
    """Counts, between two steps, what waits for the device or reads a value from it."""

    def __init__(self, device, first, last):
        activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device == "cuda" else [])]
        self.profiler = torch.profiler.profile(activities=activities)
        self.device, self.first, self.last = device, first, last

    def __call__(self, args, state, control, **kwargs):
        if state.global_step == self.first:
            self.profiler.start()
            if self.device == "cuda":
                torch.cuda.set_sync_debug_mode("error")
        if state.global_step == self.last:
            if self.device == "cuda":
                torch.cuda.set_sync_debug_mode("default")
            self.profiler.stop()

    @property
    def waits(self):
        counts = {event.key: event.count for event in self.profiler.key_averages()}
        allowed = 1 if self.device == "cuda" else 0  # the profiler's own, when it stops
        return max(0, sum(counts.get(key, 0) for key in WAITS) - allowed)


@DEVICES
@pytest.mark.parametrize("accumulation", [1, 2])
@pytest.mark.filterwarnings("ignore:.*Profiler.*")
def test_a_step_that_does_not_log_waits_for_nothing(make, device, accumulation):
    """Neither for the device nor for a value, with clipping, a schedule, accumulation and all default callbacks."""
    optimizer = {"cpu": "sgd", "cuda": "adamw_torch_fused"}[device]  # on the CPU the fused one reads its own counters
    trainer = make(
        use_cpu=False,
        device=device,
        optim=optimizer,
        max_steps=12,
        logging_steps=100,
        gradient_accumulation_steps=accumulation,
        warmup_steps=2,
        per_device_train_batch_size=4,
    )
    profiler = Profiler(device, 3, 10)
    trainer.add_callback("on_step_end", profiler)

    trainer.train()

    assert profiler.waits == 0


@DEVICES
def test_the_test_above_sees_a_step_that_waits(make, device):
    """Reading the loss in every step is counted."""
    trainer = make(use_cpu=False, device=device, optim="sgd", max_steps=6, logging_steps=100)
    profiler = Profiler("cpu", 2, 5)
    trainer.add_callback("on_step_end", profiler)
    trainer.add_callback("on_step_begin", lambda *_, model, **__: next(model.parameters()).sum().item())

    trainer.train()

    assert profiler.waits == 3


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_mixed_precision_does_not_wait_either(make, precision):
    """The scaled loss of float16 stays on the device too."""
    trainer = make(use_cpu=False, device="cuda", max_steps=12, logging_steps=100, **{precision: True})
    profiler = Profiler("cuda", 3, 10)
    trainer.add_callback("on_step_end", profiler)

    trainer.train()

    assert profiler.waits == 0


@pytest.mark.gpu
def test_a_device_tensor_that_is_logged_costs_no_wait(make, tmp_path):
    """run.log of a tensor in every step; the values are all there in the end."""
    with init(report_to="none", dir=str(tmp_path)) as run:
        trainer = make(use_cpu=False, device="cuda", max_steps=12, logging_steps=100)
        profiler = Profiler("cuda", 3, 10)
        trainer.add_callback(
            "on_pre_optimizer_step",
            lambda args, state, control, model, **_: run.log(
                {"norm": next(model.parameters()).grad.norm()}, step=state.global_step
            ),
        )
        trainer.add_callback("on_step_end", profiler)
        trainer.train()

    assert profiler.waits == 0
    assert (run.dir / "journal.jsonl").read_text().count('"norm"') == 12


@pytest.mark.gpu
def test_a_batch_is_copied_on_a_stream_of_its_own_and_waited_for_on_the_device():
    """The copy does not wait for what is computed before it; what is computed with it waits for the copy."""
    device = torch.device("cuda")
    mover = Mover(device)
    host = {"x": torch.arange(1_000_000, dtype=torch.float32).pin_memory()}
    busy = torch.randn(4096, 4096, device=device)
    for _ in range(50):
        busy = busy @ busy / 64

    computing = torch.cuda.current_stream().record_event()
    receive = mover.send(host)
    mover._stream.synchronize()
    overlapped = not computing.query()
    batch = receive()

    assert mover.overlaps
    assert overlapped
    assert batch["x"].sum().item() == pytest.approx(host["x"].double().sum().item(), rel=1e-4)


@DEVICES
def test_a_batch_arrives_as_it_was(device):
    """Dicts, tuples, dataclasses and what is no tensor keep their form."""
    batch = {"x": (torch.ones(2), [torch.zeros(1)]), "name": "text"}

    moved = Mover(torch.device(device)).send(batch)()

    assert [tensor.device.type for tensor in tensors_of(moved)] == [device, device]
    assert moved["name"] == "text"
    assert moved["x"][0].tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    ("ahead", "expected"),
    [
        (0, "send 1 get 1 use 1 send 2 get 2 use 2 send 3 get 3 use 3"),
        (1, "send 1 send 2 get 1 use 1 send 3 get 2 use 2 get 3 use 3"),
    ],
)
def test_batches_are_sent_so_many_groups_before_they_are_wanted(ahead, expected):
    """And none is lost at the end."""
    seen = []

    def send(batch):
        seen.append(f"send {batch}")
        return lambda: seen.append(f"get {batch}") or -batch

    for ((host, receive),) in prefetch(([number] for number in (1, 2, 3)), send, ahead=ahead):
        assert receive() == -host
        seen.append(f"use {host}")

    assert " ".join(seen) == expected


@pytest.mark.parametrize(("ahead", "most"), [(False, 1), (True, 2)])
def test_no_more_batches_are_sent_ahead_where_a_step_has_several(ahead, most):
    """With three batches a step, the device holds the one that is computed with and, ahead, the next; in their order."""
    there, seen, used, counts = 0, [], [], []

    def send(batch):
        nonlocal there
        there += 1
        seen.append(batch)
        return lambda: batch

    for group in prefetch(iter([[1, 2, 3], [4, 5, 6], [7]]), send, ahead=ahead):
        for _, receive in group:
            used.append(receive())
            counts.append(there)
            there -= 1

    assert seen == used == [1, 2, 3, 4, 5, 6, 7]
    assert max(counts) == most


@DEVICES
@pytest.mark.parametrize(
    "settings", [{"bf16": True}, {"torch_compile": True}, {"bf16": True, "gradient_accumulation_steps": 2}], ids=str
)
def test_it_learns_in_every_precision_and_compiled(make, device, settings):
    """The loss falls, the weights stay float32."""
    if "torch_compile" in settings and device == "cpu":
        settings = settings | {"torch_compile_backend": "aot_eager"}
    trainer = make(
        use_cpu=False, device=device, max_steps=60, logging_steps=20, per_device_train_batch_size=32, **settings
    )

    trainer.train()

    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert losses[-1] < 0.7 * losses[0]
    assert next(trainer.model.parameters()).dtype is torch.float32
    assert next(trainer.model.parameters()).device.type == device


@pytest.mark.parametrize("grows", [False, True])
def test_an_evaluation_is_compiled_too(make, grows):
    """As the training is; with the same results, whatever the size of the last batch."""
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    data = make.Digits(9 if grows else 8)
    settings = {"torch_compile": True, "torch_compile_backend": "eager", "per_device_eval_batch_size": 4}
    compiled, plain = make(**settings), make(per_device_eval_batch_size=4)

    found, expected = compiled.predict(data), plain.predict(data)

    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] >= 1
    assert found.metrics["test_loss"] == pytest.approx(expected.metrics["test_loss"])
    assert abs(found.predictions - expected.predictions).max() < 1e-5


@pytest.mark.parametrize(
    ("kind", "asked", "expected"),
    [
        ("cuda", None, "cpu:gloo,cuda:nccl"),
        ("cuda", "nccl", "cpu:gloo,cuda:nccl"),
        ("xpu", None, "cpu:gloo,xpu:xccl"),
        ("cuda", "gloo", "gloo"),
        ("cuda", "cpu:mpi,cuda:nccl", "cpu:mpi,cuda:nccl"),
        ("cpu", None, "gloo"),
    ],
)
def test_a_job_on_gpus_has_a_backend_for_the_hosts_too(kind, asked, expected):
    """For decisions, objects and weights that are kept on the CPU."""
    assert backend_for(kind, asked) == expected


def test_only_a_gpu_waits_for_no_copy():
    """MPS would read memory that is overwritten meanwhile; a GPU orders its copies."""

    class Recorder(torch.Tensor):
        def to(self, device, non_blocking=False):
            return device.type, non_blocking

    tensor = torch.ones(1).as_subclass(Recorder)

    assert to_device({"x": tensor}, torch.device("mps")) == {"x": ("mps", False)}
    assert to_device([tensor], torch.device("cuda")) == [("cuda", True)]


@pytest.mark.gpu
def test_float16_learns_and_its_scale_is_resumed(make, tmp_path):
    """The scaler is part of a checkpoint."""
    settings = {"use_cpu": False, "device": "cuda", "fp16": True, "output_dir": str(tmp_path), "save_strategy": "steps"}
    make(max_steps=30, logging_steps=10, **settings).train()

    trainer = make(max_steps=60, logging_steps=10, **settings)
    trainer.train(resume_from_checkpoint=True)

    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert (tmp_path / "checkpoint-30" / "scaler.pt").exists()
    assert losses[-1] < 0.7 * losses[0]


@pytest.mark.gpu
def test_memory_and_mfu_are_reported_on_a_gpu(make):
    """Where the card is known."""
    trainer = make(use_cpu=False, device="cuda", max_steps=4, logging_steps=2)

    trainer.train()

    assert trainer.state.log_history[0]["memory_gib"] > 0
    assert "train_mfu" in trainer.state.log_history[-1] or "H100" not in torch.cuda.get_device_name()
