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


_GAP = " … "


def shorten_text(text: str) -> str:
    """A text within the bound of the protocol: of a longer one its start and its end.

    A runtime names the place first and the reason last, and between them it may print the whole graph.
    """
    if len(text) <= protocol.MAX_TEXT:
        return text
    half = (protocol.MAX_TEXT - len(_GAP)) // 2
    return text[:half] + _GAP + text[-half:]


class AgentFault(Exception):
    """What a command answers instead of its result: `{"error": {"kind", "message"}}`."""

    def __init__(self, kind: str, message: str, exit_code: int = protocol.EXIT_FAULT) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = shorten_text(message)
        self.exit_code = exit_code


def describe_os_error(error: OSError) -> AgentFault:
    """The fault that stands for what the operating system refused."""
    kind = _KIND_OF_ERRNO.get(error.errno or 0, protocol.ERROR_OTHER)
    return AgentFault(kind, str(error))
