"""An export is the journal, and no change of it goes unseen: not by chance, not by hand (G3)."""

import base64
import hashlib
import io
import json
import sqlite3
import tracemalloc
import zlib
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random
from types import MappingProxyType
from typing import Any

import pytest

from fakes.gateways import join
from fakes.records import NOON, FakeClock
from fakes.stored import alert, approval, granted, notice, resolved, seen
from fakes.till import Till, account, decision, hold
from harness import postgres
from palyra.budgets.policy import Policy, PolicyDefaults, parse_policy
from palyra.core.instant import NANOSECONDS, Instant
from palyra.core.invariant import InvariantViolation
from palyra.core.secret import Secret
from palyra.identity.keys import ApiKey, Role
from palyra.lifecycle.configured import journal_configuration
from palyra.lifecycle.ports import AuditEntry
from palyra.store import codec
from palyra.store.export import (
    LINE_BYTES_MAX,
    Contents,
    ExportFlaw,
    Request,
    check_export,
    export_file,
    read_heads,
)
from palyra.store.page import Packer, link
from palyra.store.postgres.export import export_shared
from palyra.store.postgres.revision import DatabaseUnreachable, WrongRevision
from palyra.store.postgres.verify import verify_shared
from palyra.store.restore import verify

MUTATIONS = 10_000
AGENT = account("per-agent", "nightly", "total_tokens")
DAY_S = 24 * 3600
REQUEST = Request("palyra.db", Instant(NOON + 5))
WINDOW_BITS = -15


def policy(version: int, hard_limit: str) -> Policy:
    document = {"id": "daily", "scope": "global", "metric": "cost_usd", "interval": "day"}
    return parse_policy(
        {**document, "hard_limit": hard_limit},
        defaults=PolicyDefaults(),
        version=version,
        actor="key-1",
        origin="api",
    )


def key(revoked_at: Instant | None = None) -> ApiKey:
    return ApiKey(
        id="key-7",
        sha256="ab" * 32,
        prefix="sk-palyra-AbCd",
        principal="alice",
        agent=None,
        roles=frozenset({Role.CALLER}),
        models=("stub-*",),
        tags=MappingProxyType({"team": 'größe ☃ \\ " \u2028'}),
        created_at=NOON,
        created_by="key-1",
        revoked_at=revoked_at,
        origin="api",
    )


def entry(kind: str, ref: str, before: object, after: object) -> AuditEntry:
    return AuditEntry(kind, ref, "key-1", plain(before), plain(after))


def plain(value: object) -> Any:
    return None if value is None else json.loads(codec.encode(value))


