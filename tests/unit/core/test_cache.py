"""The cache's decisions one by one (C8): bounds, expiry, proofs of life, lists, freshness, by hand."""

from __future__ import annotations

import pytest

from lightning_state.actors.core.cache import STALE_S, Cache
from lightning_state.actors.core.cache_entries import Stamp
from lightning_state.actors.core.freshness import Seen, slots_of_token
from lightning_state.actors.errors import InvalidStateError

A, B = ("agents", "a"), ("agents", "b")
SLOT = 3
LIST = ("agents", "status", "Ready", 0)


@pytest.fixture
def cache() -> Cache:
    cache = Cache(1_000, 300.0)
    cache.opened(0, 7, 0.0)
    return cache


def fill(cache: Cache, place: tuple[str, str] = A, revision: int = 1, *, size_bytes: int = 10) -> bool:
    ticket = cache.begin_read(place, SLOT, 0)
    return cache.end_read(ticket, Stamp(7, revision, revision), f"{place[1]}{revision}", size_bytes, 0.0)


def fill_list(cache: Cache, *keys: str) -> bool:
    return cache.end_list(cache.begin_list(LIST, SLOT), keys, keys, 10, 0.0)


def test_what_was_answered_over_a_live_channel_is_stored(cache: Cache) -> None:
    assert fill(cache)
    found = cache.find(A, 1.0)
    assert found is not None
    assert (found.value, found.stamp) == ("a1", Stamp(7, 1, 1))
    assert (len(cache), cache.size_bytes) == (1, 10)
    assert repr(cache) == "<Cache entries=1 bytes=10 channels=[0]>"
    assert cache.find(B, 1.0) is None


def test_nothing_is_stored_without_a_channel_to_the_owner_that_answered() -> None:
    cache = Cache(1_000, 300.0)
    assert not fill(cache)
    cache.opened(0, 6, 0.0)  # an older owner's
    assert not fill(cache)


def test_an_entry_ends_with_its_time(cache: Cache) -> None:
    fill(cache)
    cache.proved(0, 299.0)
    assert cache.find(A, 299.9) is not None
    assert cache.find(A, 300.0) is None
    assert len(cache) == 0


def test_an_entry_answers_only_while_its_channel_is_proven_alive(cache: Cache) -> None:
    fill(cache)
    assert cache.find(A, STALE_S) is not None
    assert cache.find(A, STALE_S + 0.1) is None
    cache.proved(0, 1.0)  # late, but all pushes of before have arrived with it
    cache.proved(0, 0.5)  # an older proof takes nothing back
    cache.proved(9, 5.0)
    assert cache.find(A, STALE_S + 0.1) is not None


def test_memory_is_bounded_and_the_least_recently_used_goes_first(cache: Cache) -> None:
    fill(cache, A, size_bytes=400)
    fill(cache, B, size_bytes=400)
    assert cache.find(A, 0.0) is not None
    assert fill(cache, ("agents", "c"), size_bytes=400)
    assert cache.find(B, 0.0) is None
    assert cache.find(A, 0.0) is not None
    assert (cache.evicted, cache.size_bytes) == (1, 800)
    assert not fill(cache, A, 2, size_bytes=1_001)
    assert cache.find(A, 0.0) is None  # the older one must not stay in its place


def test_an_older_answer_never_replaces_a_newer_one(cache: Cache) -> None:
    first, second = cache.begin_read(A, SLOT, 0), cache.begin_read(A, SLOT, 0)
    assert cache.end_read(second, Stamp(7, 2, 2), "new", 10, 0.0)
    assert not cache.end_read(first, Stamp(7, 1, 1), "old", 10, 0.0)
    found = cache.find(A, 0.0)
    assert found is not None
    assert found.value == "new"


def test_an_absent_key_is_an_entry_too(cache: Cache) -> None:
    cache.end_read(cache.begin_read(A, SLOT, 0), Stamp(7, 5, 0), None, 10, 0.0)
    found = cache.find(A, 0.0)
    assert found is not None
    assert found.value is None


def test_a_change_ends_the_entry_and_spoils_what_is_under_way(cache: Cache) -> None:
    fill(cache)
    ticket = cache.begin_read(A, SLOT, 0)
    assert cache.joinable(A) is ticket
    cache.changed(0, SLOT, "a", Stamp(7, 2, 2))
    assert cache.find(A, 0.0) is None
    assert cache.joinable(A) is None
    assert not cache.end_read(ticket, Stamp(7, 1, 1), "a1", 10, 0.0)
    cache.changed(0, 99 << 16, "a", Stamp(7, 2, 2))  # of a category nobody here asked for
    cache.changed(5, SLOT, "a", Stamp(7, 2, 2))  # of a shard without a channel
    cache.list_changed(0, 99, "status", "Ready")


