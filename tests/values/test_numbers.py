"""What can be a metric, what it becomes, and what is said of everything else."""

import dataclasses
import datetime as dt
import decimal
import fractions
import math
import subprocess
import sys
from typing import Any, NamedTuple

import numpy as np
import pytest

from runcast.values.numbers import DeviceValue, NotANumber, leaves, start_copy, to_number

torch = pytest.importorskip("torch")

NUMBERS: list[tuple[Any, float | int]] = [
    (0.5, 0.5),
    (3, 3),
    (True, 1),
    (False, 0),
    (2**63 - 1, 9223372036854775807),
    (-(2**63), -9223372036854775808),
    (2**63, 9.223372036854775808e18),
    (10**30, 1e30),
    (decimal.Decimal("0.25"), 0.25),
    (fractions.Fraction(3, 4), 0.75),
    (np.float16(0.5), 0.5),
    (np.float32(0.1), 0.10000000149011612),
    (np.float64(0.1), 0.1),
    (np.longdouble(0.5), 0.5),
    (np.int8(-3), -3),
    (np.int64(2**53 + 1), 9007199254740993),
    (np.uint64(2**64 - 1), 1.8446744073709552e19),
    (np.bool_(True), 1),
    (np.array(0.5), 0.5),
    (np.array([[7]]), 7),
    (np.array([True]), 1),
    (torch.tensor(0.5), 0.5),
    (torch.tensor([[3]]), 3),
    (torch.tensor(1.5, dtype=torch.float16), 1.5),
    (torch.tensor(1.5, dtype=torch.bfloat16), 1.5),
    (torch.tensor(True), 1),
    (torch.tensor(2.0, requires_grad=True), 2.0),
    (torch.nn.Parameter(torch.tensor([4.0])), 4.0),
]


@pytest.mark.parametrize(("value", "expected"), NUMBERS, ids=lambda value: f"{type(value).__name__}-{value!r}"[:50])
def test_a_number_of_any_library_becomes_a_python_number(value: Any, expected: float | int) -> None:
    """Python, NumPy and PyTorch numbers of every type keep their value, as an int or a float."""
    number = to_number(value)

    assert number == expected
    assert type(number) is type(expected)


@pytest.mark.parametrize(
    "make", [float, np.float32, np.float64, np.array, torch.tensor], ids=lambda make: make.__name__
)
def test_non_finite_numbers_are_kept(make: Any) -> None:
    """NaN and the infinities of every library arrive as themselves."""
    assert math.isnan(to_number(make(math.nan)))
    assert to_number(make(math.inf)) == math.inf
    assert to_number(make(-math.inf)) == -math.inf


