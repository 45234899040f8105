// `libcuda` for a machine that has no GPU: what CubeCL asks of a driver, done on the CPU, at once.
//
// It refuses what a driver refuses where cadft could ask for it: more memory than there is, grids and blocks that are too
// large, descriptors that are not aligned. Fresh memory holds no numbers but NaN, so that whoever reads what nobody wrote is
// seen. `CUDA_EMULATED_MEMORY` is the size of the memory in bytes.
#include "threads.h"

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <dlfcn.h>
#include <map>
#include <mutex>
#include <sys/mman.h>
#include <unistd.h>

void run_grid(void (*entry)(void **), void **parameters, Dim grid, Dim block, unsigned shared);

#define API extern "C" int
#define LOCKED std::lock_guard<std::mutex> guard(mutex)

typedef uint64_t Address;

static const int OK = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, NO_DEVICE = 101, INVALID_IMAGE = 200, NOT_FOUND = 500;
static const int MOST_SHARED = 227 << 10, MOST_THREADS = 1024, MOST_BLOCKS_Y = 65535;
static std::mutex mutex;
static std::map<Address, size_t> allocations;
static size_t used;

static size_t memory_size() {
    const char *size = getenv("CUDA_EMULATED_MEMORY");
    return size ? strtoull(size, nullptr, 10) : size_t(8) << 30;
}

// ---- the device

// Kernels find in this library what `threads.h` names.
API cuInit(unsigned) {
    Dl_info here;
    dladdr((void *)cuInit, &here);
    return dlopen(here.dli_fname, RTLD_NOW | RTLD_NOLOAD | RTLD_GLOBAL) ? OK : NOT_FOUND;
}
API cuDriverGetVersion(int *version) { return *version = 13000, OK; }
API cuDeviceGetCount(int *count) { return *count = 1, OK; }
API cuDeviceGet(int *device, int ordinal) { return *device = ordinal, ordinal ? NO_DEVICE : OK; }
API cuDeviceGetName(char *name, int size, int) { return snprintf(name, size, "emulated on the CPU"), OK; }
API cuDeviceGetPCIBusId(char *id, int size, int) { return snprintf(id, size, "0000:00:00.0"), OK; }
API cuDeviceGetUuid_v2(int *id, int) {
    // Each process has a device of its own.
    return memset(id, 0, 16), *id = getpid(), OK;
}
API cuDeviceGetUuid(int *id, int device) { return cuDeviceGetUuid_v2(id, device); }
API cuDeviceTotalMem_v2(size_t *size, int) { return *size = memory_size(), OK; }
API cuMemGetInfo_v2(size_t *free, size_t *total) { return *total = memory_size(), *free = *total - used, OK; }

API cuDeviceGetAttribute(int *value, int attribute, int) {
    switch (attribute) {
    case 1: case 2: case 3: *value = MOST_THREADS; break; // of a block: all, x, y
    case 4: *value = 64; break;                           // z
    case 5: *value = 2147483647; break;                   // blocks of a grid: x
    case 6: case 7: *value = MOST_BLOCKS_Y; break;        // y, z
    case 8: case 97: *value = MOST_SHARED; break;
    case 10: *value = 32; break;    // lanes of a warp
    case 16: *value = 132; break;   // multiprocessors
    case 75: *value = 9; break;     // compute capability: 9.0
    case 76: *value = 0; break;
    default: *value = 1;
    }
    return OK;
}

API cuDevicePrimaryCtxRetain(void **context, int) { return *context = &mutex, OK; }
API cuDevicePrimaryCtxRelease_v2(int) { return OK; }
API cuCtxSetCurrent(void *) { return OK; }
API cuCtxGetCurrent(void **context) { return *context = &mutex, OK; }
API cuCtxGetDevice(int *device) { return *device = 0, OK; }
API cuCtxGetStreamPriorityRange(int *least, int *greatest) { return *least = 0, *greatest = -5, OK; }
API cuGetErrorName(int code, const char **name) {
    return *name = code == OUT_OF_MEMORY ? "CUDA_ERROR_OUT_OF_MEMORY" : "CUDA_ERROR", OK;
}
API cuGetErrorString(int code, const char **text) { return *text = code == OUT_OF_MEMORY ? "out of memory" : "an error", OK; }