def test_only_reads_over_a_channel_are_joined(cache: Cache) -> None:
    cache.begin_write(A, SLOT, 0)
    assert cache.joinable(A) is None
    cache.begin_read(A, SLOT, 1)
    assert cache.joinable(A) is None


def test_a_write_is_stored_unless_another_came_after_it(cache: Cache) -> None:
    assert cache.end_write(cache.begin_write(A, SLOT, 0), Stamp(7, 2, 2), "mine", 10, 0.0)
    ticket = cache.begin_write(A, SLOT, 0)
    cache.changed(0, SLOT, "a", Stamp(7, 3, 3))  # its own
    assert cache.end_write(ticket, Stamp(7, 3, 3), "mine", 10, 0.0)
    ticket = cache.begin_write(A, SLOT, 0)
    cache.changed(0, SLOT, "a", Stamp(7, 5, 5))
    assert not cache.end_write(ticket, Stamp(7, 4, 4), "mine", 10, 0.0)
    assert cache.find(A, 0.0) is None


def test_a_write_of_unknown_outcome_drops_its_key(cache: Cache) -> None:
    fill(cache)
    cache.doubt_write(cache.begin_write(A, SLOT, 0))
    assert cache.find(A, 0.0) is None


def test_giving_up_leaves_nothing_behind(cache: Cache) -> None:
    first, second = cache.begin_read(A, SLOT, 0), cache.begin_read(A, SLOT, 0)
    for ticket in (first, first, second):
        cache.give_up(ticket)
    assert not cache._tickets


def test_a_lost_channel_empties_what_it_served_and_nothing_else(cache: Cache) -> None:
    cache.opened(1, 8, 0.0)
    fill(cache)
    cache.end_read(cache.begin_read(B, SLOT, 1), Stamp(8, 1, 1), "b", 10, 0.0)
    cache.lost(0)
    cache.lost(0)
    assert cache.find(A, 0.0) is None
    assert cache.find(B, 0.0) is not None


def test_a_flush_empties_and_goes_on(cache: Cache) -> None:
    fill(cache)
    under_way = cache.begin_read(A, SLOT, 0)
    cache.flushed(0)
    cache.flushed(4)
    assert len(cache) == 0
    assert not cache.end_read(under_way, Stamp(7, 1, 1), "a1", 10, 0.0)
    assert fill(cache)


def test_a_channel_to_a_former_owner_serves_nothing(cache: Cache) -> None:
    fill(cache)
    cache.owners({0: 7})
    assert cache.find(A, 0.0) is not None
    cache.owners({0: 8})
    assert cache.find(A, 0.0) is None
    assert not fill(cache)


def test_a_list_ends_with_a_change_of_any_member_or_a_new_one(cache: Cache) -> None:
    fill(cache, B)
    for change in ("member", "new", "by hand"):
        assert fill_list(cache, "a", "b")
        assert cache.find(LIST, 0.0) is not None
        if change == "member":
            cache.changed(0, SLOT, "a", Stamp(7, 9, 9))
        elif change == "new":
            cache.list_changed(0, 0, "status", "Ready")
        else:
            cache.invalidate(B)
        assert cache.find(LIST, 0.0) is None
    assert not cache._entries._lists


def test_a_list_that_was_read_while_its_category_changed_is_not_stored(cache: Cache) -> None:
    for change in (
        lambda: cache.changed(0, SLOT, "z", Stamp(7, 9, 9)),
        lambda: cache.list_changed(0, 0, "status", "Failed"),
        lambda: cache.doubt_write(cache.begin_write(("agents", "z"), SLOT, 0)),
        lambda: cache.lost(0),
    ):
        ticket = cache.begin_list(LIST, SLOT)
        change()
        assert not cache.end_list(ticket, ["a"], "part", 10, 0.0)


def test_an_own_write_by_the_handle_ends_the_lists_of_its_category(cache: Cache) -> None:
    fill_list(cache, "a")
    fill(cache, B)
    cache.end_write(cache.begin_write(("agents", "z"), SLOT, 1), Stamp(9, 1, 1), "z", 10, 0.0)
    assert cache.find(LIST, 0.0) is None
    assert cache.find(B, 0.0) is not None


