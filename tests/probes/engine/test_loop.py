"""The loop: whatever is due, sockets are looked at in time."""

import os

from probes.loop import READABLE, Loop


def test_thousands_of_timers_that_are_due_do_not_keep_a_socket_waiting(loop: Loop) -> None:
    called: list[int] = []
    for number in range(5000):
        loop.call_later(0, lambda number=number: called.append(number))
    bell = os.eventfd(0, os.EFD_NONBLOCK)
    loop.call_later(0, lambda: os.eventfd_write(bell, 1))
    for number in range(5000, 10_000):
        loop.call_later(0, lambda number=number: called.append(number))
    heard_after: list[int] = []
    loop.watch(bell, READABLE, lambda fd, _: (heard_after.append(len(called)), os.eventfd_read(fd)))
    while len(called) < 10_000:
        loop.turn(0)
    loop.unwatch(bell)
    os.close(bell)
    assert called == list(range(10_000))  # in the order of their times, none lost
    assert len(heard_after) == 1
    assert heard_after[0] - 5000 < 200
