"""`rollout try`: ask for the candidate while traffic is shared, as a tester."""

from typing import Annotated

import typer

from guarded_rollout.cli.app import AsJson, Env, app
from guarded_rollout.cli.session import configured
from guarded_rollout.host.caddy import TRY_COOKIE, TRY_HEADER
from guarded_rollout.host.site import Site


@app.command("try", epilog="Example: rollout try --env production")
def try_candidate(
    env: Env = "production",
    off: Annotated[bool, typer.Option("--off", help="Let nobody ask for the candidate any more.")] = False,
    as_json: AsJson = False,
) -> None:
    """Let testers ask for the candidate by a header or cookie, and print how. Off until this is called.

    It holds for whoever has the key, from the candidate's first share of the traffic until the rollout ends.
    """
    with configured(env, as_json=as_json) as (environment, out):
        site = Site(environment)
        site.prepare()
        traffic = site.traffic
        if off:
            traffic.close_to_testers()
            out.say("Nobody can ask for the candidate any more.")
            out.result(environment=env, key=None)
            return
        key, slot = traffic.open_to_testers(), traffic.candidate()
        standing = site.slots.release(slot) if slot else None
        url = f"{environment.url}/"
        if standing:
            out.say(f"Asks {standing.id}, whatever its share of the traffic:")
        else:
            out.say("There is no candidate now; from its first share of the traffic on, this asks it:")
        out.say(f"  curl -H '{TRY_HEADER}: {key}' {url}")
        out.say(f"  in a browser's console: document.cookie = '{TRY_COOKIE}={key}; path=/'")
        if environment.release_header:
            out.say(f"The answer names its release in {environment.release_header}.")
        out.say(f"It ends with the rollout, or with `rollout try --env {env} --off`.")
        out.result(
            environment=env,
            key=key,
            header=TRY_HEADER,
            cookie=TRY_COOKIE,
            candidate=standing.id if standing else None,
            url=url,
        )
