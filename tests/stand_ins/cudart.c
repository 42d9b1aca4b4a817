/* A stand-in for CUDA's libcudart.so on a machine without a GPU: "device" memory is ordinary memory.
 *
 * It refuses what the real one refuses, by these facts of the CUDA Runtime API reference:
 *  - cudaMemcpyAsync is done by the time its stream was synchronized, not before: copies are queued here, and
 *    whoever reads too early reads old bytes. Sides that are no device memory are cudaErrorInvalidValue.
 *  - cudaEventElapsedTime of an event whose stream has not reached it is cudaErrorNotReady.
 *  - cudaFree of what cudaMalloc did not give is cudaErrorInvalidValue; a stream or event that is gone, or never
 *    was, is cudaErrorInvalidResourceHandle. (Nothing of them is freed here, so that this can be told.)
 *  - what a kernel does wrong shows at the next synchronization (stand_in_fail plans it), as
 *    cudaErrorIllegalAddress.
 *  - without a GPU (STAND_IN_GPUS=0) every call is cudaErrorNoDevice.
 *
 * Functions named stand_in_ are for the stand-in of TensorRT and for tests.
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { INVALID = 1, NO_MEMORY = 2, NO_DEVICE = 100, NO_HANDLE = 400, NOT_READY = 600, ILLEGAL_ADDRESS = 700 };
enum { DEVICE = 1, PINNED = 2 };
enum { LIMIT = 4096 };

typedef struct { char *start; size_t size; int kind; } Block;
typedef struct { char *target; const char *source; size_t size; } Copy;
typedef struct { int mark; double ms; int is_reached; } Event;
typedef struct { int mark; } Stream;

enum { EVENT = 0x45564e54, STREAM = 0x5354524d };

static Block blocks[LIMIT];
static Copy copies[LIMIT];
static Event *events[LIMIT];
static int copy_count, event_count, failure;

static int has_gpu(void) {
    const char *told = getenv("STAND_IN_GPUS");
    return told == NULL || atoi(told) > 0;
}

static int is_inside(const void *place, size_t size, int kind) {
    for (int i = 0; i < LIMIT; i++) {
        const Block *one = &blocks[i];
        if (one->start && one->kind == kind && (const char *)place >= one->start
            && (const char *)place + size <= one->start + one->size)
            return 1;
    }
    return 0;
}

static int take(void **place, size_t size, int kind) {
    const char *limit = getenv("STAND_IN_GPU_BYTES");
    if (!has_gpu()) return NO_DEVICE;
    if (limit && size > strtoull(limit, NULL, 10)) return NO_MEMORY;
    for (int i = 0; i < LIMIT; i++)
        if (!blocks[i].start) {
            blocks[i].start = calloc(size, 1);
            blocks[i].size = size;
            blocks[i].kind = kind;
            *place = blocks[i].start;
            return 0;
        }
    return NO_MEMORY;
}

static int give(void *place, int kind) {
    for (int i = 0; i < LIMIT; i++)
        if (blocks[i].start == place && blocks[i].kind == kind && place) {
            free(place);
            blocks[i].start = NULL;
            return 0;
        }
    return INVALID;
}

int cudaGetDeviceCount(int *count) { *count = has_gpu(); return has_gpu() ? 0 : NO_DEVICE; }
int cudaSetDevice(int device) { return !has_gpu() ? NO_DEVICE : device == 0 ? 0 : INVALID; }
int cudaSetDeviceFlags(unsigned flags) { return flags > 4 ? INVALID : 0; }
int cudaRuntimeGetVersion(int *version) { *version = 12060; return 0; }

int cudaDeviceGetAttribute(int *value, int attribute, int device) {
    if (!has_gpu()) return NO_DEVICE;
    if (device != 0) return INVALID;
    switch (attribute) {
    case 16: *value = 8; return 0;   /* multiprocessors */
    case 75: *value = 8; return 0;   /* compute capability, as of an Orin: 8.7 */
    case 76: *value = 7; return 0;
    default: return INVALID;
    }
}

int cudaMalloc(void **place, size_t size) { return take(place, size, DEVICE); }
int cudaFree(void *place) { return give(place, DEVICE); }
int cudaHostAlloc(void **place, size_t size, unsigned flags) { return flags ? INVALID : take(place, size, PINNED); }
int cudaFreeHost(void *place) { return give(place, PINNED); }

