"""What other ranks log under `per_rank`: it reaches the run of the first rank, each point once."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runcast.core.errors import JournalError
from runcast.delivery import ranks
from runcast.delivery.liveness import last_status
from runcast.delivery.ranks import RankFiles, gather_ranks
from runcast.history.finding import list_runs
from runcast.history.overview import overview
from runcast.history.verify import verify
from runcast.journal.layout import RunDirectory
from runcast.journal.reader import JournalReader
from runcast.journal.records import Finish, Metrics, Params, RankMetrics, Start, encode
from tests.waiting import wait_for

Go = Callable[..., "subprocess.Popen[str]"]

SCRIPT = """
import os, sys, time
import runcast
rank = int(os.environ["RANK"])
options = {"dir": "runs", "per_rank": True, "report_to": "none", **eval(sys.argv[1])}
"""
LOGS = """
with runcast.init(config={"lr": 0.1}, **options) as run:
    for step in range(10):
        run.log({"loss": step + rank / 8}, step=step)
"""


@pytest.fixture
def go(tmp_path: Path) -> Iterator[Go]:
    """Start one rank of a job of 4; whatever is left at the end of the test is killed."""
    started: list[subprocess.Popen[str]] = []

    def start(rank: int, code: str = LOGS, port: int = 29500, **options: object) -> "subprocess.Popen[str]":
        environment = os.environ | {"RANK": str(rank), "WORLD_SIZE": "4", "MASTER_PORT": str(port)}
        command = [sys.executable, "-c", SCRIPT + textwrap.dedent(code), repr(options)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        started.append(subprocess.Popen(command, cwd=tmp_path, env=environment, text=True, **pipes))  # type: ignore[call-overload]
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def train(go: Go, tmp_path: Path) -> Callable[..., RunDirectory]:
    """Run a whole job, the ranks in this order, each until its end; return the newest run."""

    def run(*order: int, code: str = LOGS, **options: object) -> RunDirectory:
        for rank in order or (0, 1, 2, 3):
            _, errors = (process := go(rank, code, **options)).communicate()
            assert process.returncode == 0, errors
        return list_runs(tmp_path / "runs")[-1]

    return run


def logged(directory: RunDirectory) -> Counter[tuple[str, int, object]]:
    """Count the points of the journal."""
    records = [record for record in JournalReader(directory.journal) if isinstance(record, Metrics)]
    return Counter((key, record.step, value) for record in records for key, value in record.values.items())


def expected(*others: int) -> Counter[tuple[str, int, object]]:
    """Count what the ranks log."""
    names = {0: "loss", **{rank: f"rank{rank}/loss" for rank in others}}
    return Counter((name, step, step + rank / 8) for rank, name in names.items() for step in range(10))


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 1, 2, 0)])
@pytest.mark.parametrize("options", [{}, {"id": "mine"}])
def test_every_rank_is_in_the_run_of_the_first(
    train: Callable[..., RunDirectory], order: tuple[int, ...], options: dict[str, str], tmp_path: Path
) -> None:
    """Whichever rank is first, with an id and without, there is one run, and nothing but it."""
    directory = train(*order, **options)

    gather_ranks(directory, directory.load())

    assert logged(directory) == expected(1, 2, 3)
    assert [path.name for path in (tmp_path / "runs").iterdir()] == [directory.path.name]
    assert last_status(directory) == "finished"


def test_trackers_get_every_rank_while_the_job_trains(go: Go, tmp_path: Path) -> None:
    """The points of a rank arrive while it lives, and the run closes only when all its ranks have ended."""
    slow = """
    with runcast.init(**options) as run:
        for step in range(10):
            run.log({"loss": step + rank / 8}, step=step)
        print("logged", flush=True)
        if rank == 3:
            input()
            run.log({"late": 1.0}, step=99)
    """
    jobs = [go(rank, slow, report_to="tensorboard") for rank in range(4)]
    for job in jobs:
        assert job.stdout is not None
        assert job.stdout.readline() == "logged\n"
    (directory,) = list_runs(tmp_path / "runs")
    wait_for(lambda: logged(directory) == expected(1, 2, 3))
    assert jobs[0].poll() is None  # it waits for its tracker, which waits for rank 3

    jobs[3].communicate("\n")
    assert [job.wait() for job in jobs] == [0, 0, 0, 0]

    (verdict,) = verify(directory)
    assert (verdict.found, verdict.logged, verdict.problems()) == (41, 41, [])
    assert verdict.status == "finished"


def test_a_silent_rank_does_not_hold_the_run_open(go: Go, tmp_path: Path) -> None:
    """A first rank that finishes while another waits for it in a barrier is not kept until its timeout."""
    stuck = go(1, LOGS.replace("with", "run = ").replace(" as run:", "\nif True:") + "\ninput()")
    wait_for(lambda: any((tmp_path / "runs").glob(".job-*/1.jsonl")))
    first = go(0, report_to="tensorboard")
    _, errors = first.communicate()
    assert first.returncode == 0, errors
    assert stuck.poll() is None  # so it was not waited for
    assert "does not have everything yet" not in errors
    (directory,) = list_runs(tmp_path / "runs")
    (verdict,) = verify(directory)
    assert (verdict.found, verdict.status) == (20, "finished")
    assert stuck.poll() is None


def test_other_ranks_log_nothing_but_metrics(train: Callable[..., RunDirectory]) -> None:
    """Params, tags, files and media are those of the first rank; a number beside them is kept."""
    code = """
    with runcast.init(config={"rank": rank}, **options) as run:
        run.log_params({"more": rank})
        run.log_summary({"best": rank})
        run.add_tags(f"tag-{rank}")
        run.log_artifact(sys.executable)
        run.log({"text": runcast.Text("hello"), "loss": 1.0 + rank, "odd": None}, step=1)
        run.flush()
        assert (run.identity() is None) == (rank > 0)
        assert run.statistics().logged == 1
    """
    directory = train(0, 2, code=code)
    gather_ranks(directory, directory.load())

    params = [record.values for record in JournalReader(directory.journal) if isinstance(record, Params)]
    assert params == [{"rank": 0}, {"more": 0}]
    assert logged(directory) == {("loss", 1, 1.0): 1, ("rank2/loss", 1, 3.0): 1}
    assert not (directory.ranks / "artifacts").exists()


def test_each_run_of_a_job_has_its_own_ranks(train: Callable[..., RunDirectory], tmp_path: Path) -> None:
    """The second run of every rank is the second of the job; one that is gone on with stays itself."""
    code = """
    for number in range(2):
        with runcast.init(name=f"run {number}", **options) as run:
            run.log({"loss": number}, step=0)
    again = {**options, "id": run.id, "resume": "allow"}
    with runcast.init(**again) as run:
        run.log({"loss": 7}, step=1)
    """
    train(0, 3, code=code)

    first, second = list_runs(tmp_path / "runs")
    for directory in (first, second):
        overview(directory)
    assert logged(first) == {("loss", 0, 0): 1, ("rank3/loss", 0, 0): 1}
    points = {("loss", 0, 1): 1, ("rank3/loss", 0, 1): 1, ("loss", 1, 7): 1, ("rank3/loss", 1, 7): 1}
    assert logged(second) == points


def test_two_jobs_do_not_mix(go: Go, tmp_path: Path) -> None:
    """Jobs that run at the same time meet at different places."""
    jobs = [go(rank, port=port, name=f"job {port}") for port in (29500, 29501) for rank in (1, 0)]
    assert [job.wait() for job in jobs] == [0] * 4

    for directory in list_runs(tmp_path / "runs"):
        gather_ranks(directory, directory.load())
        assert logged(directory) == expected(1)


def test_what_an_earlier_job_left_is_not_taken(train: Callable[..., RunDirectory], tmp_path: Path) -> None:
    """A job of the same name whose first rank never came leaves files behind; they are not of this job."""
    folder = tmp_path / "runs"
    (file,) = _orphan(train, folder)
    directory = train(0)
    gather_ranks(directory, directory.load())

    assert logged(directory) == expected()
    assert file.exists()


def _orphan(train: Callable[..., RunDirectory], folder: Path) -> list[Path]:
    with pytest.raises(IndexError):
        train(1)  # there is no run to return
    (file,) = folder.glob(".job-*/1.jsonl")
    lines = file.read_bytes().splitlines(keepends=True)
    old = encode(Start(time=time.time() - 3600, version=1, session=1, host="here", pid=1)) + b"\n"
    file.write_bytes(b"".join([old, *lines[1:]]))
    return [file]


def test_a_rank_that_is_killed_loses_nothing_that_was_logged(go: Go, train: Callable[..., RunDirectory]) -> None:
    """What it had logged arrives; a line that was cut is counted as damage, once."""
    killed = go(1, LOGS + "    print('logged', flush=True)\n    input()", report_to="tensorboard")
    assert killed.stdout is not None
    assert killed.stdout.readline() == "logged\n"
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    directory = train(0)
    gather_ranks(directory, directory.load())
    with (directory.ranks / "1.jsonl").open("ab") as file:
        file.write(b'{"type":"metrics","time":1.0,"step":10,"val')
    gather_ranks(directory, directory.load())
    gather_ranks(directory, directory.load())

    reader = JournalReader(directory.journal)
    list(reader)
    assert reader.damaged == 1
    assert logged(directory) == expected(1)


@pytest.mark.parametrize("forgotten", ["everything", "the last step"])
def test_who_copies_may_die_at_any_time(
    train: Callable[..., RunDirectory], forgotten: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The journal itself says how far each file was copied, whatever was noted of it."""
    monkeypatch.setattr(ranks, "CHUNK_BYTES", 300)
    directory = train(0, 1, 2)
    progress = directory.ranks / "progress.json"
    gather_ranks(directory, directory.load())
    before = json.loads(progress.read_bytes())
    assert before["ends"] == {name: (directory.ranks / name).stat().st_size for name in ("1.jsonl", "2.jsonl")}
    if forgotten == "everything":
        progress.unlink()
    else:
        progress.write_text(json.dumps({"seen": 0, "ends": {"1.jsonl": 200}}))

    gather_ranks(directory, directory.load())

    assert logged(directory) == expected(1, 2)
    assert json.loads(progress.read_bytes())["ends"] == before["ends"]


