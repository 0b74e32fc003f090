"""A campaign at a glance: what did not happen is said as plainly as what did."""

from chaos.report import Verdict, summary


def test_a_kind_whose_moment_never_came_is_named():
    on_postgresql = Verdict(5, "", ["kill -9 proxy", "kill -9 stable", "postgresql"], ["kill -9 stable"])
    again = Verdict(6, "", ["kill -9 monitor", "roll back to a backup"], ["kill -9 monitor"])
    told = "\n".join(summary([on_postgresql, again], 1.0))
    assert "its moment never came: kill -9 proxy" in told
    again.struck.append("kill -9 proxy")
    assert "never came" not in "\n".join(summary([on_postgresql, again], 1.0))
