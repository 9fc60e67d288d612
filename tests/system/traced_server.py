"""Become a server whose calls to other machines are written down, those of native code and of children too."""

import os
import shutil
import sys

TRACE_VARIABLE = "TRACE_FILE"
CALLS = "connect,sendto,sendmsg,sendmmsg"

if __name__ == "__main__":
    strace = shutil.which("strace")
    assert strace is not None
    # With -D the tracer is not the parent: signals and exit codes are the server's own.
    options = ["-D", "-f", "--seccomp-bpf", "-qq", "-o", os.environ[TRACE_VARIABLE], "-e", f"trace={CALLS}"]
    os.execv(strace, [strace, *options, sys.executable, "-m", "perplex_mono", *sys.argv[1:]])