@pytest.mark.damages_journals
def test_a_full_disk_costs_time_only(train: Callable[..., RunDirectory]) -> None:
    """A write that was cut in the middle is made again, without what had arrived."""
    directory = train(0, 1, 2)
    size = directory.journal.stat().st_size
    code = f"""
import resource, signal, sys
from pathlib import Path
from runcast.journal.layout import RunDirectory
from runcast.delivery.ranks import gather_ranks
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
directory = RunDirectory(Path(sys.argv[1]))
for more in (300, 900, 1300):
    resource.setrlimit(resource.RLIMIT_FSIZE, ({size} + more, resource.RLIM_INFINITY))
    gather_ranks(directory, directory.load())
"""
    subprocess.run([sys.executable, "-c", code, str(directory.path)], check=True)
    assert logged(directory) != expected(1, 2)

    gather_ranks(directory, directory.load())

    assert logged(directory) == expected(1, 2)
    assert last_status(directory) == "finished"


def test_the_end_of_a_run_is_found_behind_what_ranks_logged_late(train: Callable[..., RunDirectory]) -> None:
    """However much is copied behind the end of the first rank's run, it has ended."""
    code = """
    with runcast.init(**options) as run:
        for step in range(5000 * rank):
            run.log({"loss": 1.0, "accuracy": 0.5}, step=step)
    """
    directory = train(0, 1, code=code)
    gather_ranks(directory, directory.load())

    assert last_status(directory) == "finished"
    assert logged(directory).total() == 10_000
    assert isinstance(list(JournalReader(directory.journal))[-1], Finish)


