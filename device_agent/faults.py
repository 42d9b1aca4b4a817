"""Expected failures of a command: what the host tells apart, and the exit code."""

import errno

from device_agent import protocol

_KIND_OF_ERRNO = {
    errno.ENOSPC: protocol.ERROR_NO_SPACE,
    errno.EDQUOT: protocol.ERROR_NO_SPACE,
    errno.EFBIG: protocol.ERROR_NO_SPACE,
    errno.EROFS: protocol.ERROR_READ_ONLY,
    errno.EACCES: protocol.ERROR_READ_ONLY,
    errno.EPERM: protocol.ERROR_READ_ONLY,
    errno.ENOENT: protocol.ERROR_MISSING,
}


class AgentFault(Exception):
    """What a command answers instead of its result: `{"error": {"kind", "message"}}`."""

    def __init__(self, kind: str, message: str, exit_code: int = protocol.EXIT_FAULT) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message[: protocol.MAX_TEXT]
        self.exit_code = exit_code


def describe_os_error(error: OSError) -> AgentFault:
    """The fault that stands for what the operating system refused."""
    kind = _KIND_OF_ERRNO.get(error.errno or 0, protocol.ERROR_OTHER)
    return AgentFault(kind, str(error))
