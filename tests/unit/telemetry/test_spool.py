from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgeapp.errors import SpoolError
from edgeapp.telemetry.spool import SPOOL_NAME, Spool


def _make(seq: int, lost: int) -> bytes:
    return json.dumps({"seq": seq, "lost": lost}).encode()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / SPOOL_NAME


@pytest.fixture
def spool(path: Path) -> Iterator[Spool]:
    opened = Spool(path, 100)
    yield opened
    opened.close()


def _seqs(spool: Spool) -> list[int]:
    return [seq for seq, _, _ in spool.next_batch(10_000)]


def test_a_report_knows_its_own_number(spool: Spool) -> None:
    seqs = [spool.put(_make) for _ in range(3)]
    assert seqs == [1, 2, 3]
    assert spool.next_batch(10) == [(seq, "telemetry", _make(seq, 0)) for seq in seqs]


def test_a_batch_begins_after_the_given_number_and_is_bounded(spool: Spool) -> None:
    for _ in range(5):
        spool.put(_make)
    assert [seq for seq, _, _ in spool.next_batch(2, after_seq=1)] == [2, 3]


def test_deleted_reports_are_gone_and_others_stay(spool: Spool) -> None:
    for _ in range(4):
        spool.put(_make)
    spool.delete(1, 3, 99)
    assert _seqs(spool) == [2, 4]
    assert spool.waiting() == 2


def test_reports_and_numbers_survive_a_restart(path: Path) -> None:
    first = Spool(path, 100)
    for _ in range(3):
        first.put(_make)
    first.delete(1, 2, 3)
    first.put(_make)
    first.close()
    second = Spool(path, 100)
    second.open()
    assert second.waiting() == 1
    assert _seqs(second) == [4]
    assert second.put(_make) == 5
    second.close()


def test_a_number_is_not_used_again_after_all_reports_were_deleted(path: Path) -> None:
    first = Spool(path, 100)
    first.delete(first.put(_make))
    first.close()
    second = Spool(path, 100)
    assert second.put(_make) == 2
    second.close()


def test_the_oldest_is_dropped_first_counted_and_told_in_the_report_that_displaced_it(path: Path) -> None:
    spool = Spool(path, 3)
    for _ in range(5):
        spool.put(_make)
    assert _seqs(spool) == [3, 4, 5]
    assert [json.loads(payload)["lost"] for _, _, payload in spool.next_batch(10)] == [0, 1, 2]
    spool.close()
    reopened = Spool(path, 3)
    reopened.open()
    assert (reopened.lost(), reopened.waiting()) == (2, 3)
    reopened.close()


def test_a_smaller_limit_after_a_restart_drops_down_to_it(path: Path) -> None:
    spool = Spool(path, 10)
    for _ in range(10):
        spool.put(_make)
    spool.close()
    smaller = Spool(path, 4)
    smaller.put(_make)
    assert _seqs(smaller) == [8, 9, 10, 11]
    assert smaller.lost() == 7
    smaller.close()


def test_a_report_that_cannot_be_made_leaves_no_trace(spool: Spool) -> None:
    def fail(seq: int, lost: int) -> bytes:
        raise ZeroDivisionError(f"{seq} {lost}")

    spool.put(_make)
    with pytest.raises(ZeroDivisionError):
        spool.put(fail)
    assert spool.put(_make) == 2
    assert (_seqs(spool), spool.waiting()) == ([1, 2], 2)


def test_a_full_disk_is_an_error_that_loses_nothing_and_heals_when_there_is_room(path: Path) -> None:
    spool = Spool(path, 10_000, max_pages=20)
    kept: list[int] = []

    def fill() -> None:
        while True:
            kept.append(spool.put(lambda seq, lost: _make(seq, lost) + b" " * 2000))

    with pytest.raises(SpoolError, match="full"):
        fill()
    assert kept
    assert _seqs(spool) == kept
    assert (spool.waiting(), spool.lost()) == (len(kept), 0)
    with pytest.raises(SpoolError):
        spool.put(lambda seq, lost: b" " * 20_000)
    spool.delete(*kept[:10])
    assert spool.put(_make) == kept[-1] + 1
    spool.close()