def test_a_run_of_a_stranger_moves_nothing(train: Callable[..., RunDirectory], tmp_path: Path) -> None:
    """Only for a run that this user began is anything taken from beside its folder, and no link is followed."""
    (orphan,) = _orphan(train, tmp_path / "runs")
    orphan.write_bytes(orphan.read_bytes().replace(b'"time":', b'"time":9', 1))
    directory = train(0, id="mine")
    file = directory.load()
    file.jobs, file.seal = {orphan.parent.name: 0.0}, "another's"
    secret = tmp_path / "secret.jsonl"
    secret.write_bytes(encode(Metrics(time=1.0, step=1, values={"secret": 1.0})) + b"\n")
    (directory.ranks / "2.jsonl").symlink_to(secret)
    directory.save(file)

    gather_ranks(directory, directory.load())

    assert orphan.exists()
    assert logged(directory) == expected()


@pytest.mark.parametrize("job", ["..", "../../elsewhere", ".job-XYZ", "/tmp"])
def test_the_folder_of_a_job_leads_nowhere_else(train: Callable[..., RunDirectory], job: str) -> None:
    """run.json cannot name another folder than that of a job."""
    directory = train(0)
    file = directory.load()
    file.jobs = {job: 0.0}
    directory.save(file)

    with pytest.raises(JournalError, match="names paths outside"):
        directory.load()


