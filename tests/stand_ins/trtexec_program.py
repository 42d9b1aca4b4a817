"""A stand-in for NVIDIA's `trtexec` that computes with ONNX Runtime, for machines without a GPU.

STAND_IN_TENSORRT names the release, as for the stand-in of the module, whose builder it uses. It knows the
options of its release that are listed below, prints and exports in that release's form, and refuses as that
one does. The facts: samples/common/sampleOptions.cpp, sampleReporting.cpp and samples/trtexec/trtexec.cpp
of NVIDIA/TensorRT; the migration guides of TensorRT 8.x to 10.x and 10.x to 11.x; Help.txt and
result-02.log of trtexec 10 in NVIDIA/trt-samples-for-hackathon-cn. That --includeDataTransfers,
--noSpinWait and --noCudaGraph are how 11 is told otherwise is from users' scripts for 11 and the
documentation of TensorRT-RTX, its sibling.

- An unknown option prints the help, `[E] Unknown option: …`, `&&&& FAILED`, and ends with 1.
- `--workspace` and `--buildOnly` are gone in 10, `--memPoolSize` is new in 8.4, `--skipInference` in 8.6,
  `--stronglyTyped` in 9; 11 has no precision options.
- 11 leaves out transfers, spins and uses CUDA graphs unless --includeDataTransfers, --noSpinWait and
  --noCudaGraph say otherwise; before, all of it is the other way round.
- A model without open inputs does not take --shapes or --optShapes.
- Exported times hold the warm-up too, with six digits; 8.x has endToEndMs in addition.
- A plan of another release, or a torn one, ends with "Engine deserialization failed".

STAND_IN_TRTEXEC_DELAY_S makes it sleep before it starts inferring; STAND_IN_TRTEXEC_TRANSFERS=off makes it
leave transfers out whatever it is told, as a release with one more changed default would.
"""

import os
import sys
import time
from datetime import datetime
from pathlib import Path

_HERE = Path(__file__).resolve().parent
_VERSION = os.environ["STAND_IN_TENSORRT"]
_PARTS = [int(part) for part in _VERSION.split(".")]
_RELEASE = tuple(_PARTS[:2])

# Name: since, until.
_OPTIONS = {
    "--onnx": None,
    "--saveEngine": None,
    "--loadEngine": None,
    "--optShapes": None,
    "--shapes": None,
    "--loadInputs": None,
    "--iterations": None,
    "--duration": None,
    "--warmUp": None,
    "--avgRuns": None,
    "--exportTimes": None,
    "--exposeDMA": None,
    "--device": None,
    "--verbose": None,
    "--noTF32": None,
    "--useSpinWait": (None, (11, 0)),
    "--useCudaGraph": (None, (11, 0)),
    "--noDataTransfers": (None, (11, 0)),
    "--noSpinWait": ((11, 0), None),
    "--noCudaGraph": ((11, 0), None),
    "--includeDataTransfers": ((11, 0), None),
    "--fp16": (None, (11, 0)),
    "--int8": (None, (11, 0)),
    "--best": (None, (11, 0)),
    "--workspace": (None, (10, 0)),
    "--buildOnly": (None, (10, 0)),
    "--memPoolSize": ((8, 4), None),
    "--skipInference": ((8, 6), None),
    "--stronglyTyped": ((9, 1), (11, 0)),
}


def list_options():
    """The options of the release that is played."""
    found = []
    for name, span in _OPTIONS.items():
        since, until = span or (None, None)
        if (since is None or since <= _RELEASE) and (until is None or until > _RELEASE):
            found.append(name)
    return found


def say(kind, text):
    print("[{}] [{}] {}".format(datetime.now().strftime("%m/%d/%Y-%H:%M:%S"), kind, text), flush=True)


def tell_verdict(verdict):
    major, minor, patch = [*_PARTS, 0, 0][:3]
    number = major * 10000 + minor * 100 + patch if major >= 10 else major * 1000 + minor * 100 + patch
    build = " [b26]" if major >= 10 else ""
    words = " ".join(["trtexec", *sys.argv[1:]])
    print(f"&&&& {verdict} TensorRT.trtexec [TensorRT v{number}]{build} # {words}", flush=True)


