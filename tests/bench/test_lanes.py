"""Lanes with a stand-in for the trial's process, and one interrupted run of the real thing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from governor.lab.document_files import load_scenario
from tests.benchmarks.closed_loop.lanes import Finished, Lanes
from tests.benchmarks.closed_loop.progress import watching
from tests.benchmarks.closed_loop.trial import Trial

STAND_IN = textwrap.dedent("""
    import json, pathlib, sys, time
    import numpy as np
    from governor.lab.results import LoadResult
    home, address = pathlib.Path(sys.argv[-2]), sys.argv[-1]
    seed = json.loads((home / "trial.json").read_text())["scenario"]["seed"]
    if seed == 2:
        sys.exit("Envoy refused: no such thing")
    if seed == 3:
        time.sleep(600)
    (home / "lab").mkdir()
    none = np.zeros(0)
    LoadResult(("shop.high",), 1.0, 0.1, 1.0, none, none, none, none, none).save(home / "lab" / "load.npz")
    stall_s = 0.0
    if seed >= 6:  # told to stall: so many times, longest first
        tried = pathlib.Path(sys.argv[-3])
        before = len(tried.read_text()) if tried.exists() else 0
        tried.write_text("x" * (before + 1))
        stall_s = [0.9, 0.5, 0.7][before] if seed == 6 else [0.9, 0.1][before]
    said = {"writes": [], "blind_cycles": 0, "cpu_s": {address: 1.0}, "stall_s": stall_s}
    (home / "outcome.json").write_text(json.dumps(said))
""")


@pytest.fixture
def stand_in() -> tuple[str, ...]:
    return (sys.executable, "-c", STAND_IN)


def trials(*seeds: int) -> list[Trial]:
    scenario = load_scenario("steady")
    return [Trial(scenario.model_copy(update={"seed": seed}), "nothing", governed=False) for seed in seeds]


def test_a_failed_trial_is_told_with_its_reason_and_the_others_go_on(stand_in: tuple[str, ...]) -> None:
    told: list[Finished] = []
    assert Lanes(2, "127.0.84", command=stand_in).run(trials(1, 2, 4, 5), told.append)
    assert sorted(done.trial.scenario.seed for done in told) == [1, 2, 4, 5]
    (failed,) = [done for done in told if done.outcome is None]
    assert failed.trial.scenario.seed == 2
    assert "Envoy refused: no such thing" in failed.failure
    used = {address for done in told if done.outcome for address in done.outcome.cpu_s}
    assert used <= {"127.0.84.1", "127.0.84.2"}


def test_an_interrupt_ends_what_runs_and_keeps_what_is_finished(stand_in: tuple[str, ...]) -> None:
    told: list[Finished] = []

    def interrupt(done: Finished) -> None:
        told.append(done)
        raise KeyboardInterrupt

    assert not Lanes(2, "127.0.84", command=stand_in).run(trials(3, 1, 3, 3), interrupt)
    assert [done.trial.scenario.seed for done in told] == [1]


@pytest.mark.parametrize(("seed", "stall_s", "tries"), [(6, 0.5, 3), (7, 0.1, 2), (1, 0.0, 1)])
def test_a_disturbed_trial_is_run_again_and_the_least_disturbed_counts(
    stand_in: tuple[str, ...], tmp_path: Path, seed: int, stall_s: float, tries: int
) -> None:
    told: list[Finished] = []
    command = (*stand_in, str(tmp_path / "tried"))
    assert Lanes(1, "127.0.84", command=command).run(trials(seed), told.append)
    (done,) = told
    assert done.outcome is not None
    assert (done.outcome.stall_s, done.tries) == (stall_s, tries)


def test_the_pulse_sees_its_process_being_kept_waiting() -> None:
    code = """if True:
        from tests.benchmarks.closed_loop.pulse import Pulse
        with Pulse() as pulse:
            print("ready", flush=True)
            input()
        print(pulse.longest_s)
    """
    root = Path(__file__).parents[2]
    child = subprocess.Popen(
        [sys.executable, "-c", code], cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    child.send_signal(signal.SIGSTOP)
    time.sleep(0.5)
    child.send_signal(signal.SIGCONT)
    out, _ = child.communicate("go on\n", timeout=30)
    assert float(out) > 0.3


def test_progress_names_each_trial_its_failure_and_what_is_left(capsys: pytest.CaptureFixture[str]) -> None:
    three = trials(1, 2, 4)
    with watching(three, lanes=2) as watch:
        watch.finished(Finished(three[0], None, "port [busy]", 1.0))
        watch.finished(Finished(three[1], None, "again", 1.0))
    first, second = capsys.readouterr().err.splitlines()
    # two of 45 s and the 3 s that a lab takes beside it are left, for two lanes
    assert first == "[1/3] steady, nothing, seed 1: failed: port [busy]; about 48 s left"
    assert second.startswith("[2/3] steady, nothing, seed 2: failed: again; about 24 s left")


@pytest.mark.envoy
@pytest.mark.usefixtures("real_envoy")
def test_ctrl_c_ends_all_labs_and_prints_a_table_marked_partial() -> None:
    network = f"127.79.{os.getpid() % 250}"
    command = [sys.executable, "-m", "tests.benchmarks", "closed_loop", "--short", "--network", network]
    root = Path(__file__).parents[2]
    bench = subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        trial = _wait_for(bench, f"{network}.1")
        home = next(word for word in trial.split() if "governor-bench-" in word)
        _wait_for(bench, f"{home}/lab/bootstrap.json")
        bench.send_signal(signal.SIGINT)
        out, _ = bench.communicate(timeout=30)
    finally:
        bench.kill()
        bench.wait()
    assert bench.returncode == 130
    assert "PARTIAL" in out
    assert not _command_lines(home)
    assert not Path(home).exists()


def _wait_for(bench: subprocess.Popen[str], word: str) -> str:
    """Command line of the first process with `word` in it that is not the benchmark itself."""
    while bench.poll() is None:
        for line in _command_lines(word):
            if "--network" not in line:
                return line
        time.sleep(0.05)
    pytest.fail(f"the benchmark ended early: {bench.communicate()[1]}")


def _command_lines(word: str) -> list[str]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
        except OSError:
            continue  # gone meanwhile
        if word in line:
            found.append(line)
    return found
