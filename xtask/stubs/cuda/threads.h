// What a kernel and whoever runs it have in common.
#pragma once

struct Dim {
    unsigned x, y, z;
};

// A thread of a block, as its kernel sees it.
struct Thread {
    Dim index, block, block_size, grid_size;
    int lane; // within its warp
};

extern "C" {
// The thread that runs now.
extern Thread *running;
// The block's shared memory.
extern char *shared_memory;
// Waits for every thread of the block.
void wait_for_block();
// Lets the others run; for loops that wait for what another thread does.
void let_others_run();
// Leaves `size` bytes for the other lanes of the warp and waits until all that go on have come here. Returns which did,
// a bit a lane; `left` gets what they left, 64 bytes a lane, until the next call.
unsigned exchange(const void *value, unsigned size, const unsigned char **left);
// Copies a box between global and shared memory, as the descriptor says; returns its bytes.
unsigned copy_box(const void *descriptor, char *shared, const int *corner);
}