def test_an_answer_by_the_handle_outdates_what_is_older(cache: Cache) -> None:
    fill(cache)
    fill_list(cache, "a")
    under_way = cache.begin_read(A, SLOT, 0)
    assert not cache.end_read(cache.begin_read(A, SLOT, 1), Stamp(7, 2, 2), "a2", 10, 0.0)
    assert cache.find(A, 0.0) is None
    assert cache.find(LIST, 0.0) is None
    assert not cache.end_read(under_way, Stamp(7, 1, 1), "a1", 10, 0.0)


def test_evicting_a_list_forgets_its_members(cache: Cache) -> None:
    fill_list(cache, "a", "b")
    fill(cache, ("agents", "c"), size_bytes=995)
    assert cache.find(LIST, 0.0) is None
    assert not cache._entries._lists


def test_two_lists_may_have_one_member(cache: Cache) -> None:
    other = ("agents", "status", "Ready", 1)
    cache.opened(1, 7, 0.0)
    fill_list(cache, "a")
    cache.end_list(cache.begin_list(other, SLOT), ["a"], "part", 10, 0.0)
    cache.list_changed(0, 0, "status", "Ready")
    assert cache.find(other, 0.0) is not None
    cache.changed(0, SLOT, "a", Stamp(7, 9, 9))
    assert cache.find(other, 0.0) is None


def test_by_hand_a_category_is_forgotten_and_no_other(cache: Cache) -> None:
    note = ("notes", "n")
    fill(cache)
    cache.end_read(cache.begin_read(note, 1 << 16, 0), Stamp(7, 1, 1), "n", 10, 0.0)
    under_way = cache.begin_read(A, SLOT, 0)
    cache.invalidate_category("agents")
    assert cache.find(A, 0.0) is None
    assert cache.find(note, 0.0) is not None
    assert not cache.end_read(under_way, Stamp(7, 1, 1), "a1", 10, 0.0)


def test_clearing_forgets_everything_and_every_channel(cache: Cache) -> None:
    fill(cache)
    under_way = cache.begin_read(A, SLOT, 0)
    cache.clear()
    assert len(cache) == 0
    assert not cache.end_read(under_way, Stamp(7, 1, 1), "a1", 10, 0.0)


def test_an_answer_proves_its_slot_up_to_when_it_was_given(cache: Cache) -> None:
    fill(cache, A, 3)
    entry = cache.find(A, 0.0)
    assert entry is not None
    ticket = cache.begin_read(B, SLOT, 0)
    cache.reflects(ticket, 8, 20)  # by the handle, of a newer owner: nothing is known of this channel's pushes
    assert not cache.is_fresh(entry, 7, 9)
    cache.reflects(ticket, 7, 9)
    assert cache.is_fresh(entry, 7, 9)
    cache.lost(0)
    cache.reflects(ticket, 7, 30)
    assert not cache.is_fresh(entry, 7, 30)


def test_freshness_is_proven_by_what_came_over_the_channel(cache: Cache) -> None:
    fill(cache, A, 3)
    entry = cache.find(A, 0.0)
    assert entry is not None
    assert cache.is_fresh(entry, 7, 3)
    assert not cache.is_fresh(entry, 7, 4)
    assert not cache.is_fresh(entry, 8, 1)
    assert cache.is_fresh(entry, 6, 99)
    fill(cache, B, 5)  # of the same slot: pushes of revisions up to 5 have arrived, and none was of A
    assert cache.is_fresh(entry, 7, 5)
    cache.changed(0, SLOT, "c", Stamp(7, 8, 8))
    assert cache.is_fresh(entry, 7, 8)


def test_a_token_names_the_newest_of_each_slot() -> None:
    seen = Seen()
    for slot, epoch, revision in ((1, 2, 9), (1, 3, 4), (1, 3, 2), (5, 1, 1)):
        seen.note(slot, epoch, revision)
    assert slots_of_token(seen.token("s"), "s") == {1: (3, 4), 5: (1, 1)}
    other = Seen()
    other.note_all(slots_of_token(seen.token("s"), "s"))
    assert other.token("s") == seen.token("s")
    assert repr(other) == "<Seen slots=2>"


@pytest.mark.parametrize("token", ["", "x", "äö", "AAAA", Seen().token("another")])
def test_what_is_no_token_of_this_service_is_refused(token: str) -> None:
    with pytest.raises(InvalidStateError):
        slots_of_token(token, "s")


def test_a_token_of_another_version_is_refused() -> None:
    from base64 import urlsafe_b64encode  # noqa: PLC0415  # made by hand, here only

    import msgspec  # noqa: PLC0415  # the same

    with pytest.raises(InvalidStateError, match="version 9"):
        slots_of_token(urlsafe_b64encode(msgspec.msgpack.encode([9, "s", {}])).decode(), "s")