def test_a_missing_folder_is_an_error_until_it_is_there(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "state" / SPOOL_NAME, 10)
    with pytest.raises(SpoolError, match=r"spool\.db"):
        spool.put(_make)
    (tmp_path / "state").mkdir()
    assert spool.put(_make) == 1
    spool.close()


def _tear(path: Path) -> None:
    """Overwrite the file's middle, as a failing card does; the header stays whole."""
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(100)
        file.write(os.urandom(size - 100))


@pytest.mark.parametrize("content", [b"", b"not a database", bytes(range(256)) * 80], ids=["empty", "text", "bytes"])
def test_a_file_that_is_no_database_is_replaced_and_the_device_goes_on(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    spool = Spool(path, 10)
    assert spool.put(_make) == 1
    assert _seqs(spool) == [1]
    spool.close()


def test_a_torn_file_is_moved_aside_and_only_the_newest_is_kept(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(3):
        spool = Spool(path, 100)
        spool.put(lambda seq, lost: _make(seq, lost) * 100)
        spool.close()
        _tear(path)
    spool = Spool(path, 100)
    spool.put(_make)
    spool.close()
    assert [entry.name for entry in path.parent.glob("*torn*")] == ["spool.db.torn-3"]
    assert "spool.db is torn" in caplog.text


def test_a_file_torn_while_in_use_costs_the_waiting_reports_but_no_number_is_given_twice(path: Path) -> None:
    spool = Spool(path, 5)
    for _ in range(7):
        spool.put(lambda seq, lost: _make(seq, lost) * 100)
    spool.close()  # the write-ahead log is folded into the file, and the object remembers its numbers
    _tear(path)
    assert spool.put(_make) == 8
    assert spool.next_batch(10) == [(8, "telemetry", _make(8, 7))]
    assert (spool.waiting(), spool.lost()) == (1, 7)
    spool.close()


def test_the_write_ahead_log_of_a_torn_file_does_not_spoil_the_new_one(path: Path) -> None:
    spool = Spool(path, 1000)
    for _ in range(100):
        spool.put(lambda seq, lost: _make(seq, lost) * 100)
    spool.close()
    spool.put(_make)  # the log holds the few pages of this report, the file all the others
    log = Path(f"{path}-wal").read_bytes()
    spool.close()
    _tear(path)
    Path(f"{path}-wal").write_bytes(log)
    again = Spool(path, 1000)
    again.put(_make)
    again.close()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("SELECT seq FROM report").fetchall() == [(1,)]


def test_threads_that_put_and_delete_at_once_lose_nothing(path: Path) -> None:
    spool = Spool(path, 10_000)
    deleted: set[int] = set()
    is_done = threading.Event()

    def drain() -> None:
        while not (is_done.is_set() and spool.waiting() == 0):
            seqs = [seq for seq, _, _ in spool.next_batch(8)]
            spool.delete(*seqs)
            deleted.update(seqs)

    drainer = threading.Thread(target=drain)
    drainer.start()
    putters = [threading.Thread(target=lambda: [spool.put(_make) for _ in range(50)]) for _ in range(3)]
    for putter in putters:
        putter.start()
    for putter in putters:
        putter.join()
    is_done.set()
    drainer.join()
    assert deleted == set(range(1, 151))
    spool.close()


_KILLED = """
import sys
from pathlib import Path
from edgeapp.telemetry.spool import Spool
spool = Spool(Path(sys.argv[1]), 10_000)
while True:
    print(spool.put(lambda seq, lost: b"%d" % seq), flush=True)
"""


def test_every_number_that_was_given_is_there_after_a_kill(path: Path) -> None:
    told = 0
    for _ in range(3):
        with subprocess.Popen([sys.executable, "-c", _KILLED, str(path)], stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            for _ in range(20):
                told = int(child.stdout.readline())
            child.send_signal(signal.SIGKILL)
            rest = child.stdout.read().split()
        told = int(rest[-1]) if rest else told
    spool = Spool(path, 10_000)
    seqs = _seqs(spool)
    assert seqs == list(range(1, len(seqs) + 1))
    assert len(seqs) >= told >= 60
    spool.close()


_STEPS = st.lists(st.one_of(st.just("put"), st.just("reopen"), st.integers(1, 30)), max_size=30)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=_STEPS)
def test_the_spool_behaves_like_a_bounded_list(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str | int]
) -> None:
    spool = Spool(tmp_path_factory.mktemp("spool") / SPOOL_NAME, 4)
    expected: list[int] = []
    last = lost = 0
    for step in steps:
        if step == "put":
            last += 1
            assert spool.put(_make) == last
            lost += len(expected) == 4
            expected = [*expected, last][-4:]
        elif step == "reopen":
            spool.close()
        else:
            spool.delete(int(step))
            expected = [seq for seq in expected if seq != step]
        assert spool.waiting() == len(expected)
        assert spool.lost() == lost
    assert _seqs(spool) == expected
    spool.close()


def _release(spool: Spool, window: int, level: str = "quarter") -> int | None:
    return spool.put_release(_make, "counts", level, window)


def test_a_window_is_released_once_and_no_earlier_one_after_it(path: Path) -> None:
    spool = Spool(path, 100)
    assert _release(spool, 10) is None, "a new ledger cannot know what was released before it"
    assert [_release(spool, window) for window in (10, 11, 11, 9, 12)] == [None, 1, None, None, 2]
    spool.close()
    again = Spool(path, 100)
    assert [_release(again, window) for window in (12, 11, 13)] == [None, None, 3]
    assert [kind for _, kind, _ in again.next_batch(10)] == ["counts"] * 3
    again.close()


def test_each_level_has_a_ledger_of_its_own(spool: Spool) -> None:
    assert [_release(spool, 10), _release(spool, 5, "day"), _release(spool, 6, "day")] == [None, None, 1]
    assert _release(spool, 11) == 2


def test_what_cannot_be_stored_is_not_in_the_ledger_either(path: Path) -> None:
    spool = Spool(path, 100, max_pages=20)
    _release(spool, 10)
    with pytest.raises(SpoolError):
        spool.put_release(lambda seq, lost: b" " * 100_000, "counts", "quarter", 11)
    assert _release(spool, 11) == 1, "tried again"
    with pytest.raises(ZeroDivisionError):
        spool.put_release(lambda seq, lost: b"%d" % (seq // 0), "counts", "quarter", 12)
    assert _release(spool, 12) == 2
    spool.close()


def test_a_refused_window_is_told_in_the_log_without_what_was_counted(
    spool: Spool, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("DEBUG"):
        _release(spool, 10)
    assert [record.getMessage() for record in caplog.records] == [
        "quarter window 10 is not released: it, or a later one, may have been released before"
    ]


def test_a_deleted_ledger_permits_no_window_that_was_open_then(path: Path) -> None:
    spool = Spool(path, 100)
    _release(spool, 10)
    _release(spool, 11)
    spool.close()
    for entry in path.parent.iterdir():
        entry.unlink()
    again = Spool(path, 100)
    assert [_release(again, window) for window in (11, 12)] == [None, 1]
    again.close()


def test_a_ledger_torn_while_in_use_knows_no_less_than_before(path: Path) -> None:
    spool = Spool(path, 100)
    for window in (10, 11, 12):
        _release(spool, window)
    spool.put(lambda seq, lost: _make(seq, lost) * 1000)
    spool.close()  # the write-ahead log is folded into the file, and the object remembers its ledger
    _tear(path)
    assert [_release(spool, window) for window in (12, 11, 13)] == [None, None, 4]
    spool.close()


def test_a_ledger_torn_while_the_daemon_was_down_refuses_the_first_window(path: Path) -> None:
    spool = Spool(path, 100)
    for window in (10, 11):
        _release(spool, window)
    spool.close()
    _tear(path)
    again = Spool(path, 100)
    assert [_release(again, window) for window in (11, 12)] == [None, 1]
    again.close()
