"""The C library's allocator, set for a server whose threads come and go."""

import ctypes

M_ARENA_MAX = -8


def share_one_arena() -> None:
    """Let all threads of this process take their memory from one place.

    glibc gives each a pool of its own, up to eight for each core, and what one of them has freed no other may
    use: a service at full load held 15 MB of 120 more by that after three minutes, at the same rate. Where
    there is another C library nothing changes. `mallopt(3)`.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_ARENA_MAX, 1)