// ---- streams and events: everything has been done when it is asked for

API cuStreamCreateWithPriority(void **stream, unsigned, int) { return *stream = new char, OK; }
API cuStreamCreate(void **stream, unsigned) { return *stream = new char, OK; }
API cuStreamDestroy_v2(void *stream) { return delete (char *)stream, OK; }
API cuStreamSynchronize(void *) { return OK; }
API cuStreamWaitEvent(void *, void *, unsigned) { return OK; }
API cuEventCreate(void **event, unsigned) { return *event = new timespec, OK; }
API cuEventDestroy_v2(void *event) { return delete (timespec *)event, OK; }
API cuEventRecord(void *event, void *) { return clock_gettime(CLOCK_MONOTONIC, (timespec *)event), OK; }
API cuCtxRecordEvent(void *, void *event) { return cuEventRecord(event, nullptr); }
API cuCtxWaitEvent(void *, void *) { return OK; }
API cuEventSynchronize(void *) { return OK; }
API cuEventQuery(void *) { return OK; }
API cuEventElapsedTime_v2(float *milliseconds, timespec *from, timespec *to) {
    *milliseconds = (to->tv_sec - from->tv_sec) * 1e3 + (to->tv_nsec - from->tv_nsec) / 1e6;
    return OK;
}
API cuEventElapsedTime(float *milliseconds, timespec *from, timespec *to) {
    return cuEventElapsedTime_v2(milliseconds, from, to);
}

// ---- memory

API cuMemAlloc_v2(Address *address, size_t size) {
    LOCKED;
    if (size == 0)
        return INVALID_VALUE;
    if (used + size > memory_size())
        return OUT_OF_MEMORY;
    void *memory = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return OUT_OF_MEMORY;
    memset(memory, 0xff, size);
    used += size;
    *address = (Address)memory;
    allocations[*address] = size;
    return OK;
}

API cuMemFree_v2(Address address) {
    LOCKED;
    auto found = allocations.find(address);
    if (found == allocations.end())
        return INVALID_VALUE;
    used -= found->second;
    munmap((void *)address, found->second);
    allocations.erase(found);
    return OK;
}

API cuMemAllocAsync(Address *address, size_t size, void *) { return cuMemAlloc_v2(address, size); }
API cuMemFreeAsync(Address address, void *) { return cuMemFree_v2(address); }
API cuMemAllocHost_v2(void **memory, size_t size) {
    *memory = aligned_alloc(512, (size + 511) / 512 * 512);
    return *memory ? OK : OUT_OF_MEMORY;
}
API cuMemFreeHost(void *memory) { return free(memory), OK; }

static int copy(void *to, const void *from, size_t size) {
    LOCKED;
    memmove(to, from, size);
    return OK;
}
API cuMemcpyHtoDAsync_v2(Address to, const void *from, size_t size, void *) { return copy((void *)to, from, size); }
API cuMemcpyDtoHAsync_v2(void *to, Address from, size_t size, void *) { return copy(to, (void *)from, size); }
API cuMemcpyDtoDAsync_v2(Address to, Address from, size_t size, void *) { return copy((void *)to, (void *)from, size); }

struct Side {
    size_t x, y;
    int kind; // 1: of the host
    char *host;
    Address device;
    void *array;
    size_t pitch;
    char *start() const { return (kind == 1 ? host : (char *)device) + y * pitch + x; }
};
struct Rows {
    Side from, to;
    size_t width, height;
};
API cuMemcpy2DAsync_v2(const Rows *rows, void *) {
    LOCKED;
    for (size_t row = 0; row < rows->height; row++)
        memcpy(rows->to.start() + row * rows->to.pitch, rows->from.start() + row * rows->from.pitch, rows->width);
    return OK;
}

