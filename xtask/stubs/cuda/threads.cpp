// The threads of a block, one after the other on one thread of the CPU: each has a stack, and gives way where it waits.
#include "threads.h"

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sys/mman.h>
#include <vector>

namespace {

const size_t STACK = 1 << 20;
const unsigned LANES = 32;
// Rounds in which nothing happens but waiting, before that is an error.
const unsigned PATIENCE = 100000;

enum class State { Ready, Spinning, AtBlock, AtWarp, Done };

struct Warp {
    unsigned char left[2][LANES][64]; // in turns, as some may still read what was left before
    unsigned meetings, present;
};

struct Fiber {
    Thread seen;
    State state;
    Warp *warp;
    void *stack, *top;
};

std::vector<Fiber> fibers;
std::vector<Warp> warps;
void *scheduler;
void (*kernel)(void **);
void **arguments;

Fiber &current() { return *reinterpret_cast<Fiber *>(running); }

} // namespace

// Saves what a function call must keep, and goes on with another stack.
extern "C" void change_stack(void **save, void *load);
asm(R"(
.globl change_stack
.type change_stack,@function
change_stack:
    push %rbp
    push %rbx
    push %r12
    push %r13
    push %r14
    push %r15
    mov %rsp,(%rdi)
    mov %rsi,%rsp
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbx
    pop %rbp
    ret
)");

Thread *running;
char *shared_memory;

static void give_way(State state) {
    Fiber &fiber = current();
    fiber.state = state;
    change_stack(&fiber.top, scheduler);
}

void wait_for_block() { give_way(State::AtBlock); }

void let_others_run() { give_way(State::Spinning); }

unsigned exchange(const void *value, unsigned size, const unsigned char **left) {
    Fiber &fiber = current();
    unsigned turn = fiber.warp->meetings & 1;
    if (size)
        memcpy(fiber.warp->left[turn][fiber.seen.lane], value, size);
    give_way(State::AtWarp);
    if (left)
        *left = fiber.warp->left[turn][0];
    return fiber.warp->present;
}

static void begin() {
    kernel(arguments);
    give_way(State::Done);
    abort();
}

static void prepare(Fiber &fiber) {
    uint64_t *top = (uint64_t *)((char *)fiber.stack + STACK);
    *--top = 0; // aligns the stack as a call would
    *--top = (uint64_t)begin;
    for (int saved = 0; saved < 6; saved++)
        *--top = 0;
    fiber.top = top;
    fiber.state = State::Ready;
}

// Lets the lanes of a warp that have met go on; unless others of the warp run still, who may be on their way.
static bool meet(unsigned first, unsigned end, bool in_any_case) {
    unsigned present = 0;
    bool others = false;
    for (unsigned i = first; i < end; i++) {
        State state = fibers[i].state;
        if (state == State::AtWarp)
            present |= 1u << (i - first);
        others |= state == State::Ready || state == State::Spinning;
    }
    if (!present || (others && !in_any_case))
        return false;
    Warp &warp = *fibers[first].warp;
    warp.present = present;
    warp.meetings++;
    for (unsigned i = first; i < end; i++)
        if (fibers[i].state == State::AtWarp)
            fibers[i].state = State::Ready;
    return true;
}

static void run_block(unsigned threads) {
    for (unsigned i = 0; i < threads; i++)
        prepare(fibers[i]);
    for (unsigned idle = 0; idle < PATIENCE;) {
        bool progress = false, at_block = false, elsewhere = false;
        for (unsigned i = 0; i < threads; i++) {
            Fiber &fiber = fibers[i];
            State before = fiber.state;
            if (before != State::Ready && before != State::Spinning)
                continue;
            running = &fiber.seen;
            change_stack(&scheduler, fiber.top);
            progress |= before == State::Ready || fiber.state != State::Spinning;
        }
        for (unsigned first = 0; first < threads; first += LANES)
            progress |= meet(first, first + LANES < threads ? first + LANES : threads, idle > 4);
        for (unsigned i = 0; i < threads; i++) {
            at_block |= fibers[i].state == State::AtBlock;
            elsewhere |= fibers[i].state != State::AtBlock && fibers[i].state != State::Done;
        }
        if (!at_block && !elsewhere)
            return;
        if (!elsewhere) {
            for (unsigned i = 0; i < threads; i++)
                if (fibers[i].state == State::AtBlock)
                    fibers[i].state = State::Ready;
            progress = true;
        }
        idle = progress ? 0 : idle + 1;
    }
    fprintf(stderr, "a kernel waits for ever\n");
    abort();
}

// Runs a kernel on every block of a grid.
void run_grid(void (*entry)(void **), void **parameters, Dim grid, Dim block, unsigned shared) {
    if (fibers.empty()) {
        auto memory = [](size_t size, int flags) {
            return mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | flags, -1, 0);
        };
        // Kernels keep addresses of shared memory in 32 bits.
        shared_memory = (char *)memory(256 << 10, MAP_32BIT);
        fibers.resize(1024);
        warps.resize(1024 / LANES);
        for (Fiber &fiber : fibers)
            fiber.stack = memory(STACK, 0);
    }
    kernel = entry;
    arguments = parameters;
    unsigned threads = block.x * block.y * block.z;
    for (unsigned i = 0; i < threads; i++) {
        Dim index = {i % block.x, i / block.x % block.y, i / (block.x * block.y)};
        fibers[i].seen = {index, {}, block, grid, int(i % LANES)};
        fibers[i].warp = &warps[i / LANES];
    }
    for (unsigned z = 0; z < grid.z; z++)
        for (unsigned y = 0; y < grid.y; y++)
            for (unsigned x = 0; x < grid.x; x++) {
                for (unsigned i = 0; i < threads; i++)
                    fibers[i].seen.block = {x, y, z};
                // What nobody wrote is no number.
                memset(shared_memory, 0xff, shared);
                run_block(threads);
            }
}
