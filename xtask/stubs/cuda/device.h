// CUDA C++ as CubeCL writes it, for a C++ compiler: the language, bf16, warps, tensor cores, barriers.
//
// Only what the kernels of cadft have been seen to use. What is missing does not compile, and is added here.
#pragma once

#include "threads.h"

#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

using std::isinf;
using std::isnan;

#define __device__
#define __global__
#define __grid_constant__
#define __launch_bounds__(...)
#define __cluster_dims__(...)

#define threadIdx (running->index)
#define blockIdx (running->block)
#define blockDim (running->block_size)
#define gridDim (running->grid_size)
#define warpSize 32

// Calls a kernel with parameters that are given as a driver gets them.
template <class... A, size_t... I> void call_with(void (*kernel)(A...), void **parameters, std::index_sequence<I...>) {
    kernel(*(std::remove_cv_t<A> *)parameters[I]...);
}
template <class... A> void call(void (*kernel)(A...), void **parameters) {
    call_with(kernel, parameters, std::index_sequence_for<A...>{});
}

template <class T, class U> T bits(U value) {
    static_assert(sizeof(T) == sizeof(U), "of one size");
    T result;
    memcpy(&result, &value, sizeof result);
    return result;
}

// ---- numbers

// bf16: the upper half of an f32, rounded to the nearest, to the even one of two.
struct __nv_bfloat16 {
    uint16_t half;
    __nv_bfloat16() = default;
    template <class T, class = std::enable_if_t<std::is_arithmetic<T>::value>> __nv_bfloat16(T value) {
        uint32_t whole = bits<uint32_t>((float)value);
        half = isnan((float)value) ? 0x7fff : (whole + 0x7fff + (whole >> 16 & 1)) >> 16;
    }
    operator float() const { return bits<float>((uint32_t)half << 16); }
};

// TF32: ten bits behind the point.
inline float tf32(float value) {
    return isnan(value) ? value : bits<float>((bits<uint32_t>(value) + 0x1000) & ~0x1fffu);
}

#define FOR_NUMBERS(DEFINE) DEFINE(int) DEFINE(unsigned) DEFINE(long long) DEFINE(unsigned long long)
#define MAX_AND_MIN(T)                               \
    inline T max(T a, T b) { return a > b ? a : b; } \
    inline T min(T a, T b) { return a < b ? a : b; }
FOR_NUMBERS(MAX_AND_MIN)
inline float max(float a, float b) { return fmaxf(a, b); }
inline float min(float a, float b) { return fminf(a, b); }
inline unsigned __umulhi(unsigned a, unsigned b) { return (unsigned long long)a * b >> 32; }
inline int __clz(int a) { return a ? __builtin_clz(a) : 32; }

// Threads give way only where they wait.
inline float add_atomically(float *sum, float value) {
    float before = *sum;
    *sum = before + value;
    return before;
}

// ---- blocks and warps

inline void __syncthreads() { wait_for_block(); }
inline void __syncwarp() { exchange(nullptr, 0, nullptr); }
inline unsigned __activemask() { return ~0u; }

template <class T> T __shfl_sync(unsigned, T value, unsigned lane) {
    const unsigned char *left;
    unsigned present = exchange(&value, sizeof value, &left);
    if (present >> (lane & 31) & 1)
        memcpy(&value, left + 64 * (lane & 31), sizeof value);
    return value;
}

// Whether this lane is the one that is chosen.
inline unsigned elect() {
    int lane = running->lane;
    return __builtin_ctz(exchange(nullptr, 0, nullptr)) == lane;
}

// ---- tensor cores, by fragments of registers: lane 4g + t has columns 2t, 2t + 1 of rows g and g + 8

inline uint32_t __cvta_generic_to_shared(const void *address) { return (uint32_t)(uintptr_t)address; }

// What lane `lane` left, `at` registers from the first.
inline uint32_t left_register(const unsigned char *left, int lane, int at) {
    uint32_t value;
    memcpy(&value, left + 64 * lane + 4 * at, sizeof value);
    return value;
}

// d = a · b + c, of 16 × K, K × 8 and 16 × 8: sixteen times two bf16 in a register, or eight times TF32.
template <int K> void multiply_fragments(float *d, const uint32_t *a, const uint32_t *b, const float *c) {
    uint32_t mine[6] = {a[0], a[1], a[2], a[3], b[0], b[1]};
    const unsigned char *left;
    int lane = running->lane;
    exchange(mine, sizeof mine, &left);
    // Element k of a vector of which every lane of four has a part.
    auto factor = [&](int vector, int at, int step, int k) {
        if (K == 8)
            return tf32(bits<float>(left_register(left, vector * 4 + k % 4, at + k / 4 * step)));
        uint32_t both = left_register(left, vector * 4 + k % 8 / 2, at + k / 8 * step);
        return bits<float>(k % 2 ? both & 0xffff0000 : both << 16);
    };
    for (int i = 0; i < 4; i++) {
        int row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
        float sum = 0;
        for (int k = 0; k < K; k++)
            sum += factor(row % 8, row / 8, 2, k) * factor(column, 4, 1, k);
        d[i] = c[i] + sum;
    }
}

// N matrices of 8 × 8 halves; lane 8j + i has the address of row i of matrix j.
template <int N, bool TRANSPOSED> void load_fragments(uint32_t *d, uint32_t address) {
    const unsigned char *left;
    int lane = running->lane;
    exchange(&address, sizeof address, &left);
    for (int matrix = 0; matrix < N; matrix++) {
        uint32_t halves[2];
        for (int i = 0; i < 2; i++) {
            int row = lane / 4, column = lane % 4 * 2 + i;
            if (TRANSPOSED)
                std::swap(row, column);
            uint32_t start;
            memcpy(&start, left + 64 * (8 * matrix + row), sizeof start);
            halves[i] = ((const uint16_t *)(uintptr_t)start)[column];
        }
        d[matrix] = halves[0] | halves[1] << 16;
    }
    // Nobody writes to the memory before all have read it.
    exchange(nullptr, 0, nullptr);
}

