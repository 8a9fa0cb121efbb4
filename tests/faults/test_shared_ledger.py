"""What may go wrong between a gateway and the ledger it shares: nothing is lost, nothing is posted twice."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import asyncpg
import pytest

from fakes.gateways import Gateway, is_down, is_up, join, told
from fakes.records import FakeClock
from fakes.till import account, assert_books_agree, hold, replayed_balances, server_balances
from harness import postgres
from harness.daemon import eventually
from harness.link import Link
from palyra.core.errors import LedgerUnavailable
from palyra.ledger.account import Balance
from palyra.lifecycle.decision import CallState
from palyra.lifecycle.ports import DecisionFilter, IdempotencyClaim

DISCONNECT_ALL = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
)


class House:
    """A database, a link to it, and gateways that end with the test."""

    def __init__(self, link: Link, database: str) -> None:
        self.link = link
        self.database = database
        self.clock = FakeClock()
        self._ending = AsyncExitStack()

    async def join(self, *, linked: bool = False, **scale: object) -> Gateway:
        over = self.link.url(self.database) if linked else None
        gateway = await join(self.database, self.clock, over=over, **scale)  # pyright: ignore[reportArgumentType]
        self._ending.push_async_callback(gateway.store.close)
        return gateway

    async def balance(self) -> Balance:
        return (await server_balances(self.database)).get(account(), Balance(0, 0, 0, 0))

    async def close(self) -> None:
        self.link.heal()
        await self._ending.aclose()


@pytest.fixture
def link() -> Iterator[Link]:
    with Link(postgres.port()) as made:
        yield made


@pytest.fixture
async def house(link: Link) -> AsyncIterator[House]:
    made = House(link, postgres.new_database())
    yield made
    await made.close()


def files(folder: Path) -> list[Path]:
    """The spool files of the only ledger."""
    return list(folder.glob("*/*"))


async def state_of(gateway: Gateway, request_id: str) -> CallState | None:
    stored = await gateway.store.records.decision(request_id)
    return stored.state if stored else None


class TestLostAnswers:
    """A commit whose answer never came may have happened."""

    async def test_a_hold_that_was_stored_is_given_back(self, house: House) -> None:
        gateway = await house.join(linked=True)
        await gateway.admit("req_0", hold(1, 100))
        house.link.deafen()
        gateway.till.reserve("req_1", hold(10, 100))
        await eventually(lambda: house.link.swallowed > 0, "the commit")
        house.link.heal()
        await gateway.till.flush()
        assert isinstance(gateway.till.told[-1].error, LedgerUnavailable)
        await is_up(gateway)
        await eventually(
            lambda: not [e for e in gateway.store.ledger.pending() if e.id == "req_1"], "its end"
        )
        await gateway.settle_slices()
        assert await state_of(gateway, "req_1") is CallState.RELEASED
        assert (await house.balance()).held == 1
        await assert_books_agree(gateway.till)

    async def test_a_settlement_that_was_stored_is_not_posted_again(self, house: House) -> None:
        gateway = await house.join(linked=True)
        await gateway.admit("req_1", hold(10, 100))
        house.link.deafen()
        gateway.till.settle("req_1", 7)
        await eventually(lambda: house.link.swallowed > 0, "the commit")
        house.link.heal()
        await gateway.till.flush()
        assert gateway.till.told[-1].error is None
        await gateway.settle_slices()
        assert await house.balance() == Balance(7, 0, 7, 0)
        await assert_books_agree(gateway.till)

    async def test_what_was_not_stored_is_undone_or_written_again(self, house: House) -> None:
        gateway = await house.join(linked=True)
        await gateway.admit("req_1", hold(10, 100))
        house.link.cut()
        gateway.till.settle("req_1", 7)
        gateway.till.reserve("req_2", hold(5, 100))
        await is_down(gateway)
        house.link.heal()
        await gateway.till.flush()
        errors = {each.request_id: each.error for each in gateway.till.told}
        assert errors["req_1"] is None
        assert isinstance(errors["req_2"], LedgerUnavailable)
        await gateway.settle_slices()
        assert await state_of(gateway, "req_2") is None
        assert await house.balance() == Balance(7, 0, 7, 0)
        await assert_books_agree(gateway.till)


class TestOutOfReach:
    async def test_hard_budgets_fail_closed_and_settlements_wait(self, house: House) -> None:
        gateway = await house.join(linked=True)
        await gateway.admit("req_1", hold(10, 100))
        house.link.cut()
        await is_down(gateway)
        with pytest.raises(LedgerUnavailable):
            gateway.till.reserve("req_2", hold(1, 100))
        gateway.till.settle("req_1", 7)
        assert gateway.till.waiting == 1
        house.link.heal()
        await gateway.till.flush()
        assert await house.balance() == Balance(7, 0, 7, 0)

    async def test_a_spool_acknowledges_settlements_and_lets_soft_budgets_run(
        self, house: House, tmp_path: Path
    ) -> None:
        gateway = await house.join(linked=True, spool=tmp_path)
        await gateway.admit("req_1", hold(10, 100))
        house.link.cut()
        await is_down(gateway)
        gateway.till.settle("req_1", 7)
        gateway.till.reserve("req_2", hold(20))
        await gateway.till.flush()
        gateway.till.settle("req_2", 15)
        await gateway.till.flush()
        assert gateway.till.errors() == []
        assert await house.balance() == Balance(0, 10, 0, 10)
        house.link.heal()
        await is_up(gateway)
        await gateway.settle_slices()
        assert await house.balance() == Balance(22, 0, 22, 0)
        await assert_books_agree(gateway.till)
        assert [path.stat().st_size for path in files(tmp_path)] == [0]

    async def test_the_spool_of_a_gateway_that_died_is_written_once(
        self, house: House, tmp_path: Path
    ) -> None:
        gateway = await house.join(linked=True, spool=tmp_path)
        await gateway.admit("req_1", hold(10, 100))
        await gateway.admit("req_2", hold(30, 100))
        house.link.cut()
        await is_down(gateway)
        gateway.till.settle("req_1", 7)
        gateway.till.reserve("req_3", hold(20))
        await gateway.till.flush()
        gateway.till.settle("req_3", 15)
        await gateway.till.flush()
        await gateway.kill()
        await gateway.let_lease_end()
        kept = {path: path.read_bytes() for path in files(tmp_path)}
        house.link.heal()
        for _ in range(2):
            other = await house.join(spool=tmp_path)
            await eventually(lambda: not files(tmp_path), "the spool to be written")
            assert await house.balance() == Balance(7 + 15 + 30, 0, 7 + 15 + 30, 0)
            assert await state_of(other, "req_1") is CallState.SETTLED
            assert await state_of(other, "req_2") is CallState.IN_DOUBT
            # As if it had died before it could delete the file: the same again changes nothing.
            for path, data in kept.items():
                path.write_bytes(data)

    @pytest.mark.parametrize("code", ["53100", "25006", "57P01", "XX000"])
    async def test_a_database_that_refuses_to_write_is_tried_again(self, house: House, code: str) -> None:
        """53100: its disk is full. 25006: it became a standby. 57P01: it shuts down. XX000: it is damaged."""
        gateway = await house.join()
        await gateway.admit("req_1", hold(10, 100))
        await postgres.rows(
            house.database,
            f"CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '{code}'; END $$",
        )
        await postgres.rows(
            house.database,
            "CREATE TRIGGER refuse BEFORE INSERT ON journal FOR EACH ROW EXECUTE FUNCTION refuse()",
        )
        gateway.till.settle("req_1", 7)
        gateway.till.reserve("req_2", hold(5, 100))
        await is_down(gateway)
        await postgres.rows(house.database, "DROP TRIGGER refuse ON journal")
        await gateway.till.flush()
        await is_up(gateway)
        await gateway.settle_slices()
        assert await house.balance() == Balance(7, 0, 7, 0)
        await assert_books_agree(gateway.till)

    async def test_a_database_that_hangs_counts_as_out_of_reach(
        self, house: House, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("palyra.store.postgres.link.STATEMENT_S", 0.5)
        gateway = await house.join(linked=True)
        await gateway.admit("req_1", hold(10, 100))
        house.link.freeze()
        gateway.till.reserve("req_2", hold(5, 100))
        await is_down(gateway)
        await eventually(lambda: gateway.till.waiting == 0, "the refusal")
        assert isinstance(gateway.till.told[-1].error, LedgerUnavailable)
        gateway.till.settle("req_1", 7)
        house.link.heal()
        await gateway.till.flush()
        await eventually(lambda: not gateway.store.ledger.pending(), "the end of what was in doubt")
        await gateway.settle_slices()
        assert await house.balance() == Balance(7, 0, 7, 0)
        await assert_books_agree(gateway.till)

    async def test_one_write_that_cannot_be_stored_fails_alone(self, house: House) -> None:
        gateway = await house.join()
        gateway.till.reserve("req_1", hold(10, 100))
        gateway.till.reserve("req_2", hold(2**62, None, account("huge")))
        gateway.till.reserve("req_3", hold(2**62, None, account("huge")))
        gateway.till.reserve("req_4", hold(10, 100))
        await gateway.till.flush()
        failed = [each.request_id for each in gateway.till.told if each.error is not None]
        assert failed == ["req_3"]
        assert (await house.balance()).held == 20

    async def test_a_bug_in_a_commit_loses_no_settlement_and_leaves_nobody_waiting(
        self, house: House, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        gateway = await house.join()
        await gateway.admit("req_1", hold(10, 100))
        with monkeypatch.context() as broken:
            broken.setattr("palyra.store.postgres.writer.entries_of", None)
            gateway.till.settle("req_1", 7)
            gateway.till.reserve("req_2", hold(5, 100))
            await is_down(gateway)
        await gateway.till.flush()
        assert [each.request_id for each in gateway.till.told if each.error is not None] == ["req_2"]
        await gateway.settle_slices()
        assert await house.balance() == Balance(7, 0, 7, 0)
        await assert_books_agree(gateway.till)


class TestDeclaredDead:
    async def test_what_a_dead_gateway_left_is_in_doubt_and_its_slices_come_back(self, house: House) -> None:
        first, second = await house.join(), await house.join()
        await first.admit("req_1", hold(10, 100))
        await first.admit("req_2", hold(20, 100))
        first.till.settle("req_2", 5)
        await first.till.flush()
        await first.kill()
        assert await second.store.end_the_dead() == 0
        await first.let_lease_end()
        assert await second.store.end_the_dead() == 1
        assert await house.balance() == Balance(15, 0, 15, 0)
        assert await state_of(second, "req_1") is CallState.IN_DOUBT
        assert (await house.join()).store.in_doubt == 1
        assert await second.admit("req_3", hold(85, 100))
        assert not await second.admit("req_4", hold(1, 100))
        assert await server_balances(house.database) == await replayed_balances(second.till)

    async def test_a_gateway_that_was_stopped_for_too_long_refuses_and_starts_anew(
        self, house: House
    ) -> None:
        first, second = await house.join(linked=True), await house.join()
        await first.admit("req_1", hold(10, 100))
        former = first.node
        house.link.freeze()
        await first.let_lease_end()
        assert await second.store.end_the_dead() == 1
        assert await second.admit("req_2", hold(90, 100))
        house.link.heal()
        first.till.reserve("req_3", hold(50, 100))
        await first.till.flush()
        assert isinstance(first.till.told[-1].error, LedgerUnavailable)
        await eventually(lambda: first.store.writable and first.node != former, "a new beginning")
        assert not await first.admit("req_4", hold(1, 100))
        first.till.settle("req_1", 4)
        await first.till.flush()
        assert await house.balance() == Balance(4, 90, 4, 90)
        stored = await second.store.records.decision("req_1")
        assert stored is not None
        assert stored.settlement is not None
        assert (stored.state, stored.settlement.late) == (CallState.SETTLED, True)
        assert await first.admit("req_5", hold(6, 100))
        assert await server_balances(house.database) == await replayed_balances(second.till)

    async def test_a_settlement_under_way_when_it_was_declared_dead_is_not_lost(self, house: House) -> None:
        first, second = await house.join(linked=True), await house.join()
        await first.admit("req_1", hold(10, 100))
        house.link.freeze()
        first.till.settle("req_1", 4)
        await first.let_lease_end()
        assert await second.store.end_the_dead() == 1
        house.link.heal()
        await first.till.flush()
        assert first.till.told[-1].error is None
        assert await house.balance() == Balance(4, 0, 4, 0)

    async def test_two_that_find_a_dead_gateway_end_it_once(self, house: House) -> None:
        first = await house.join()
        await first.admit("req_1", hold(10, 100))
        await first.kill()
        await first.let_lease_end()
        finders = [await house.join() for _ in range(3)]
        ended = await asyncio.gather(*(finder.store.end_the_dead() for finder in finders))
        assert sum(ended) == 1
        assert await house.balance() == Balance(10, 0, 10, 0)


class TestLostCommits:
    async def test_what_an_older_database_does_not_know_is_written_again(self, house: House) -> None:
        """As after a failover to a standby that lacks the last commits."""
        gateway = await house.join()
        assert await gateway.admit("req_1", hold(10, 100))
        former = gateway.node
        for statement in (
            "DELETE FROM journal",
            "DELETE FROM documents",
            "UPDATE slices SET granted = 0, held = 0, shadow_held = 0",
            "UPDATE accounts SET claimed = 0",
            "UPDATE nodes SET next_seq = 1, next_page = 1",
            DISCONNECT_ALL,
        ):
            await postgres.rows(house.database, statement)
        await eventually(lambda: gateway.store.writable and gateway.node != former, "a new beginning")
        gateway.till.settle("req_1", 7)
        await gateway.till.flush()
        assert gateway.till.told[-1].error is None
        assert await house.balance() == Balance(7, 0, 7, 0)
        assert await state_of(gateway, "req_1") is CallState.SETTLED
        assert await server_balances(house.database) == await replayed_balances(gateway.till)


class TestSpoolThatFails:
    async def test_soft_calls_are_refused_when_the_spool_cannot_be_written(
        self, house: House, tmp_path: Path
    ) -> None:
        (tmp_path / "file").write_text("no folder")
        gateway = await house.join(linked=True, spool=tmp_path / "file")
        await gateway.admit("req_1", hold(10, 100))
        house.link.cut()
        await is_down(gateway)
        gateway.till.reserve("req_2", hold(20))
        gateway.till.settle("req_1", 7)
        await eventually(lambda: gateway.till.waiting == 1, "the refusal")
        assert isinstance(gateway.till.told[-1].error, LedgerUnavailable)
        with pytest.raises(LedgerUnavailable):
            gateway.till.reserve("req_3", hold(20))
        house.link.heal()
        await gateway.till.flush()
        await gateway.settle_slices()
        assert await house.balance() == Balance(7, 0, 7, 0)
        await assert_books_agree(gateway.till)


class TestSlices:
    async def test_a_gateway_gives_back_what_it_does_not_need_before_another_refuses(
        self, house: House
    ) -> None:
        first, second = await house.join(), await house.join()
        for number in range(200):
            assert await first.admit(f"req_{number}", hold(1, 1_000))
        status = (await second.store.records.accounts("daily"))[0]
        assert status.sliced > 0
        for number in range(800):
            assert await second.admit(f"more_{number}", hold(1, 1_000))
        assert not await second.admit("last", hold(1, 1_000))
        assert not await first.admit("last_too", hold(1, 1_000))
        assert (await second.store.records.accounts("daily"))[0].sliced == 0

    async def test_an_idle_gateway_gives_its_slices_back_by_itself(self, house: House) -> None:
        first, second = await house.join(), await house.join()
        for number in range(200):
            assert await first.admit(f"req_{number}", hold(1, 100_000))
        assert (await second.store.records.accounts("daily"))[0].sliced > 0
        async with asyncio.timeout(20):
            while (await second.store.records.accounts("daily"))[0].sliced:  # noqa: ASYNC110
                await asyncio.sleep(0.1)

    async def test_a_gateway_that_leaves_takes_no_slice_with_it(self, house: House) -> None:
        first, second = await house.join(), await house.join()
        for number in range(200):
            assert await first.admit(f"req_{number}", hold(1, 100_000))
            first.till.settle(f"req_{number}", 1)
        await first.till.flush()
        await first.store.close()
        assert (await second.store.records.accounts("daily"))[0].sliced == 0
        assert await postgres.rows(house.database, "SELECT id FROM nodes WHERE is_open") == [(second.node,)]

    async def test_a_hot_account_costs_few_round_trips(self, house: House) -> None:
        gateway = await house.join()
        for number in range(20):
            for place in range(64):
                gateway.till.reserve(f"req_{number}_{place}", hold(1, 10**9))
            await gateway.till.flush()
            for place in range(64):
                gateway.till.settle(f"req_{number}_{place}", 1)
            await gateway.till.flush()
        assert gateway.store.commits / (20 * 64) < 0.1
        await assert_books_agree(gateway.till)


class TestAddresses:
    @pytest.mark.parametrize("parameters", ["?sslmode=prefer&application_name=mine", ""])
    async def test_parameters_of_the_url_are_for_every_connection(self, parameters: str) -> None:
        url = postgres.new_database(empty=True) + parameters
        gateway = await join(url, FakeClock())
        assert await gateway.admit("req_1", hold(1, 1))
        assert len(await gateway.store.records.decisions(DecisionFilter())) == 1
        await gateway.store.close()

    async def test_of_several_hosts_the_one_that_answers_is_used(self) -> None:
        url = postgres.new_database()
        several = url.replace("@127.0.0.1:", "@127.0.0.1:1,127.0.0.1:")
        gateway = await join(url, FakeClock(), over=several)
        assert await gateway.admit("req_1", hold(1, 1))
        assert len(await gateway.store.records.decisions(DecisionFilter())) == 1
        await gateway.store.close()


class TestMonths:
    async def test_a_reader_of_the_journal_puts_off_a_month_and_stops_no_call(self, house: House) -> None:
        gateway = await house.join()
        reader = await asyncpg.connect(house.database)
        try:
            async with reader.transaction():
                await reader.fetch("SELECT * FROM journal")
                house.clock.advance(400 * 24 * 3600)
                dropping = asyncio.create_task(gateway.store.drop_old_months(1))
                assert await gateway.admit("req_1", hold(1, 100))
                with pytest.raises(asyncpg.LockNotAvailableError):
                    await dropping
                late = await house.join()
                assert await late.admit("req_2", hold(1, 100))
        finally:
            await reader.close()
        assert await gateway.store.drop_old_months(1)

    async def test_rows_outside_of_all_months_stop_no_start(self, house: House) -> None:
        gateway = await house.join()
        house.clock.advance(400 * 24 * 3600)
        assert await gateway.admit("req_1", hold(1, 100))
        late = await house.join()
        assert await late.admit("req_2", hold(1, 100))
        assert await server_balances(house.database) == await replayed_balances(late.till)


class TestIdempotency:
    async def test_a_key_whose_call_ended_here_is_finished_before_that_is_stored(self, house: House) -> None:
        gateway = await house.join(linked=True)
        claim = IdempotencyClaim("alice", "key-1", b"\x01" * 32)
        gateway.till.reserve("req_1", hold(10, 100), claim=claim)
        await gateway.till.flush()
        stored = await postgres.rows(
            house.database, "SELECT request_id, fingerprint, finished FROM idempotency"
        )
        gateway.till.settle("req_1", 7)
        await told(gateway.store.others.look_up(claim))
        entry = gateway.store.records.idempotency("alice", "key-1")
        assert stored == [("req_1", claim.fingerprint.hex(), 0)]
        assert entry is not None
        assert (entry.request_id, entry.finished) == ("req_1", True)