def test_a_rank_cannot_write_as_another_or_as_runcast(train: Callable[..., RunDirectory]) -> None:
    """Of a rank's file only metrics are copied, under that rank's name."""
    directory = train(0, 1)
    with (directory.ranks / "1.jsonl").open("ab") as file:
        for record in (
            Finish(time=1.0, status="failed"),
            Metrics(time=1.0, step=1, values={"gpu": 1.0}, by="codecarbon"),
            Metrics(time=1.0, step=1, values={"loss": 1.0, "system/cpu_percent": 1.0}, by="system"),
            RankMetrics(time=1.0, step=1, values={"x": 1.0}, source="1.jsonl", end=10**9),
        ):
            file.write(encode(record) + b"\n")
        file.write(b"nonsense\n\n")
    gather_ranks(directory, directory.load())

    reader = JournalReader(directory.journal)
    list(reader)
    assert reader.damaged == 1
    assert logged(directory) == expected(1)
    assert last_status(directory) == "finished"


NODES = """
os.environ |= {"LOCAL_RANK": str(rank % 2), "GROUP_RANK": str(rank // 2), "RUNCAST_SYSTEM_METRICS": "1"}
with runcast.init(setup={"system": {"every_s": 0.05}}, **options) as run:
    run.log({"loss": rank / 8}, step=5)
    while rank == 2 and b'"by":"system"' not in run._journal.path.read_bytes():
        time.sleep(0.02)
"""


def test_each_node_of_a_job_is_sampled_by_one_process_under_its_own_name(train: Callable[..., RunDirectory]) -> None:
    """Two nodes of two ranks: the second one is `system/node1`, sampled by its first rank only, and a meter's."""
    directory = train(code=NODES, report_to="system")
    gather_ranks(directory, directory.load())

    sampled = [one for one in JournalReader(directory.journal) if isinstance(one, RankMetrics) and one.by == "system"]
    assert {record.source for record in sampled} == {"2.jsonl"}
    assert {record.step for record in sampled} == {5}
    assert sampled[0].values.keys() >= {"system/node1/cpu_percent", "system/node1/process_memory_mib"}
    assert all(key.startswith("system/node1/") for record in sampled for key in record.values)
    assert logged(directory)["rank3/loss", 5, 3 / 8] == 1
    assert {key.split("/")[0] for key, _, _ in logged(directory)} == {"loss", "rank1", "rank2", "rank3", "system"}


def test_another_machine_does_not_copy_while_the_run_may_live(train: Callable[..., RunDirectory]) -> None:
    """Two machines that append to one journal lose lines; who is not beside the training waits for its end."""
    directory = train(0, 1)
    file = directory.load()
    journal = directory.journal.read_bytes()
    file.host = "another-machine"
    directory.journal.write_bytes(b"".join(x for x in journal.splitlines(keepends=True) if b'"finish"' not in x))
    gather_ranks(directory, file)
    assert logged(directory) == expected()

    directory.journal.write_bytes(journal)
    gather_ranks(directory, file)
    assert logged(directory) == expected(1)


def test_a_folder_that_cannot_be_written_is_for_the_next_time(train: Callable[..., RunDirectory]) -> None:
    """Copying never raises."""
    directory = train(0, 1)
    (directory.ranks / "lock").unlink(missing_ok=True)
    (directory.ranks / "lock").mkdir()
    assert RankFiles(directory, directory.load()).gather(closing=True) is False
    (directory.ranks / "lock").rmdir()
    assert RankFiles(directory, directory.load()).gather() is True


def test_many_deliveries_look_at_the_files_once_a_second(train: Callable[..., RunDirectory]) -> None:
    """A job of hundreds of ranks, whose files lie on a network share, is not asked for all of them by everybody."""
    directory = train(0, 1)
    first, second = (RankFiles(directory, directory.load()) for _ in range(2))
    assert first.gather()
    with (directory.ranks / "1.jsonl").open("ab") as file:
        file.write(encode(Metrics(time=1.0, step=10, values={"loss": 10.125})) + b"\n")

    assert not second.gather()
    assert second.gather(closing=True)
    assert logged(directory)["rank1/loss", 10, 10.125] == 1


def test_without_per_rank_other_ranks_write_nothing(
    train: Callable[..., RunDirectory], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is off unless asked for, by argument or variable."""
    train(0, 1, per_rank=None)
    assert len(list((tmp_path / "runs").iterdir())) == 1
    monkeypatch.setenv("RUNCAST_PER_RANK", "yes")
    directory = train(0, 1, per_rank=None)
    gather_ranks(directory, directory.load())
    assert logged(directory) == expected(1)
