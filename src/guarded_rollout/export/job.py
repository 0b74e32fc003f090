"""What a cluster does before a release: a backup, then the expanding revisions."""

from collections.abc import Iterator

from guarded_rollout.export.cluster import Cluster, Document, command, container, meta, pod

BACKUPS = "/backups"


def before_release(cluster: Cluster) -> Iterator[Document]:
    """A volume for backups, and the job that takes one and then applies the expanding revisions."""
    theirs = cluster.environment.service
    commands = theirs.commands
    if "schema_upgrade" not in commands:
        return
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "10Gi"}}}
    volume = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "spec": claim}
    yield Document(volume | {"metadata": meta(cluster, f"{cluster.name}-backups")})
    expand = container(cluster, "expand", [*command(theirs, "schema_upgrade"), *cluster.expand])
    before = []
    if "store_snapshot" in commands:
        # Of the pod's name: a Job that is run again for the same release overwrites nothing.
        file = f"{BACKUPS}/$(POD).snapshot"
        words = [*command(theirs, "store_snapshot"), *cluster.snapshot, file]
        backup = container(cluster, "backup", words)
        backup["env"] = [
            *backup["env"],
            {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        ]
        backup["volumeMounts"] = [*backup["volumeMounts"], {"name": "backups", "mountPath": BACKUPS}]
        before.append(backup)
    spec = pod(cluster, [expand], before) | {"restartPolicy": "Never"}
    spec["volumes"] = [
        *spec["volumes"],
        {"name": "backups", "persistentVolumeClaim": {"claimName": f"{cluster.name}-backups"}},
    ]
    hooks = {
        "argocd.argoproj.io/hook": "PreSync",
        "argocd.argoproj.io/hook-delete-policy": "BeforeHookCreation",
    }
    yield Document(
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": meta(cluster, f"{cluster.name}-before-{_slug(cluster.release)}", annotations=hooks),
            "spec": {
                "backoffLimit": 0,
                "ttlSecondsAfterFinished": 7 * 86_400,
                "template": {"metadata": {"labels": {"job": f"{cluster.name}-before"}}, "spec": spec},
            },
        },
        (
            "Apply this and wait for its end before the release; what serves now can still read the schema.",
            "Contracting revisions, retention and verification of backups stay with `rollout`.",
        ),
    )


def _slug(text: str) -> str:
    plain = "".join(each if each.isascii() and each.isalnum() else "-" for each in text.lower())
    return plain.strip("-")[:30] or "release"
