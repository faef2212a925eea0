"""What ``prun config init`` writes: every table, with an example, in comments."""

STARTER = """\
# prun.toml: `prun config check` says what is wrong with it, `prun config show --origin` what is in force and why.
# Every option of `prun run` is a key: --cap-add is cap_add. `prun config schema` prints all of them, for editors.

# trust = ["~/src"]               # of your own file only: believe a prun.toml there without its being named

# [defaults]                      # for every prun run, create and spec
# rm = true
# memory = "512m"

# [profiles.hardened]             # prun run --profile hardened IMAGE
# cap_drop = ["ALL"]
# read_only = true
# tmpfs = ["/tmp"]

# [profiles.ci]
# extends = "hardened"            # or several: ["hardened", "other"]
# timeout = 600
# env = { CI = "true" }

# [run.tests]                     # prun run tests [ARG...]
# image = "docker.io/library/python:3.13"
# command = ["python", "-m", "pytest"]
# extends = "ci"
# workdir = "/src"
# volume = ["${config.dir}:/src"]
# env = ["LANG=${LANG:-C.UTF-8}"]

# [runtimes.linux]                # what --opt KEY=VALUE says, for every run of this runtime
# binary = "crun"

# [plugins.audit]
# enabled = false

# [registries."docker.io"]        # mirrors, plain HTTP and the like
# mirrors = ["mirror.internal"]

# [signatures]
# policy = "/etc/containers/policy.json"   # which images may come in; without it all may

# [aliases]                       # short names for images
# debian = "registry.internal/debian"
"""