class Raises:
    """Raises whatever is asked of it."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError("released")

    def __float__(self) -> float:
        raise MemoryError


class Scores(NamedTuple):
    """What an evaluation returns."""

    loss: float
    accuracy: float


@dataclasses.dataclass
class Result:
    """What a step returns."""

    loss: float


NO_NUMBERS: list[tuple[Any, str]] = [
    (None, "is None. Leave it out, or log float('nan')"),
    ("0.5", "is a str. Wrap it in runcast.Text to keep it"),
    (b"1", "is a bytes. Decode it and wrap it in runcast.Text to keep it"),
    ([1.0], "is a list. Log its mean, or wrap it in runcast.Histogram to keep it"),
    ((1,), "is a tuple. Log its mean, or wrap it in runcast.Histogram to keep it"),
    ({"a": 1}, "is a dict below 8 others. Log it with fewer levels"),
    ({1}, "is a set. Log its mean, or wrap it in runcast.Histogram to keep it"),
    (1j, "is a complex, which no tracker can hold. Log abs(value), or its .real and .imag"),
    (np.complex64(1j), "is a complex64, which no tracker can hold. Log abs(value), or its .real and .imag"),
    (
        torch.tensor(1j),
        "is a Tensor of complex numbers, which no tracker can hold. Log abs(value), or its .real and .imag",
    ),
    (Scores(1.0, 2.0), "is a Scores. Log it as a mapping: value._asdict()"),
    (Result(1.0), "is a Result. Log it as a mapping: dataclasses.asdict(value)"),
    (object(), "is an object. Log a number, or wrap its text in runcast.Text to keep it"),
    (dt.datetime(2026, 1, 1), "is a datetime. Log a number, or wrap its text in runcast.Text to keep it"),
    (decimal.Decimal("sNaN"), "is a Decimal that cannot be read (ValueError)"),
    (10**400, "is an int of more than 1,024 bits, which no tracker can hold"),
    (
        np.array([1.0, 2.0]),
        "is an ndarray of 2 elements. Log one with .item(), or its mean, or wrap it in runcast.Histogram to keep it",
    ),
    (np.array([]), "is an ndarray of 0 elements, which has no value"),
    (np.array("text"), "is a str. Wrap it in runcast.Text to keep it"),
    (np.datetime64("2026-01-01"), "is a datetime64 of dates or times. Log its seconds as a float"),
    (
        torch.zeros(3, 8, 8),
        (
            "is a Tensor of 192 elements. Log one with .item(), or its mean, or wrap it in runcast.Histogram to keep it. "
            "A picture goes into runcast.Image"
        ),
    ),
    (torch.tensor([]), "is a Tensor of 0 elements, which has no value"),
    (torch.tensor(1.0, device="meta"), "is a meta tensor, which has no value"),
    (torch.tensor([1.0]).to_sparse(), "is a sparse tensor. Log its value: tensor.to_dense().item()"),
    (Raises(), "is a Raises that cannot be read (RuntimeError)"),
    (lambda: 1, "is a function. Log a number, or wrap its text in runcast.Text to keep it"),
]


@pytest.mark.parametrize(("value", "reason"), NO_NUMBERS, ids=lambda value: f"{type(value).__name__}")
def test_what_is_no_number_has_a_reason(value: Any, reason: str) -> None:
    """Text, None, collections, tensors without one value and objects that raise are refused in a few words."""
    with pytest.raises(NotANumber) as caught:
        to_number(value)

    assert str(caught.value) == reason


@pytest.mark.parametrize(
    "value",
    [0.5, np.float32(1), torch.tensor(1.0), torch.tensor(1.0, device="meta"), "text", None, object()],
    ids=lambda value: type(value).__name__,
)
def test_a_value_on_the_host_needs_no_copy(value: Any) -> None:
    """Only what lies on a device with streams is copied; all else is read where it is."""
    assert start_copy(value) is None


def test_an_object_that_raises_is_no_device_value() -> None:
    """An object whose attributes raise anything is refused like other things that are no numbers."""
    with pytest.raises(NotANumber, match=r"Raises that cannot be read \(RuntimeError\)"):
        start_copy(Raises())


def test_nested_mappings_are_joined_with_slashes() -> None:
    """`{"train": {"loss": 1}}` is `train/loss`; keys become texts; what is nested too deep stays a mapping."""
    deep: dict[str, Any] = {}
    deep["again"] = deep

    assert leaves({"train": {"loss": 1, 2: {None: 3}}, "lr": 4}) == [("train/loss", 1), ("train/2/None", 3), ("lr", 4)]
    assert leaves(deep) == [("again/again/again/again/again/again/again/again/again", deep)]


def test_no_library_is_imported_to_recognise_a_value() -> None:
    """Converting a number loads neither torch nor NumPy."""
    code = (
        "import sys; from runcast.values.numbers import to_number, start_copy; to_number(True); start_copy(object()); "
        "print('torch' in sys.modules, 'numpy' in sys.modules)"
    )

    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        == "False False\n"
    )


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "int64", "bool"])
def test_a_device_tensor_is_copied_without_waiting_for_the_device(dtype: str) -> None:
    """While the device is busy, the copy of a CUDA tensor is not ready; afterwards it has the value."""
    value = torch.ones(1, device="cuda").to(getattr(torch, dtype))
    torch.cuda.synchronize()
    torch.cuda._sleep(2_000_000_000)  # keeps the stream busy for about a second

    copy = start_copy(value)

    assert isinstance(copy, DeviceValue)
    assert not copy.ready()
    torch.cuda.synchronize()
    assert copy.ready()
    assert to_number(copy.host) == 1


@pytest.mark.gpu
def test_a_device_tensor_of_several_elements_is_no_device_value() -> None:
    """A batch of losses on the device is refused as on the host, without being read."""
    value = torch.ones(3, device="cuda")

    assert start_copy(value) is None
    with pytest.raises(NotANumber, match="is a Tensor of 3 elements"):
        to_number(value)