def fail(*lines):
    for line in lines:
        say("E", line)
    tell_verdict("FAILED")
    sys.exit(1)


def print_help():
    print("=== Model Options ===")
    for name in list_options():
        print(f"  {name:<27} one of the options (with --buildDLAStandalone, --skipInference is implied)")
    print("=== Help ===\n  --help, -h                  Print this message")


def parse_words(words):
    given = {}
    for word in words:
        name, _, value = word.partition("=")
        given[name] = value
    return given


def print_settings(given, transfers, spin, graph):
    def tell(is_on):
        return "Enabled" if is_on else "Disabled"

    for key, value in (
        ("=== Model Options ===", None),
        ("Format", "ONNX" if "--onnx" in given else "*"),
        ("Model", given.get("--onnx", "")),
        ("Output", ""),
        ("=== Inference Options ===", None),
        ("Batch", "Explicit"),
        ("Iterations", given.get("--iterations", "10")),
        ("Duration", "{}s (+ {}ms warm up)".format(given.get("--duration", 3), given.get("--warmUp", 200))),
        ("ExposeDMA", tell("--exposeDMA" in given)),
        ("Data transfers", tell(transfers)),
        ("Spin-wait", tell(spin)),
        ("Multithreading", "Disabled"),
        ("CUDA Graph", tell(graph)),
        ("=== Device Information ===", None),
        ("Selected Device", "Orin"),
        ("Compute Capability", "8.7"),
        ("SMs", "8"),
        ("TensorRT version", _VERSION),
    ):
        say("I", key if value is None else f"{key}: {value}".rstrip())


def parse_shapes(text):
    shapes = {}
    for pair in text.split(",") if text else []:
        name, _, shape = pair.rpartition(":")
        shapes[name.strip("'")] = [int(extent) for extent in shape.split("x")]
    return shapes


def make_logger(trt):
    class Logger(trt.ILogger):
        def __init__(self):
            trt.ILogger.__init__(self)

        def log(self, severity, message):
            if severity == trt.ILogger.ERROR:
                say("E", f"Error[4]: {message}")

    return Logger()


def build(trt, given):
    """Build and save an engine."""
    logger = make_logger(trt)
    builder = trt.Builder(logger)
    flag, has_strong = trt.NetworkDefinitionCreationFlag, "--stronglyTyped" in given or _RELEASE >= (11, 0)
    network = builder.create_network(1 << int(flag.STRONGLY_TYPED if has_strong else next(iter(flag))))
    say("I", "Start parsing network model.")
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(given["--onnx"]):
        fail(
            str(parser.get_error(0)),
            "Failed to parse onnx file",
            "Parsing model failed",
            "Engine set up failed",
        )
    say("I", "Finished parsing network model.")
    config = builder.create_builder_config()
    for precision in ("fp16", "int8"):
        if "--" + precision in given:
            config.set_flag(getattr(trt.BuilderFlag, precision.upper()))
    shapes = parse_shapes(given.get("--optShapes") or given.get("--shapes"))
    inputs = [network.get_input(index) for index in range(network.num_inputs)]
    check_shapes(shapes, any(-1 in one.shape for one in inputs))
    if shapes:
        profile = builder.create_optimization_profile()
        for name, shape in shapes.items():
            profile.set_shape(name, shape, shape, shape)
        config.add_optimization_profile(profile)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        fail(
            "Engine could not be created from network",
            "Building engine failed",
            "Failed to create engine from model or file.",
            "Engine set up failed",
        )
    Path(given["--saveEngine"]).write_bytes(bytes(plan))
    say("I", "Engine built in 1.23456 sec.")


def check_shapes(shapes, is_open):
    if shapes and not is_open:
        fail(
            "Static model does not take explicit shapes since the shape of inference tensors will be "
            "determined by the model itself",
            "Network And Config setup failed",
            "Building engine failed",
            "Engine set up failed",
        )


def load(trt, path):
    """An engine from its file."""
    try:
        content = Path(path).read_bytes()
    except OSError:
        fail("Error opening engine file: " + path, "Engine set up failed")
    engine = trt.Runtime(make_logger(trt)).deserialize_cuda_engine(content)
    if engine is None:
        fail("Engine deserialization failed", "Got invalid engine!", "Inference set up failed")
    say("I", "Engine loaded in 0.0123456 sec.")
    return engine


