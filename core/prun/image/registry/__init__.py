"""Registries: images from and to other machines, by OCI's distribution spec.

    settings      [registries] and [aliases] of prun.toml
    endpoint      a reference -> the hosts to ask, mirrors first
    credentials   the files and helpers that docker and podman keep passwords in
    auth          a challenge -> an Authorization header
    trust         which certificates to believe, whether plain HTTP will do, which proxy to take
    transport     one HTTP exchange: redirects, limits
    faults        what goes wrong, in words; attempts: trying again
    client        the API: manifests, blobs, tags, referrers
    arrival       a layer that is unpacked while it arrives
    pull, push    an image and all that it needs, by several workers
    progress      what is going on, for whoever shows it

Nothing here is imported before an image has to be fetched or sent.

Spec: https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md
"""
