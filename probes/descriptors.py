"""How many files and sockets may this process have open, and how many conversations is that?"""

import errno
import logging
import resource

log = logging.getLogger(__name__)

_WANTED = 65_536
_KEPT_BACK = 200
"""For the store, logs, drivers' modules, epoll and what else the process holds beside targets."""
_EACH_THREAD = 4
_EACH_CONVERSATION = 2
"""Two addresses raced (IPv6 and IPv4), or two questions to a name server; never more at a time."""

_SHORTAGES = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


def is_shortage(error: OSError) -> bool:
    """Whether a socket could not be had for want of descriptors, ports or memory here: never the target's fault."""
    return error.errno in _SHORTAGES


def raise_limit() -> int:
    """Set this process's limit of open files as high as it may be set, at most 65,536; the limit now in force."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _WANTED if hard == resource.RLIM_INFINITY else min(hard, _WANTED)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return _WANTED if soft == resource.RLIM_INFINITY else soft
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError) as error:
        log.warning("the limit of open files stays at %d: %s", soft, error)
        return soft
    return wanted


def most_conversations(wanted: int, limit: int, threads: int) -> int:
    """As many HTTP conversations at a time as are wanted and as the limit of open files bears, at least one."""
    bearable = (limit - _KEPT_BACK - _EACH_THREAD * threads) // _EACH_CONVERSATION
    return max(1, min(wanted, bearable))
