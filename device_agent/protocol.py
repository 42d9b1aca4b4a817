"""What host and board say to each other: names, limits and exit codes. The host imports only this module.

History of SCHEMA:
1  the first.

A run on the board, below the work folder of the device:

    agents/<sha256>.pyz         the agent
    agents/<sha256>.files/      the same as a folder with its bytecode, from which a run starts its workers
    blobs/<sha256>              models, evaluation sets, reference outputs, layers as they were sent
    layers/<sha256>/            an unpacked layer: a folder for sys.path
    engines/                    what runtimes built from models on this board
    profiling/                  scratch of the command `profile`, removed after each piece
    runs/<run>/job.json         what to measure, written by the host
    runs/<run>/journal.jsonl    what happened, appended by the agent; the host reads nothing else
    runs/<run>/worker-<task>.log  what a worker printed
    runs/<run>/agent.log        what the run itself printed: empty unless something went wrong
    runs/<run>/notify.sock      pokes followers when a line was added
    runs/<run>/stop             is there where a host asked the run to stop
    sending                     held (flock) by all that is being sent; cleaning waits for it
    board.json                  what is known of the board from one run to the next: how cool it idles
    tuning.json                 what `fix` has changed on the board, and what was before
    clocks.conf                 the clocks that jetson_clocks had before `fix`
    lock                        held (flock) by the run that measures; its text says who and since when

The journal is JSON Lines. Every line has `seq` (from 1, without gaps), `event`, `wall` (seconds since
the epoch) and `mono` (seconds of the board's monotonic clock):

    run-started   run, schema, agent, python, boot, environment
    task-opened   task, block, provider, threads, runtime_version, inputs, load_ms, first_inference_ms,
                  memory_mb, environment; tasks of one block are interleaved (memory decides how many)
    progress      task, phase (opening, memory, cooling, warming, round, sustaining, power, evaluating),
                  round, tally (rounds_total, rounds_done, rounds_since this start, elapsed_s of it)
    round         task, round, count, samples_ns (base64 of zlib of little-endian uint64), warmup,
                  environment; of the paced scenario also paced (due, missed, wakeup_ms), of the sustained one
                  inferences and sum_s, since only a part of the samples is kept
    result        task, status (ok, failed), and on success the measurement, else error
    run-ended     reason (completed, stopped, interrupted, failed), ok, failed, error; interrupted is who got
                  a signal that no `stop` sent, as at a shutdown

A round of a task that is in the journal is never measured again: a run that is started anew goes on
from what its journal holds. What a board sends never names a path on the host.
"""

SCHEMA = 1
AGENT_VERSION = "0.1.0"

# Exit codes of the agent.
EXIT_OK = 0
EXIT_FAULT = 1  # the answer is a JSON object {"error": {"kind", "message"}}
EXIT_USAGE = 2
EXIT_OLD_PYTHON = 3
EXIT_LOCKED = 4  # another run measures; the answer says which
EXIT_SILENT = 5  # a run that lives has said nothing for longer than it may

OLDEST_PYTHON = (3, 6)

STALL_S = 45.0
"""A transfer from which nothing arrives for so long is over; the host takes a link for lost later."""

# Kinds of error that the host tells apart.
ERROR_LOCKED = "locked"
ERROR_NO_SPACE = "no-space"
ERROR_CORRUPT = "corrupt"
ERROR_MISSING = "missing"
ERROR_READ_ONLY = "read-only"
ERROR_BAD_JOB = "bad-job"
ERROR_STALLED = "stalled"  # nothing came any more from the host
ERROR_SENDING = "sending"  # hosts send files just now
ERROR_OTHER = "other"

# Why a measurement failed: `error.kind` of a result.
FAILED_OPEN = "open"  # the runtime refused the model
FAILED_CRASH = "crash"  # the worker ended by a signal or an exit code
FAILED_MEMORY = "memory"  # the worker was killed for memory
FAILED_HANG = "hang"  # the worker gave no sign of life within its timeout
FAILED_INFER = "infer"  # an inference raised
FAILED_MISSING = "missing"  # a runtime, a provider or a file is not on the board
FAILED_CORRUPT = "corrupt"  # a file is not what its name says; the next deployment sends it anew

# How inferences follow each other: `scenario` of a job's protocol.
SINGLE_STREAM = "single-stream"  # back to back
OFFLINE = "offline"  # back to back too: the throughput counts, not the latency
PACED = "paced"  # at a given rate, as a camera gives it
SUSTAINED = "sustained"  # back to back in one long loop, whose pieces are the rounds
SCENARIOS = (SINGLE_STREAM, OFFLINE, PACED, SUSTAINED)

EVENT_RUN_STARTED = "run-started"
EVENT_TASK_OPENED = "task-opened"
EVENT_PROGRESS = "progress"
EVENT_ROUND = "round"
EVENT_RESULT = "result"
EVENT_RUN_ENDED = "run-ended"

STATUS_OK = "ok"
STATUS_FAILED = "failed"

FLAGS = (
    "throttled",
    "frequency-dropped",
    "drift",
    "unsteady",
    "busy",
    "hot-start",
    "fallback",
    "emulated",
)

# Bounds on what a board may send; the host refuses what is larger.
MAX_LINE_BYTES = 16 * 1024 * 1024
MAX_ANSWER_BYTES = 4 * 1024 * 1024
MAX_ROUND_SAMPLES = 400000
MAX_TEXT = 4000  # characters of one error message or log tail
MAX_COURSE_POINTS = 200  # of the course of power in one window

# What a board did in a window in which its power was read: `phase` of `power.course`.
PHASE_IDLE = "idle"
PHASE_LOAD = "load"

# A packed model: see docs/packing.md. Integers are little-endian.
PACKED_MAGIC = b"BBPK"
PACKED_VERSION = 1
PACKED_START = "<4sBI"  # magic, version, CRC-32 of all that follows
PACKED_HEAD = "<32sQB"  # SHA-256 and size of the model, number of streams
PACKED_STREAM = "<BBI"  # stream, coder, bytes of it in the file
MAX_MODEL_BYTES = 2**31 - 1  # what protobuf allows, and so ONNX

CODER_STORED = 0
CODER_DEFLATE = 1  # without a header (RFC 1951)
CODER_LZMA = 2
LZMA1 = {
    "lc": 0,
    "lp": 0,
    "pb": 0,
    "dict_size": 1 << 20,
}  # each byte by one model: an adaptive arithmetic coder

STREAM_LAYOUT = 0
STREAM_GRAPH = 1
STREAM_MASKS = 2
STREAM_GAPS = 3
# Kinds of values, each by the first of its streams: one stream for each byte of an element.
VALUES_NIBBLES = 4  # two elements in a byte, the first in its low half: -8..7 beside the fill
VALUES_BYTES = 5
VALUES_HALVES = 6
VALUES_SCALES = 8
VALUES_INTEGERS = 12  # of 32 bits; 0, -1, 1, -2 … are written as 0, 1, 2, 3 …
VALUES_WORDS = 16
VALUES_LONGS = 24
VALUE_BYTES = {
    VALUES_NIBBLES: 1,
    VALUES_BYTES: 1,
    VALUES_HALVES: 2,
    VALUES_SCALES: 4,
    VALUES_INTEGERS: 4,
    VALUES_WORDS: 4,
    VALUES_LONGS: 8,
}

# Where the elements of a tensor stand that are not the fill.
INDEX_DENSE = 0
INDEX_MASK = 1
INDEX_GAPS = 2
FILLS = (0, 0x80)  # by which a tensor of bytes is filled; all others by zeros
