"""The options, once: parsed by ``grammar``, shown by click's help."""

from __future__ import annotations

from prun.cli.grammar import Option

GLOBAL = (
    Option("root", "value", "Keep images and containers here (PRUN_ROOT).", metavar="DIR"),
    Option("state", "value", "Keep what ends with the machine's uptime here (PRUN_STATE).", metavar="DIR"),
    Option("config", "value", "Read this prun.toml too (PRUN_CONFIG).", metavar="FILE"),
    Option("plugins", "value", "Load only these plugins, or none (PRUN_PLUGINS).", metavar="NAME,..."),
    Option("debug", "flag", "Show the traceback of an error."),
    Option("error-format", "value", "How errors are written to stderr.", metavar="FORMAT", choices=("text", "json")),
)
# Parsed with the above; click shows them by itself.
HELP = (Option("help", "flag", "Show help."), Option("version", "flag", "Show the version."))

RUN = (
    Option("annotation", "list", "Add an annotation to the spec.", metavar="KEY=VALUE"),
    Option("engine", "value", "Where images, snapshots and tasks live (default embedded).", metavar="NAME"),
    Option("entrypoint", "value", "Replace the image's entrypoint; '' clears it.", metavar="COMMAND"),
    Option("env", "list", "Set an environment variable; KEY alone takes the host's value.", "e", "KEY[=VALUE]"),
    Option("env-file", "list", "Read environment variables from a file.", metavar="FILE"),
    Option("hostname", "value", "The container's host name (default: its id).", "h", "NAME"),
    Option("id", "value", "The container's id (default: generated).", metavar="ID"),
    Option("interactive", "flag", "Keep stdin open.", "i"),
    Option("label", "list", "Put a label on the container.", "l", "KEY[=VALUE]"),
    Option("name", "value", "The container's name (default: its id).", metavar="NAME"),
    Option("network", "value", "none (default): an empty network namespace; host: the host's.", "", "MODE", ("net",)),
    Option("opt", "list", "Set an option of the runtime (prun plugins lists them).", metavar="KEY=VALUE"),
    Option("platform", "value", "Choose from an image of several platforms.", metavar="OS/ARCH[/VARIANT]"),
    Option("read-only", "flag", "Make the root file system read-only.", aliases=("readonly",)),
    Option("rm", "flag", "Remove the container when it ends."),
    Option("rootfs", "value", "Use a directory as the root file system; all words are the command.", "r", "DIR"),
    Option("runtime", "value", "How the process is isolated (PRUN_RUNTIME, default linux).", metavar="NAME"),
    Option("security-opt", "list", "seccomp=unconfined|FILE, no-new-privileges[=true|false].", metavar="OPTION"),
    Option("tty", "flag", "Give the process a terminal.", "t"),
    Option("user", "value", "Run as this user of the image.", "u", "NAME|UID[:GROUP|GID]"),
    Option("workdir", "value", "Start in this directory.", "w", "DIR"),
)
