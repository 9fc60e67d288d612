"""Two processes on one data directory or one port: one works, the other says why it will not."""

from pathlib import Path

import pytest

from tests.server_process import ServerProcess
from tests.system.faults.means import quick_and_whole
from tests.system.faults.promises import Promises, eventually
from tests.system.faults.samples import text_pdf
from tests.system.faults.table import FaultTable

TOGETHER = 10


@quick_and_whole(20)
def test_a_second_process_on_the_same_data_ends_with_a_reason(
    tmp_path: Path, server: ServerProcess, faults: FaultTable, rounds: int
) -> None:
    fault, promises = faults.fault("two processes on one data directory"), Promises(server)
    promises.recover()
    (tmp_path / "other").mkdir()
    other = ServerProcess(tmp_path / "other")
    other.data = server.data
    for number in range(rounds):
        promises.upload(text_pdf(3 * number, 3))
        with pytest.raises(AssertionError, match="the server ended with 1"):
            other.start()
        assert str(server.data) in other.log().splitlines()[-1]
        assert "Traceback" not in other.log()
        promises.settle()
        promises.judge(fault)
        fault.rounds += 1
    promises.require_kept(fault)


@pytest.mark.faults
@pytest.mark.timeout(1800)
def test_of_two_that_start_together_one_works(tmp_path: Path, faults: FaultTable) -> None:
    fault = faults.fault("two processes start together")
    pair = []
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        pair.append(ServerProcess(tmp_path / name))
        pair[-1].data = tmp_path / "data"
    for _ in range(TOGETHER):
        for each in pair:
            each.launch()
        eventually(lambda: any(each.ended() for each in pair))
        lost = next(each for each in pair if each.ended())
        assert lost.wait_end() == 1
        (winner,) = [each for each in pair if each is not lost]
        winner.wait_healthy()
        fault.rounds += 1
        assert winner.stop() == 0


def test_a_second_process_on_the_same_port_ends_with_a_reason(server: ServerProcess, tmp_path: Path) -> None:
    server.start()
    (tmp_path / "other").mkdir()
    other = ServerProcess(tmp_path / "other")
    other.port = server.port
    other.launch()
    assert other.wait_end() == 2
    assert f"127.0.0.1:{server.port}" in other.log().splitlines()[-1]
    assert server.stop() == 0