// ---- tensor cores, by whole matrices: here every lane holds all of each

namespace nvcuda {
namespace wmma {
struct matrix_a {};
struct matrix_b {};
struct accumulator {};
struct row_major {};
struct col_major {};
enum layout_t { mem_row_major, mem_col_major };
namespace precision {
struct tf32 {};
}

inline float __float_to_tf32(float value) { return ::tf32(value); }

template <class T> struct stored { typedef T type; };
template <> struct stored<precision::tf32> { typedef float type; };

template <class Use, int M, int N, int K, class T, class Layout = void> struct fragment {
    static const int rows = std::is_same<Use, matrix_b>::value ? K : M;
    static const int columns = std::is_same<Use, matrix_a>::value ? K : N;
    static const int num_elements = rows * columns;
    typedef typename stored<T>::type value;
    value x[num_elements];
    // As a factor of a product.
    float factor(int row, int column) const {
        float value = x[row * columns + column];
        return std::is_same<T, precision::tf32>::value ? ::tf32(value) : value;
    }
};

inline size_t offset(bool by_columns, int row, int column, unsigned stride) {
    return by_columns ? size_t(column) * stride + row : size_t(row) * stride + column;
}

template <class F, class V> void fill_fragment(F &f, V value) {
    for (auto &x : f.x)
        x = value;
}

template <class F, class P> void load(F &f, const P *from, unsigned stride, bool by_columns) {
    exchange(nullptr, 0, nullptr);
    for (int i = 0; i < F::num_elements; i++)
        f.x[i] = from[offset(by_columns, i / F::columns, i % F::columns, stride)];
    exchange(nullptr, 0, nullptr);
}
template <class U, int M, int N, int K, class T, class L, class P>
void load_matrix_sync(fragment<U, M, N, K, T, L> &f, const P *from, unsigned stride) {
    load(f, from, stride, std::is_same<L, col_major>::value);
}
template <class F, class P> void load_matrix_sync(F &f, const P *from, unsigned stride, layout_t layout) {
    load(f, from, stride, layout == mem_col_major);
}

template <class F, class P> void store_matrix_sync(P *to, const F &f, unsigned stride, layout_t layout) {
    exchange(nullptr, 0, nullptr);
    for (int i = running->lane; i < F::num_elements; i += warpSize)
        to[offset(layout == mem_col_major, i / F::columns, i % F::columns, stride)] = f.x[i];
    exchange(nullptr, 0, nullptr);
}

template <int M, int N, int K, class T, class L1, class L2, class D, class C>
void mma_sync(fragment<accumulator, M, N, K, D> &d, const fragment<matrix_a, M, N, K, T, L1> &a,
              const fragment<matrix_b, M, N, K, T, L2> &b, const fragment<accumulator, M, N, K, C> &c) {
    // Each lane computes its part, and gets the others.
    const int part = M * N / warpSize;
    float sums[part];
    for (int i = 0; i < part; i++) {
        int at = running->lane * part + i, row = at / N, column = at % N;
        sums[i] = 0;
        for (int k = 0; k < K; k++)
            sums[i] += a.factor(row, k) * b.factor(k, column);
    }
    const unsigned char *left;
    exchange(sums, sizeof sums, &left);
    for (int i = 0; i < M * N; i++) {
        float sum;
        memcpy(&sum, left + 64 * (i / part) + 4 * (i % part), sizeof sum);
        d.x[i] = c.x[i] + sum;
    }
}
} // namespace wmma
} // namespace nvcuda

// ---- barriers of shared memory, and what arrives there

namespace cuda {
enum thread_scope { thread_scope_thread, thread_scope_block };

// In eight bytes, as on a device.
template <thread_scope> struct barrier {
    typedef unsigned arrival_token;
    int16_t expected, missing;
    int32_t bytes_and_phase; // bytes that have yet to come, and a bit that changes with every phase

    unsigned phase() const { return *(volatile const int32_t *)&bytes_and_phase & 1; }
    void expect(int bytes) { bytes_and_phase += 2 * bytes; }
    void complete(int bytes) {
        bytes_and_phase -= 2 * bytes;
        turn();
    }
    void turn() {
        if (missing == 0 && bytes_and_phase >> 1 == 0) {
            bytes_and_phase ^= 1;
            missing = expected;
        }
    }
    arrival_token arrive(int count = 1) {
        unsigned before = phase();
        missing -= count;
        turn();
        return before;
    }
    void wait(arrival_token token) const {
        while (phase() == token)
            let_others_run();
    }
    void wait_parity(unsigned parity) const { wait(parity & 1); }
    void arrive_and_wait() { wait(arrive()); }
};

template <class B> void init(B *barrier, int count) {
    barrier->expected = barrier->missing = count;
    barrier->bytes_and_phase = 0;
}
namespace device {
template <class B> unsigned barrier_arrive_tx(B &barrier, int count, int bytes) {
    barrier.expect(bytes);
    return barrier.arrive(count);
}
namespace experimental {
inline void fence_proxy_async_shared_cta() {}
template <class B>
void cp_async_bulk_tensor_3d_global_to_shared(void *to, const void *descriptor, int x, int y, int z, B &barrier) {
    int corner[] = {x, y, z};
    barrier.complete(copy_box(descriptor, (char *)to, corner));
}
} // namespace experimental
} // namespace device
} // namespace cuda
