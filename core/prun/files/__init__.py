"""Files of containers, looked at and handled from outside: ``diff``, ``export``, ``cp``, ``commit``.

What is in a container's root is the container's doing, and may change under our hands while it runs.  No program of it
is executed, no path of it leads out of it, nothing is mounted on a path that it controls.
"""