// ---- kernels: what `nvrtc.cpp` makes of them is the path of a shared object

API cuModuleLoadData(void **module, const void *path) {
    LOCKED;
    *module = dlopen((const char *)path, RTLD_NOW | RTLD_LOCAL);
    if (!*module)
        fprintf(stderr, "%s\n", dlerror());
    return *module ? OK : INVALID_IMAGE;
}
API cuModuleGetFunction(void **function, void *module, const char *) {
    *function = dlsym(module, "run_kernel");
    return *function ? OK : NOT_FOUND;
}
API cuFuncSetAttribute(void *, int, int) { return OK; }
API cuLaunchKernel(void *function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned x, unsigned y, unsigned z,
                   unsigned shared, void *, void **parameters, void **) {
    LOCKED;
    uint64_t threads = uint64_t(x) * y * z, blocks = uint64_t(grid_x) * grid_y * grid_z;
    if (!threads || !blocks || threads > MOST_THREADS || grid_y > MOST_BLOCKS_Y || grid_z > MOST_BLOCKS_Y || shared > MOST_SHARED)
        return INVALID_VALUE;
    run_grid((void (*)(void **))function, parameters, {grid_x, grid_y, grid_z}, {x, y, z}, shared);
    return OK;
}

// ---- boxes that the copy engine (TMA) brings to shared memory

struct Descriptor {
    char *base;
    uint64_t size[5], stride[4]; // elements; bytes
    uint32_t box[5];
    uint8_t rank, bytes, swizzle;
};
static_assert(sizeof(Descriptor) <= 128, "a descriptor has 128 bytes");

API cuTensorMapEncodeTiled(Descriptor *map, int type, unsigned rank, void *base, const uint64_t *sizes, const uint64_t *strides,
                           const uint32_t *box, const uint32_t *steps, int interleave, int swizzle, int, int) {
    static const uint8_t BYTES[] = {1, 2, 4, 4, 8, 8, 2, 4, 8, 2, 4, 4, 4};
    memset((void *)map, 0, 128);
    map->base = (char *)base;
    map->rank = rank;
    map->bytes = BYTES[type];
    map->swizzle = swizzle;
    bool valid = (Address)base % 16 == 0 && interleave == 0;
    for (unsigned i = 0; i < rank; i++) {
        map->size[i] = sizes[i];
        map->box[i] = box[i];
        valid &= box[i] >= 1 && box[i] <= 256 && steps[i] == 1;
        if (i > 0) {
            map->stride[i - 1] = strides[i - 1];
            valid &= strides[i - 1] % 16 == 0;
        }
    }
    // Rows of a swizzled box are no longer than what is swizzled: 32, 64 or 128 bytes.
    uint64_t row = uint64_t(box[0]) * map->bytes;
    valid &= row % 16 == 0 && (swizzle == 0 || row <= (16u << swizzle));
    return valid ? OK : INVALID_VALUE;
}

unsigned copy_box(const void *descriptor, char *shared, const int *corner) {
    const Descriptor &map = *(const Descriptor *)descriptor;
    unsigned elements = 1;
    for (unsigned i = 0; i < map.rank; i++)
        elements *= map.box[i];
    for (unsigned element = 0; element < elements; element++) {
        Address to = (Address)shared + uint64_t(element) * map.bytes;
        // Bits 4.. are mixed with bits 7.., as many as the swizzle is wide.
        to ^= (to >> 7 & ((1u << map.swizzle) - 1)) << 4;
        const char *from = map.base;
        bool inside = true;
        for (unsigned i = 0, rest = element; i < map.rank; rest /= map.box[i], i++) {
            int64_t at = int64_t(corner[i]) + rest % map.box[i];
            inside &= at >= 0 && at < int64_t(map.size[i]);
            from += at * int64_t(i ? map.stride[i - 1] : map.bytes);
        }
        if (inside)
            memcpy((void *)to, from, map.bytes);
        else
            memset((void *)to, 0, map.bytes);
    }
    return elements * map.bytes;
}