int stand_in_is_device(const void *place, size_t size) { return is_inside(place, size, DEVICE); }
void stand_in_fail(void) { failure = ILLEGAL_ADDRESS; }

int stand_in_count_blocks(void) {
    int count = 0;
    for (int i = 0; i < LIMIT; i++) count += blocks[i].start != NULL;
    return count;
}

/* What was put into the stream so far happens now: a kernel that follows sees it. */
void stand_in_flush(void) {
    for (int i = 0; i < copy_count; i++) memcpy(copies[i].target, copies[i].source, copies[i].size);
    copy_count = 0;
}

static int is_stream(const void *handle) { return handle && ((const Stream *)handle)->mark == STREAM; }
static int is_event(const void *handle) { return handle && ((const Event *)handle)->mark == EVENT; }

int cudaMemcpyAsync(void *target, const void *source, size_t size, int kind, void *stream) {
    if (kind == 1 ? !is_inside(target, size, DEVICE) : kind != 2 || !is_inside(source, size, DEVICE)) return INVALID;
    if (!is_stream(stream)) return NO_HANDLE;
    if (copy_count == LIMIT) return INVALID;
    copies[copy_count++] = (Copy){target, source, size};
    return 0;
}

int cudaStreamCreate(void **stream) {
    if (!has_gpu()) return NO_DEVICE;
    *stream = calloc(1, sizeof(Stream));
    ((Stream *)*stream)->mark = STREAM;
    return 0;
}

int cudaStreamSynchronize(void *stream) {
    int code = failure;
    if (!is_stream(stream)) return NO_HANDLE;
    failure = 0;
    stand_in_flush();
    for (int i = 0; i < event_count; i++) events[i]->is_reached = 1;
    event_count = 0;
    return code;
}

int cudaStreamDestroy(void *stream) {
    if (!is_stream(stream)) return NO_HANDLE;
    ((Stream *)stream)->mark = 0;
    return 0;
}

int cudaEventCreate(void **event) {
    *event = calloc(1, sizeof(Event));
    ((Event *)*event)->mark = EVENT;
    return 0;
}

int cudaEventDestroy(void *event) {
    if (!is_event(event)) return NO_HANDLE;
    ((Event *)event)->mark = 0;
    return 0;
}

int cudaEventRecord(void *event, void *stream) {
    struct timespec now;
    Event *one = event;
    if (!is_stream(stream) || !is_event(event)) return NO_HANDLE;
    if (event_count == LIMIT) return INVALID;
    clock_gettime(CLOCK_MONOTONIC, &now);
    one->ms = now.tv_sec * 1e3 + now.tv_nsec / 1e6;
    one->is_reached = 0;
    events[event_count++] = one;
    return 0;
}

int cudaEventElapsedTime(float *ms, void *start, void *end) {
    const Event *first = start, *last = end;
    if (!is_event(first) || !is_event(last)) return NO_HANDLE;
    if (!first->is_reached || !last->is_reached) return NOT_READY;
    *ms = (float)(last->ms - first->ms);
    return 0;
}

static const char *tell(int code, int is_name) {
    switch (code) {
    case 0: return is_name ? "cudaSuccess" : "no error";
    case INVALID: return is_name ? "cudaErrorInvalidValue" : "invalid argument";
    case NO_MEMORY: return is_name ? "cudaErrorMemoryAllocation" : "out of memory";
    case NO_DEVICE: return is_name ? "cudaErrorNoDevice" : "no CUDA-capable device is detected";
    case NO_HANDLE: return is_name ? "cudaErrorInvalidResourceHandle" : "invalid resource handle";
    case NOT_READY: return is_name ? "cudaErrorNotReady" : "device not ready";
    case ILLEGAL_ADDRESS:
        return is_name ? "cudaErrorIllegalAddress" : "an illegal memory access was encountered";
    default: return is_name ? "cudaErrorUnknown" : "unknown error";
    }
}

const char *cudaGetErrorName(int code) { return tell(code, 1); }
const char *cudaGetErrorString(int code) { return tell(code, 0); }