async def worked(path: Path) -> Path:
    """A file with every kind of record, on some days."""
    till = Till.on_disk(path)
    records = till.store.records
    await records.save_policy(policy(1, "5.00"), entry("policy.created", "daily", None, {"hard_limit": "5"}))
    await records.save_key(key(), entry("key.created", "key-7", None, key()))
    for number in range(6):
        till.reserve(f"req_{number}", hold(100, 10_000), hold(30, None, AGENT))
    await till.flush()
    for number in range(4):
        till.settle(f"req_{number}", 60 + number)
        await till.flush()
    till.release("req_4")
    till.expire("req_5", cost=100)
    await till.flush()
    till.clock.advance(DAY_S // 4)
    records.record_denial(decision("req_6", outcome="deny"))
    till.reserve("req_7", hold(100, 10_000, shadow=-1))
    await till.flush()
    till.settle("req_5", 80)
    await till.flush()
    await records.save_policy(
        policy(2, "6.00"), entry("policy.updated", "daily", {"hard_limit": "5"}, {"hard_limit": "6"})
    )
    await records.delete_policy("daily", entry("policy.deleted", "daily", {"hard_limit": "6"}, None))
    await records.save_key(replace(key(), revoked_at=NOON), entry("key.revoked", "key-7", key(), key(NOON)))
    await decided(till)
    await journal_configuration(
        records, {"policy/file": {"hard_limit": "5"}, "price/p/m": {"input": "1"}}, "config"
    )
    await journal_configuration(records, {"policy/file": {"hard_limit": "6"}}, "config")
    till.close()
    return path


async def decided(till: Till) -> None:
    """People decide on an approval and look at an alert."""
    records = till.store.records
    asked, raised = approval(), alert()
    await records.save_approval(asked, entry("approval.requested", asked.id, None, asked))
    await records.save_approval(granted(asked), entry("approval.approved", asked.id, asked, granted(asked)))
    await records.save_alert(raised, [notice()], entry("alert.raised", raised.id, None, raised))
    await records.save_alert(seen(raised), [], entry("alert.acknowledged", raised.id, raised, seen(raised)))
    over = resolved(seen(raised))
    await records.save_alert(over, [], entry("alert.resolved", raised.id, seen(raised), over))


def exported(path: Path, since: Instant | None = None) -> tuple[Contents, bytes]:
    out = io.BytesIO()
    contents = export_file(path, REQUEST._replace(since=since), out.write)
    return contents, out.getvalue()


def checked(text: bytes, recorded: dict[int, str] | None = None) -> Contents:
    return check_export(io.BytesIO(text), recorded)


def flaw_of(text: bytes, recorded: dict[int, str] | None = None) -> ExportFlaw:
    with pytest.raises(ExportFlaw) as caught:
        checked(text, recorded)
    assert str(caught.value).startswith(f"line {caught.value.line}")
    return caught.value


def documents(text: bytes) -> list[Any]:
    return [json.loads(line) for line in text.splitlines()]


def written(lines: list[Any]) -> bytes:
    """Lines as an export has them, with a first line that is sealed."""
    header = {**lines[0], "sha256": ""}
    sealed = {**header, "sha256": hashlib.sha256(compact(header)).hexdigest()}
    return b"".join(map(compact, [sealed, *lines[1:]]))


def compact(document: Any) -> bytes:
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


class TestExport:
    async def test_it_is_the_journal_as_it_stands(self, tmp_path: Path) -> None:
        path = await worked(tmp_path / "palyra.db")
        contents, text = exported(path)
        header, *pages, end = documents(text)
        connection = sqlite3.connect(path)
        rows = connection.execute(
            "SELECT seq, records, at, open_from, documents, chain, body FROM journal ORDER BY seq"
        ).fetchall()
        connection.close()
        names = ("seq", "records", "at_ns", "open_from", "documents")
        assert [
            (*(page[name] for name in names), bytes.fromhex(page["chain"]), base64.b64decode(page["body"]))
            for page in pages
        ] == rows
        assert {page["node"] for page in pages} == {0}
        assert (pages[0]["at"], pages[-1]["at"]) == ("2026-11-23T12:00:00Z", "2026-11-23T18:00:00Z")
        audit = verify(path)
        assert header["journals"] == [
            {"node": 0, "first": 1, "last": audit.records, "after": "", "head": audit.head}
        ]
        assert (header["database"], header["kind"], header["since"]) == ("palyra.db", "sqlite", None)
        assert end == {"pages": len(rows), "records": audit.records, "heads": {"0": audit.head}}
        assert (contents.head, contents.pages) == (audit.head, len(rows))
        assert checked(text, read_heads(audit.head)) == contents

    async def test_every_kind_of_record_can_be_read_in_it(self, tmp_path: Path) -> None:
        _, text = exported(await worked(tmp_path / "palyra.db"))
        entries = [entry for page in documents(text)[1:-1] for entry in page["entries"]]
        assert {each[0] for each in entries} == {"reserve", "settle", "release", "expire", "audit"}
        assert [(each[1], each[2], each[4]) for each in entries if each[0] == "audit"] == [
            ("policy.created", "daily", "key-1"),
            ("key.created", "key-7", "key-1"),
            ("policy.updated", "daily", "key-1"),
            ("policy.deleted", "daily", "key-1"),
            ("key.revoked", "key-7", "key-1"),
            ("approval.requested", "apr_1", "key-1"),
            ("approval.approved", "apr_1", "key-1"),
            ("alert.raised", "alr_1", "key-1"),
            ("alert.acknowledged", "alr_1", "key-1"),
            ("alert.resolved", "alr_1", "key-1"),
            ("policy.created", "file", "config"),
            ("price.created", "p/m", "config"),
            ("policy.updated", "file", "config"),
            ("price.deleted", "p/m", "config"),
        ]
        assert len(entries) == documents(text)[0]["records"]

    async def test_an_auditor_can_check_it_with_little_code(self, tmp_path: Path) -> None:
        """What the page for auditors says, without Palyra."""
        contents, text = exported(await worked(tmp_path / "palyra.db"))
        header, *pages, _ = documents(text)
        chain = bytes.fromhex(header["journals"][0]["after"])
        for page in pages:
            body = base64.b64decode(page["body"])
            numbers = [page[name] for name in ("seq", "records", "at_ns", "open_from", "documents")]
            head = " ".join(map(str, [*numbers, len(body)])).encode() + b"\n"
            chain = hashlib.sha256(chain + head + body).digest()
            assert chain.hex() == page["chain"]
            lines = zlib.decompressobj(WINDOW_BITS).decompress(body).split(b"\n")
            assert [json.loads(line) for line in lines] == page["entries"]
        assert chain.hex() == contents.head

    async def test_of_an_empty_journal(self, tmp_path: Path) -> None:
        Till.on_disk(tmp_path / "palyra.db").close()
        contents, text = exported(tmp_path / "palyra.db")
        assert (contents.head, contents.pages, contents.header.records) == ("", 0, 0)
        assert checked(text, read_heads("none yet")) == contents
        assert flaw_of(text, {0: "ab" * 32}).line == 2

    async def test_since_an_instant(self, tmp_path: Path) -> None:
        path = await worked(tmp_path / "palyra.db")
        whole, text = exported(path)
        later = Instant(NOON + 3600 * NANOSECONDS)
        part, cut = exported(path, later)
        assert part.head == whole.head
        assert documents(cut)[1:-1] == [page for page in documents(text)[1:-1] if page["at_ns"] >= later]
        assert 0 < part.pages < whole.pages
        assert documents(cut)[0]["since"] == "2026-11-23T13:00:00Z"
        assert checked(cut, read_heads(whole.head)) == part
        assert exported(path, NOON)[0].pages == whole.pages
        nothing, end = exported(path, Instant(NOON + 9 * DAY_S * NANOSECONDS))
        assert (nothing.pages, nothing.head) == (0, whole.head)
        assert checked(end, read_heads(whole.head)) == nothing

    async def test_behind_the_head_of_an_older_format(self, tmp_path: Path) -> None:
        """Page 0 has no record: the first page is chained to its hash."""
        path, head = await worked(tmp_path / "palyra.db"), b"\x07" * 32
        connection = sqlite3.connect(path)
        with connection:
            chain = head
            rows = connection.execute("SELECT * FROM journal ORDER BY seq").fetchall()
            for seq, records, at, open_from, page, body, _ in rows:
                chain = link(chain, seq, records, at, open_from, page, body)
                connection.execute("UPDATE journal SET chain = ? WHERE seq = ?", (chain, seq))
            connection.execute("INSERT INTO journal VALUES (0, 0, 0, 1, 0, x'', ?)", (head,))
        connection.close()
        contents, text = exported(path)
        assert (contents.header.journals[0].first, contents.header.journals[0].after) == (1, head.hex())
        assert checked(text, read_heads(verify(path).head)) == contents

    @pytest.mark.parametrize(
        "edit",
        [
            "UPDATE journal SET at = at + 1 WHERE seq = (SELECT max(seq) FROM journal WHERE seq < 8)",
            "DELETE FROM journal WHERE seq = 1",
            "UPDATE journal SET chain = x'00' WHERE seq = (SELECT max(seq) FROM journal)",
            "UPDATE journal SET records = 0 WHERE seq = 2",
        ],
    )
    async def test_a_journal_that_does_not_hold_is_not_exported(self, tmp_path: Path, edit: str) -> None:
        path = await worked(tmp_path / "palyra.db")
        connection = sqlite3.connect(path)
        with connection:
            connection.execute(edit)
        connection.close()
        out = io.BytesIO()
        with pytest.raises(InvariantViolation, match="G3: journal record"):
            export_file(path, REQUEST, out.write)
        flaw_of(out.getvalue())

    async def test_a_body_that_nobody_can_read_is_not_exported(self, tmp_path: Path) -> None:
        path = await worked(tmp_path / "palyra.db")
        connection = sqlite3.connect(path)
        with connection:
            chain = link(b"", 1, 1, 5, 1, 0, b"\xff\xff")
            connection.execute("DELETE FROM journal")
            connection.execute("INSERT INTO journal VALUES (1, 1, 5, 1, 0, x'ffff', ?)", (chain,))
        connection.close()
        with pytest.raises(InvariantViolation, match="record 1 cannot be read"):
            exported(path)

    async def test_it_says_how_far_it_is(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = await worked(tmp_path / "palyra.db")
        monkeypatch.setattr("palyra.store.export.RECORDS_PER_WORD", 1)
        monkeypatch.setattr("palyra.store.export._BYTES_PER_WORD", 1)
        seen: list[tuple[int, int]] = []
        out = io.BytesIO()
        contents = export_file(path, REQUEST, out.write, lambda done, total: seen.append((done, total)))
        total = contents.header.records
        assert len(seen) == contents.pages
        assert seen[-1] == (total, total)
        read: list[int] = []
        out.seek(0)
        check_export(out, None, read.append)
        assert read[-1] == len(out.getvalue())


def flip(text: bytes, random: Random) -> bytes:
    place = random.randrange(len(text))
    changed = bytearray(text)
    changed[place] ^= 1 << random.randrange(8)
    return bytes(changed)


def digit(text: bytes, random: Random) -> bytes:
    """Another digit in the entries of a page: the amount of a call, say."""
    lines = text.splitlines(keepends=True)
    line = random.randrange(1, len(lines) - 1)
    start = sum(map(len, lines[:line]))
    begins = text.index(b'"entries":', start) + 10
    digits = [at for at in range(begins, start + len(lines[line])) if chr(text[at]) in "0123456789"]
    place = random.choice(digits)
    other = random.choice([each for each in b"0123456789" if each != text[place]])
    return text[:place] + bytes([other]) + text[place + 1 :]


def delete(text: bytes, random: Random) -> bytes:
    lines = text.splitlines(keepends=True)
    line = random.randrange(len(lines))
    return b"".join(lines[:line] + lines[line + 1 :])


def swap(text: bytes, random: Random) -> bytes:
    lines = text.splitlines(keepends=True)
    first, second = sorted(random.sample(range(len(lines)), 2))
    lines[first], lines[second] = lines[second], lines[first]
    return b"".join(lines)


def duplicate(text: bytes, random: Random) -> bytes:
    lines = text.splitlines(keepends=True)
    lines.insert(random.randrange(len(lines)) + 1, random.choice(lines))
    return b"".join(lines)


def insert(text: bytes, random: Random) -> bytes:
    place = random.randrange(len(text) + 1)
    more = random.choice([b"\n", b" ", b"0", b"{}\n", b"\x00", b"\xff", b'"', b",", random.randbytes(9)])
    return text[:place] + more + text[place:]


def cut_lines(text: bytes, random: Random) -> bytes:
    lines = text.splitlines(keepends=True)
    return b"".join(lines[: random.randrange(len(lines))])


def cut_inside(text: bytes, random: Random) -> bytes:
    return text[: random.randrange(len(text))]


def end_early(text: bytes, random: Random) -> bytes:
    """Cut between two pages, and another last line that agrees with what is left."""
    lines = documents(text)
    kept = random.randrange(1, len(lines) - 1)
    last: dict[str, Any] = lines[kept - 1] if kept > 1 else {"seq": 1, "records": 0, "chain": ""}
    count = last["seq"] + last["records"] - 1
    end = {"pages": kept - 1, "records": count, "heads": {"0": last["chain"]}}
    return b"".join([*text.splitlines(keepends=True)[:kept], compact(end)])


def field(text: bytes, random: Random) -> bytes:
    """A field of a line is another number, is gone, or is there twice."""
    lines = text.splitlines(keepends=True)
    line = random.randrange(len(lines))
    document = json.loads(lines[line])
    name = random.choice(list(document))
    if random.randrange(3) == 0:
        changed = lines[line].replace(b"{", b"{" + compact({name: 1})[1:-2] + b",", 1)
    elif random.randrange(2):
        changed = compact({each: value for each, value in document.items() if each != name})
    else:
        wrong: list[Any] = [-1, 0, 2**64, 10**5000, 1.5, "x", None, [], {}, True]
        values = [each for each in wrong if each != document[name] or isinstance(each, bool)]
        try:
            changed = compact({**document, name: random.choice(values)})
        except ValueError:  # Python does not write such a number; JSON has it
            changed = compact({**document, name: "huge"}).replace(b'"huge"', b"1" + b"0" * 5000)
    return b"".join([*lines[:line], changed, *lines[line + 1 :]])


def alike(one: bytes, other: bytes) -> int:
    """How many bytes they begin with are the same."""
    sizes = range(1, min(len(one), len(other)) + 1)
    return bisect_left(sizes, True, key=lambda size: one[:size] != other[:size])


CHANGES = (flip, digit, delete, swap, duplicate, insert, cut_lines, cut_inside, end_early, field)


class TestCheck:
    async def test_ten_thousand_changes_are_found_where_they_are(self, tmp_path: Path) -> None:
        _, text = exported(await worked(tmp_path / "palyra.db"))
        random, made = Random(20261123), 0
        while made < MUTATIONS:
            change: Callable[[bytes, Random], bytes] = CHANGES[made % len(CHANGES)]
            changed = change(text, random)
            if changed == text:
                continue
            made += 1
            damaged = text.count(b"\n", 0, alike(text, changed)) + 1
            with pytest.raises(ExportFlaw, match=r"^line \d+") as caught:
                checked(changed)
            assert caught.value.line == damaged, f"{change.__name__} in line {damaged}: {caught.value}"

    async def test_a_cut_that_was_made_with_care_is_found_by_the_recorded_head(self, tmp_path: Path) -> None:
        """Whoever rewrites the first and the last line has a whole export of a shorter journal."""
        whole, text = exported(await worked(tmp_path / "palyra.db"))
        header, *pages, _ = documents(text)
        for kept in range(len(pages)):
            last: dict[str, Any] = pages[kept - 1] if kept else {"seq": 1, "records": 0, "chain": ""}
            count = last["seq"] + last["records"] - 1
            journal = {**header["journals"][0], "last": count, "head": last["chain"]}
            end = {"pages": kept, "records": count, "heads": {"0": last["chain"]}}
            short = written([{**header, "records": count, "journals": [journal]}, *pages[:kept], end])
            assert checked(short).head == last["chain"]
            flaw = flaw_of(short, read_heads(whole.head))
            assert flaw.line == kept + 2
            assert ("cut" in str(flaw)) if kept else ("is missing" in str(flaw))

    async def test_a_head_of_the_past_is_told_from_a_cut(self, tmp_path: Path) -> None:
        _, text = exported(await worked(tmp_path / "palyra.db"))
        page = documents(text)[2]
        flaw = flaw_of(text, {0: page["chain"]})
        assert f"that of record {page['seq'] + page['records'] - 1}: the journal goes on" in str(flaw)

    async def test_heads_of_other_nodes(self, tmp_path: Path) -> None:
        contents, text = exported(await worked(tmp_path / "palyra.db"))
        assert "node 3 is missing" in str(flaw_of(text, {0: contents.head, 3: "ab" * 32}))
        assert "no head of this node" in str(flaw_of(text, {}))

    async def test_pages_that_were_made_anew_hold_only_without_the_recorded_head(
        self, tmp_path: Path
    ) -> None:
        """A chain proves nothing against whoever can write all of it: that is what the head is kept for."""
        whole, text = exported(await worked(tmp_path / "palyra.db"))
        forged = forge(text, lambda records: [each.replace(b'"alice"', b'"mallo"') for each in records])
        assert checked(forged).head != whole.head
        assert "not with the recorded head" in str(flaw_of(forged, read_heads(whole.head)))

    @pytest.mark.parametrize(
        ("more", "told"),
        [
            (b'["gift","req_1"]', "no known kind"),
            (b"", "no page of a journal|no known kind"),
            (b"[" * 100_000, "no page of a journal"),
            (b'["audit","k","r",5,"a",null,{"x":' + b"[" * 90_000, "no page of a journal"),
            (b'["audit","k","r",5,"a",null,{"x":' + b"[" * 90_000 + b"]" * 90_000 + b"}]", "no "),
            (b'["release","a",' + b"9" * 9_000 + b',"b"]', "no known kind"),
            (b'["release","\xff",5,"b"]', "no page of a journal|no known kind"),
        ],
    )
    async def test_a_record_of_no_known_kind_is_a_flaw(self, tmp_path: Path, more: bytes, told: str) -> None:
        _, text = exported(await worked(tmp_path / "palyra.db"))
        with pytest.raises(ExportFlaw, match=told) as caught:
            checked(forge(text, lambda records: [*records, more]))
        assert (caught.value.line, caught.value.node, caught.value.seq) == (2, 0, 1)

    async def test_a_body_that_blows_up_is_not_unpacked(self, tmp_path: Path) -> None:
        _, text = exported(await worked(tmp_path / "palyra.db"))
        bomb = Packer().pack([b"\0" * (200 * 1024 * 1024)])
        header, page, *rest = documents(text)
        chain = link(
            b"", page["seq"], page["records"], page["at_ns"], page["open_from"], page["documents"], bomb
        )
        page |= {"body": base64.b64encode(bomb).decode(), "chain": chain.hex()}
        changed = written([header, page, *rest])
        tracemalloc.start()
        flaw = flaw_of(changed)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert "entries are not what the body says" in str(flaw)
        assert peak < 20 * 1024 * 1024

    @pytest.mark.parametrize("start", [b"", b"{", b"[" * 1_000_000, b'{"a":' * 1_000_000, b'"\\u'])
    async def test_a_line_without_end_is_not_read_whole(self, tmp_path: Path, start: bytes) -> None:
        path = tmp_path / "endless"
        path.write_bytes(start)
        with path.open("r+b") as file:
            file.truncate(40 * LINE_BYTES_MAX)
        tracemalloc.start()
        with path.open("rb") as file, pytest.raises(ExportFlaw, match="line 1: the line is longer"):
            check_export(file)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 3 * LINE_BYTES_MAX

    @pytest.mark.parametrize(
        "line",
        [
            b"",
            b"\n",
            b"null\n",
            b"{}\n",
            b"[]\n",
            b"\xff\xfe\n",
            b"[" * 1_000_000 + b"\n",
            b'{"palyra_audit_export":' * 200_000 + b"\n",
            b'{"palyra_audit_export":2}\n',
            b'{"palyra_audit_export":1,"journals":' + b"[" * 500_000 + b"\n",
            b"9" * 100_000 + b"\n",
            b"SQLite format 3\x00" * 10,
        ],
    )
    def test_what_is_no_export_is_a_flaw_of_its_first_line(self, line: bytes) -> None:
        assert flaw_of(line).line == 1

    @pytest.mark.parametrize("line", [b"[" * 1_000_000, b'{"entries":' + b"[" * 1_000_000, b"9" * 100_000])
    async def test_nonsense_in_the_place_of_a_page(self, tmp_path: Path, line: bytes) -> None:
        _, text = exported(await worked(tmp_path / "palyra.db"))
        header, *_ = text.splitlines(keepends=True)
        flaw = flaw_of(header + line + b"\n")
        assert (flaw.line, flaw.node, flaw.seq) == (2, 0, 1)

    async def test_a_first_line_that_does_not_add_up(self, tmp_path: Path) -> None:
        _, text = exported(await worked(tmp_path / "palyra.db"))
        header, *rest = documents(text)
        (journal,) = header["journals"]
        wrong: list[dict[str, Any]] = [
            {"records": header["records"] + 1},
            {"journals": [journal, journal], "records": 2 * header["records"]},
            {"journals": [{**journal, "node": 2}, {**journal, "node": 1}], "records": 2 * header["records"]},
            {"journals": [{**journal, "first": journal["last"] + 5}], "records": 0},
        ]
        for each in wrong:
            assert "does not add up" in str(flaw_of(written([{**header, **each}, *rest])))
        for each in ({"database": 5}, {"palyra_audit_export": 2}, {"kind": "oracle"}, {"more": 1}):
            assert "not the first line" in str(flaw_of(written([{**header, **each}, *rest])))
        for each in (
            {"journals": [{**journal, "head": "AB" * 32}]},
            {"journals": [{**journal, "head": journal["head"] + "\n"}]},
        ):
            assert flaw_of(written([{**header, **each}, *rest])).line == 1
        for each in (
            {"journals": [{**journal, "head": "ab" * 32}]},
            {"journals": [{**journal, "after": "ab" * 32}]},
        ):
            assert flaw_of(written([{**header, **each}, *rest])).line > 1

    async def test_a_page_that_goes_on_behind_the_end(self, tmp_path: Path) -> None:
        _, text = exported(await worked(tmp_path / "palyra.db"))
        header, *pages, end = documents(text)
        page = next(each for each in pages if each["records"] > 2)
        last = page["seq"]
        journal = {**header["journals"][0], "last": last}
        changed = written([{**header, "records": last, "journals": [journal]}, *pages, end])
        assert f"goes on behind record {last}" in str(flaw_of(changed))


def forge(text: bytes, made: Callable[[list[bytes]], list[bytes]]) -> bytes:
    """An export whose pages have other records, with chains and counts that agree."""
    header, *pages, _ = documents(text)
    seq, chain, lines = 1, b"", list[bytes]()
    for page in pages:
        records = made(
            zlib.decompressobj(WINDOW_BITS).decompress(base64.b64decode(page["body"])).split(b"\n")
        )
        body = Packer().pack(records)
        numbers = (seq, len(records), page["at_ns"], page["open_from"], page["documents"])
        chain = link(chain, *numbers, body)
        page |= {"seq": seq, "records": len(records), "chain": chain.hex()}
        page |= {"body": base64.b64encode(body).decode(), "entries": "here"}
        lines.append(compact(page).replace(b'"here"', b"[" + b",".join(records) + b"]"))
        seq += len(records)
    journal = {**header["journals"][0], "last": seq - 1, "head": chain.hex()}
    first = written([{**header, "records": seq - 1, "journals": [journal]}])
    end = {"pages": len(pages), "records": seq - 1, "heads": {"0": chain.hex()}}
    return b"".join([first, *lines, compact(end)])


class TestShared:
    async def test_all_gateways_in_one_file_while_they_run(self, tmp_path: Path) -> None:
        database = postgres.new_database()
        clock = FakeClock()
        one, other = await join(database, clock), await join(database, clock)
        for number, gateway in enumerate((one, other, one)):
            assert await gateway.admit(f"req_{number}", hold(10, 1_000))
            gateway.till.settle(f"req_{number}", 7)
            await gateway.till.flush()
        await other.store.records.save_policy(policy(1, "5.00"), entry("policy.created", "daily", None, {}))
        out = io.BytesIO()
        contents = await export_shared(Secret(database), REQUEST, out.write)
        head = (await verify_shared(Secret(database))).head
        assert contents.head == head
        assert checked(out.getvalue(), read_heads(head)) == contents
        assert [each.node for each in contents.header.journals] == sorted((one.node, other.node))
        header, *pages, _ = documents(out.getvalue())
        assert header["kind"] == "postgresql"
        assert {page["node"] for page in pages} == {one.node, other.node}

        for number, page in enumerate(pages):
            wrong = {**page, "node": one.node + other.node - page["node"]}
            changed = out.getvalue().splitlines(keepends=True)
            changed[number + 1] = compact(wrong)
            assert flaw_of(b"".join(changed)).line == number + 2
        assert await one.admit("req_9", hold(10, 1_000))
        assert "goes on" in str(flaw_of(await exported_shared(database), read_heads(head)))
        for gateway in (one, other):
            await gateway.store.close()

    async def test_it_begins_behind_months_that_were_dropped(self) -> None:
        database = postgres.new_database()
        clock = FakeClock(Instant(NOON - 200 * DAY_S * NANOSECONDS))
        gone, stays = await join(database, clock), await join(database, clock)
        for name, gateway in (("req_1", gone), ("req_2", stays)):
            assert await gateway.admit(name, hold(10, 100))
            gateway.till.settle(name, 7)
            await gateway.till.flush()
        gone_node = gone.node
        await gone.store.close()
        clock.advance(150 * DAY_S)
        assert await stays.admit("req_3", hold(10, 100))
        stays.till.settle("req_3", 7)
        await stays.till.flush()
        before = await exported_shared(database)
        assert await stays.store.drop_old_months(1)
        after = await exported_shared(database)
        head = (await verify_shared(Secret(database))).head
        assert checked(before, read_heads(head)).head == checked(after, read_heads(head)).head == head
        journals = {each.node: each for each in checked(after).header.journals}
        assert journals[gone_node].last == journals[gone_node].first - 1
        assert journals[stays.node].first > 1
        assert documents(after)[1:-1] == documents(before)[-2 - len(documents(after)[1:-1]) + 1 : -1]
        later = await exported_shared(database, Instant(clock.now() + 1))
        assert (checked(later, read_heads(head)).pages, checked(later).head) == (0, head)
        since = await exported_shared(database, clock.now())
        assert checked(since, read_heads(head)).pages == checked(after).pages
        await stays.store.close()

    async def test_a_database_without_a_ledger_or_out_of_reach(self) -> None:
        with pytest.raises(WrongRevision):
            await exported_shared(postgres.new_database(empty=True))
        with pytest.raises(DatabaseUnreachable):
            await exported_shared("postgresql://palyra@127.0.0.1:1/palyra")


async def exported_shared(database: str, since: Instant | None = None) -> bytes:
    out = io.BytesIO()
    await export_shared(Secret(database), REQUEST._replace(since=since), out.write)
    return out.getvalue()


@pytest.mark.parametrize(
    ("text", "heads"),
    [
        ("", {}),
        ("none yet", {}),
        (" " + "AB" * 32 + "\n", {0: "ab" * 32}),
        (f"1:{'ab' * 32} 12:{'cd' * 32}", {1: "ab" * 32, 12: "cd" * 32}),
    ],
)
def test_heads_are_read_as_they_are_printed(text: str, heads: dict[int, str]) -> None:
    assert read_heads(text) == heads


@pytest.mark.parametrize(
    "text",
    [
        "ab",
        "ab" * 33,
        "xy" * 32,
        f"-1:{'ab' * 32}",
        f"x:{'ab' * 32}",
        f"{'9' * 5000}:{'ab' * 32}",
        "²:" + "ab" * 32,
    ],
)
def test_what_is_no_head_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no"):
        read_heads(text)