def load_feed(trt, engine, given):
    import numpy

    files = dict(pair.rsplit(":", 1) for pair in given.get("--loadInputs", "").split(",") if pair)
    shapes = parse_shapes(given.get("--shapes"))
    feed = {}
    for put in engine._session.get_inputs():
        dtype, shape = trt._TYPES[put.type][1], shapes.get(put.name) or [int(one) for one in put.shape]
        say("I", f"Using values loaded from {files[put.name]} for input {put.name}")
        values = numpy.fromfile(files[put.name], dtype=dtype)
        if values.size != numpy.prod(shape):
            fail(f"Note: Expected: {shape} bytes but only read: {values.nbytes}", "Invalid file size")
        feed[put.name] = values.reshape(shape).astype(trt._onnx_dtype(put.type))
    return feed


def infer(trt, given, transfers):
    """Infer as long and as often as told, and export the times."""
    engine = load(trt, given["--loadEngine"])
    feed = load_feed(trt, engine, given)
    time.sleep(float(os.environ.get("STAND_IN_TRTEXEC_DELAY_S", "0")))
    say("I", "Starting inference")
    least, seconds = int(given.get("--iterations", 10)), float(given.get("--duration", 3))
    begin, entries = time.perf_counter(), []
    while len(entries) < least or time.perf_counter() - begin < seconds:
        started = time.perf_counter()
        engine._session.run(None, feed)
        ended = time.perf_counter()
        entries.append(write_entry((started - begin) * 1e3, (ended - started) * 1e3, transfers))
    say("I", "Warmup completed 0 queries over {} ms".format(given.get("--warmUp", 200)))
    say("I", f"Timing trace has {len(entries)} queries over {time.perf_counter() - begin:.5g} s")
    say("I", "=== Performance summary ===")
    say("I", f"Throughput: {len(entries) / (time.perf_counter() - begin):.6g} qps")
    if "--exportTimes" in given:
        Path(given["--exportTimes"]).write_text("[\n  " + ", ".join(entries) + "]\n")


def write_entry(start_ms, compute_ms, transfers):
    copy_ms = 0.015625 if transfers else 0.0
    names = ("startH2dMs", "endH2dMs", "startComputeMs", "endComputeMs", "startD2hMs", "endD2hMs")
    places = (0, copy_ms, copy_ms, copy_ms + compute_ms, copy_ms + compute_ms, 2 * copy_ms + compute_ms)
    values = [("startEnqMs", start_ms), ("endEnqMs", start_ms)]
    values += [(name, start_ms + place) for name, place in zip(names, places, strict=True)]
    total = 2 * copy_ms + compute_ms
    values += [("h2dMs", copy_ms), ("computeMs", compute_ms), ("d2hMs", copy_ms), ("latencyMs", total)]
    if _RELEASE < (8, 5):
        values.append(("endToEndMs", total))
    return "{ " + ", ".join('"{}" : {:.6g}'.format(*value) for value in values) + " }\n"


def main():
    given = parse_words(sys.argv[1:])
    tell_verdict("RUNNING")
    if "--help" in given or "-h" in given:
        print_help()
        return
    unknown = [name for name in given if name not in list_options()]
    if unknown:
        print_help()
        fail(*(f"Unknown option: {name} {given[name]}" for name in unknown))
    is_new = _RELEASE >= (11, 0)
    transfers = "--includeDataTransfers" in given if is_new else "--noDataTransfers" not in given
    if os.environ.get("STAND_IN_TRTEXEC_TRANSFERS") == "off":
        transfers = False
    spin = "--noSpinWait" not in given if is_new else "--useSpinWait" in given
    graph = "--noCudaGraph" not in given if is_new else "--useCudaGraph" in given
    print_settings(given, transfers, spin, graph)
    sys.path.insert(0, str(_HERE / "python"))
    import tensorrt

    if "--onnx" in given:
        build(tensorrt, given)
    if "--buildOnly" in given or "--skipInference" in given:
        say("I", "Skipped inference phase since --skipInference is added.")
    else:
        infer(tensorrt, given, transfers)
    tell_verdict("PASSED")


if __name__ == "__main__":
    main()
