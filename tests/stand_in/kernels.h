// Small kernels that a GPU's compiler takes as well (tests/CMakeLists.txt asks it): some right, some with one fault.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime.h>

namespace borealis::kernels {

// y [rows]: the sums of x [rows, cols]. A block for four rows, which share memory: `first` and `second` are its barriers.
cudaError_t row_sum(float* y, const float* x, int rows, int cols, cudaStream_t stream, bool first = true,
                    bool second = true);

// The same by a warp for a row, `threads` of a block.
cudaError_t warp_row_sum(float* y, const float* x, int rows, int cols, cudaStream_t stream, unsigned threads = 128);

// y [n, m] = xᵀ, x [m, n], through tiles in shared memory whose rows are 33 numbers long, or 32.
cudaError_t transpose(float* y, const float* x, int m, int n, cudaStream_t stream, bool barrier = true,
                      bool odd = true);

// y = a x by float4, of which `count` go round.
cudaError_t scale(float* y, const float* x, float a, int count, cudaStream_t stream);

// y[i] = x[8 i mod n]
cudaError_t gather(float* y, const float* x, int n, cudaStream_t stream);

// sum [1]: of x [n], by one launch whose last block adds up partial [blocks]; ticket [1] is 0 before and after.
enum class Fences { both, no_release, no_acquire, written_late, read_early };
cudaError_t ticket_sum(float* sum, float* partial, unsigned* ticket, const float* x, int n, int blocks,
                       cudaStream_t stream, Fences fences = Fences::both);

// counts [bins] += how many of ids [n] there are, counted in shared memory first.
cudaError_t histogram(int* counts, const int* ids, int n, int bins, cudaStream_t stream);

// Each lane's answers of a full warp: y [9, 32].
cudaError_t warp_words(unsigned* y, cudaStream_t stream);

// Through float4 in shared memory: y [32].
cudaError_t shared_vectors(float* y, cudaStream_t stream);

// y [32] from a table of constants.
cudaError_t constants(float* y, cudaStream_t stream);

cudaError_t to_bf16(__nv_bfloat16* y, const float* x, int n, cudaStream_t stream);

// y [n] += 1, where the launch itself is what is tested.
cudaError_t plain(float* y, int n, dim3 blocks, dim3 threads, size_t shared_bytes, cudaStream_t stream);
cudaError_t plain_long(float* y, long long n, cudaStream_t stream);  // where n may be 2³¹ and more
cudaError_t allow_shared(int bytes);                                 // for `plain`

// A struct that holds an address.
struct Table {
  float* data;
  int count;
};
cudaError_t by_table(Table table, cudaStream_t stream);

// Kernels that no GPU is sure to refuse. One warp, unless two are needed.
enum class Wrong {
  caller_not_in_mask,
  lane_returned,
  lane_elsewhere,
  source_not_in_mask,
  barrier_in_branch,
  barrier_after_return,
  two_barriers,
  width,
  trap,
  past_shared,
  past_end,      // y[n] = 1
  far_past_end,  // y[2³⁰] = 1
  unwritten_shared,
  unwritten_global,    // reads y[0]
  host_memory,         // reads what y[0], y[1] hold as an address
  blocks_race,         // all blocks write y[0]
  readers_race,        // a lane writes what all have read, itself last
  warps_race,          // a warp reads what another writes, after a __syncwarp of its own
  warp_race,           // lanes read each other's numbers without __syncwarp
  shuffle_as_barrier,  // likewise, with a shuffle between, which orders nothing
  rewrite_race,        // a lane writes again what others of its warp have read, without __syncwarp
  nothing              // likewise, with it
};
cudaError_t wrong(Wrong what, float* y, int n, cudaStream_t stream);

}  // namespace borealis::kernels
