#include "cuda/block_memory.h"
#include "tests/stand_in/kernels.h"

namespace borealis::kernels {

namespace {

template <class... P, class... A>
cudaError_t launch(void (*kernel)(P...), dim3 blocks, dim3 threads, size_t shared_bytes, cudaStream_t stream,
                   A... arguments) {
  cudaLaunchConfig_t config{};
  config.gridDim = blocks;
  config.blockDim = threads;
  config.dynamicSmemBytes = shared_bytes;
  config.stream = stream;
  return cudaLaunchKernelEx(&config, kernel, arguments...);
}

unsigned parts(int n, int size) { return static_cast<unsigned>((n + size - 1) / size); }

__device__ float warp_sum(float x) {
  for (int d = 16; d > 0; d /= 2) x += __shfl_xor_sync(~0u, x, d);
  return x;
}

}  // namespace

struct RowSum {
  float part[8];
};

template <bool first, bool second> __global__ void row_sum_kernel(float* y, const float* x, int rows, int cols) {
  auto& shared = block_memory<RowSum>();
  const int thread = static_cast<int>(threadIdx.x), block = static_cast<int>(blockIdx.x);
  for (int row = block * 4; row < block * 4 + 4 && row < rows; ++row) {
    float sum = 0;
    for (int c = thread; c < cols; c += 256) sum += x[row * cols + c];
    sum = warp_sum(sum);
    if (thread % 32 == 0) shared.part[thread / 32] = sum;
    if (first) __syncthreads();
    if (thread == 0) {
      float total = 0;
      for (float part : shared.part) total += part;
      y[row] = total;
    }
    if (second) __syncthreads();
  }
}

__global__ void warp_row_sum_kernel(float* y, const float* x, int rows, int cols) {
  const int lane = static_cast<int>(threadIdx.x % 32);
  const int row = static_cast<int>(blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32);
  if (row >= rows) return;
  float sum = 0;
  for (int c = lane; c < cols; c += 32) sum += x[row * cols + c];
  sum = warp_sum(sum);
  if (lane == 0) y[row] = sum;
}

template <int width> struct Tile { float at[32][width]; };

template <int width, bool barrier> __global__ void transpose_kernel(float* y, const float* x, int m, int n) {
  auto& tile = block_memory<Tile<width>>();
  const int tx = static_cast<int>(threadIdx.x), ty = static_cast<int>(threadIdx.y);
  const int i0 = static_cast<int>(blockIdx.y) * 32, j0 = static_cast<int>(blockIdx.x) * 32;
  for (int k = ty; k < 32; k += 8)
    if (i0 + k < m && j0 + tx < n) tile.at[k][tx] = x[(i0 + k) * n + j0 + tx];
  if (barrier) __syncthreads();
  for (int k = ty; k < 32; k += 8)
    if (j0 + k < n && i0 + tx < m) y[(j0 + k) * m + i0 + tx] = tile.at[tx][k];
}

__global__ void scale_kernel(float* y, const float* x, float a, int count) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i >= count) return;
  float4 v = reinterpret_cast<const float4*>(x)[i];
  v.x *= a, v.y *= a, v.z *= a, v.w *= a;
  reinterpret_cast<float4*>(y)[i] = v;
}

__global__ void gather_kernel(float* y, const float* x, int n) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i < n) y[i] = x[i * 8 % n];
}

struct TicketSum {
  float part[8];
  int is_last;
};

template <Fences fences>
__global__ void ticket_sum_kernel(float* sum, float* partial, unsigned* ticket, const float* x, int n) {
  auto& shared = block_memory<TicketSum>();
  const int thread = static_cast<int>(threadIdx.x);
  float mine = 0;
  for (int i = static_cast<int>(blockIdx.x) * 256 + thread; i < n; i += static_cast<int>(gridDim.x) * 256) mine += x[i];
  mine = warp_sum(mine);
  if (thread % 32 == 0) shared.part[thread / 32] = mine;
  __syncthreads();
  int last = 0;
  if (thread == 0) {
    float total = 0;
    for (float part : shared.part) total += part;
    partial[blockIdx.x] = total;
    if (fences != Fences::no_release) __threadfence();
    shared.is_last = last = atomicAdd(ticket, 1u) == gridDim.x - 1;
    if (fences != Fences::no_acquire) __threadfence();
    if (fences == Fences::written_late) partial[blockIdx.x] = total;
  }
  if (fences == Fences::read_early) {
    const bool is_last = __shfl_sync(~0u, last, 0) != 0;  // waits for thread 0, but orders nothing
    if (is_last && thread == 1) *sum = partial[(blockIdx.x + 1) % gridDim.x];
  }
  __syncthreads();
  if (shared.is_last != 0 && thread == 0) {
    float total = 0;
    for (unsigned b = 0; b < gridDim.x; ++b) total += partial[b];
    *sum = total;
    *ticket = 0;
  }
}

__global__ void histogram_kernel(int* counts, const int* ids, int n, int bins) {
  int* mine = &block_memory<int>();
  const int thread = static_cast<int>(threadIdx.x), threads = static_cast<int>(blockDim.x);
  for (int b = thread; b < bins; b += threads) mine[b] = 0;
  __syncthreads();
  const int i = static_cast<int>(blockIdx.x) * threads + thread;
  if (i < n) atomicAdd(&mine[ids[i]], 1);
  __syncthreads();
  for (int b = thread; b < bins; b += threads) atomicAdd(&counts[b], mine[b]);
}

__global__ void warp_words_kernel(unsigned* y) {
  const unsigned lane = threadIdx.x;
  const bool odd = lane % 2 != 0;
  y[0 * 32 + lane] = __ballot_sync(~0u, odd);
  y[1 * 32 + lane] = __any_sync(~0u, lane == 7) != 0;
  y[2 * 32 + lane] = __all_sync(~0u, lane != 7) != 0;
  y[3 * 32 + lane] = __shfl_sync(~0u, lane, 5);
  y[4 * 32 + lane] = __shfl_sync(~0u, lane, 3, 8);
  y[5 * 32 + lane] = __shfl_up_sync(~0u, lane, 2);
  y[6 * 32 + lane] = __shfl_down_sync(~0u, lane, 2, 16);
  if (odd) y[7 * 32 + lane] = __shfl_xor_sync(0xAAAAAAAAu, lane, 2);
  __syncwarp();
  if (!odd) y[7 * 32 + lane] = __ballot_sync(0x55555555u, lane < 8);
  __syncwarp();
  y[8 * 32 + lane] = static_cast<unsigned>(__syncthreads_count(lane < 11));
}

struct Vectors {
  float4 at[32];
};

__global__ void shared_vectors_kernel(float* y) {
  auto& shared = block_memory<Vectors>();
  const unsigned lane = threadIdx.x;
  shared.at[lane] = make_float4(static_cast<float>(lane), 1, 2, 3);
  __syncwarp();
  y[lane] = shared.at[lane ^ 1].x;
}

__device__ constexpr float primes[4] = {2, 3, 5, 7};

__global__ void constants_kernel(float* y) { y[threadIdx.x] = primes[threadIdx.x % 4]; }

__global__ void to_bf16_kernel(__nv_bfloat16* y, const float* x, int n) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i < n) y[i] = __float2bfloat16(x[i]);
}

__global__ void plain_kernel(float* y, int n) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i < n) y[i] += 1;
}

__global__ void plain_long_kernel(float* y, long long n) {
  const long long i = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < n) y[i] += 1;
}

__global__ void by_table_kernel(Table table) {
  for (int i = static_cast<int>(threadIdx.x); i < table.count; i += 32) table.data[i] += 1;
}

struct WarpNumbers {
  float at[32];
};

__global__ void wrong_kernel(Wrong what, float* y, int n) {
  auto& shared = block_memory<WarpNumbers>();
  const unsigned lane = threadIdx.x % 32;
  const auto number = static_cast<float>(lane);
  switch (what) {
    case Wrong::caller_not_in_mask: y[lane] = __shfl_sync(0xFFFF0000u, number, 20); break;
    case Wrong::lane_returned:
      if (lane < 4) return;
      y[lane] = __shfl_xor_sync(~0u, number, 1);
      break;
    case Wrong::lane_elsewhere:
      if (lane < 4)
        y[lane] = __shfl_xor_sync(~0u, number, 1);
      else
        y[lane] = __shfl_xor_sync(~0u, number, 2);
      break;
    case Wrong::source_not_in_mask:
      if (lane < 16) y[lane] = __shfl_sync(0x0000FFFFu, number, 20);
      break;
    case Wrong::barrier_in_branch:
      if (threadIdx.x < 32) __syncthreads();
      break;
    case Wrong::barrier_after_return:
      if (threadIdx.x == 3) return;
      __syncthreads();
      break;
    case Wrong::two_barriers:
      if (threadIdx.x < 32)
        __syncthreads();
      else
        __syncthreads();
      break;
    case Wrong::width: y[lane] = __shfl_xor_sync(~0u, number, 1, 24); break;
    case Wrong::trap: __trap(); break;
    case Wrong::past_shared: shared.at[lane + 1] = number; break;
    case Wrong::past_end: y[n] = 1; break;
    case Wrong::far_past_end: y[1 << 30] = 1; break;
    case Wrong::unwritten_shared:
      if (lane != 5) shared.at[lane] = number;
      __syncwarp();
      y[lane] = shared.at[lane ^ 1];
      break;
    case Wrong::unwritten_global: y[1] = y[0]; break;
    case Wrong::host_memory: y[2] = **reinterpret_cast<float* const*>(y); break;
    case Wrong::blocks_race:
      if (threadIdx.x == 0) y[0] = static_cast<float>(blockIdx.x);
      break;
    case Wrong::readers_race: {
      float sum = __shfl_xor_sync(~0u, y[0], 1);
      if (lane == 1) y[0] = sum + y[0];
      break;
    }
    case Wrong::warps_race:
      if (threadIdx.x == 0) y[0] = 1;
      if (threadIdx.x >= 32) {
        __syncwarp();
        y[threadIdx.x] = y[0];
      }
      break;
    case Wrong::warp_race:
    case Wrong::shuffle_as_barrier:
      shared.at[lane] = number;
      if (what == Wrong::shuffle_as_barrier) y[lane] = __shfl_xor_sync(~0u, number, 1);
      y[lane] = shared.at[lane ^ 1];
      break;
    case Wrong::rewrite_race:
    case Wrong::nothing:
      for (int turn = 0; turn < 2; ++turn) {
        shared.at[lane] = number;
        __syncwarp();
        y[lane] = shared.at[lane / 4] + shared.at[lane ^ 1];
        if (what == Wrong::nothing) __syncwarp();
      }
      break;
  }
}

cudaError_t row_sum(float* y, const float* x, int rows, int cols, cudaStream_t stream, bool first, bool second) {
  const auto kernel = first && second ? row_sum_kernel<true, true>
                      : first         ? row_sum_kernel<true, false>
                                      : row_sum_kernel<false, true>;
  return launch(kernel, parts(rows, 4), 256, sizeof(RowSum), stream, y, x, rows, cols);
}

cudaError_t warp_row_sum(float* y, const float* x, int rows, int cols, cudaStream_t stream, unsigned threads) {
  return launch(warp_row_sum_kernel, parts(rows, static_cast<int>(threads / 32)), threads, 0, stream, y, x, rows, cols);
}

cudaError_t transpose(float* y, const float* x, int m, int n, cudaStream_t stream, bool barrier, bool odd) {
  const auto kernel = !odd      ? transpose_kernel<32, true>
                      : barrier ? transpose_kernel<33, true>
                                : transpose_kernel<33, false>;
  return launch(kernel, dim3(parts(n, 32), parts(m, 32)), dim3(32, 8), odd ? sizeof(Tile<33>) : sizeof(Tile<32>),
                stream, y, x, m, n);
}

cudaError_t scale(float* y, const float* x, float a, int count, cudaStream_t stream) {
  return launch(scale_kernel, parts(count, 128), 128, 0, stream, y, x, a, count);
}

cudaError_t gather(float* y, const float* x, int n, cudaStream_t stream) {
  return launch(gather_kernel, parts(n, 128), 128, 0, stream, y, x, n);
}

cudaError_t ticket_sum(float* sum, float* partial, unsigned* ticket, const float* x, int n, int blocks,
                       cudaStream_t stream, Fences fences) {
  const auto kernel = fences == Fences::both           ? ticket_sum_kernel<Fences::both>
                      : fences == Fences::no_release   ? ticket_sum_kernel<Fences::no_release>
                      : fences == Fences::no_acquire   ? ticket_sum_kernel<Fences::no_acquire>
                      : fences == Fences::written_late ? ticket_sum_kernel<Fences::written_late>
                                                       : ticket_sum_kernel<Fences::read_early>;
  return launch(kernel, static_cast<unsigned>(blocks), 256, sizeof(TicketSum), stream, sum, partial, ticket, x, n);
}

cudaError_t histogram(int* counts, const int* ids, int n, int bins, cudaStream_t stream) {
  return launch(histogram_kernel, parts(n, 128), 128, static_cast<size_t>(bins) * sizeof(int), stream, counts, ids, n,
                bins);
}

cudaError_t warp_words(unsigned* y, cudaStream_t stream) { return launch(warp_words_kernel, 1, 32, 0, stream, y); }

cudaError_t shared_vectors(float* y, cudaStream_t stream) {
  return launch(shared_vectors_kernel, 1, 32, sizeof(Vectors), stream, y);
}

cudaError_t constants(float* y, cudaStream_t stream) { return launch(constants_kernel, 1, 32, 0, stream, y); }

cudaError_t to_bf16(__nv_bfloat16* y, const float* x, int n, cudaStream_t stream) {
  return launch(to_bf16_kernel, parts(n, 128), 128, 0, stream, y, x, n);
}

cudaError_t plain(float* y, int n, dim3 blocks, dim3 threads, size_t shared_bytes, cudaStream_t stream) {
  return launch(plain_kernel, blocks, threads, shared_bytes, stream, y, n);
}

cudaError_t plain_long(float* y, long long n, cudaStream_t stream) {
  return launch(plain_long_kernel, static_cast<unsigned>((n + 255) / 256), 256, 0, stream, y, n);
}

cudaError_t allow_shared(int bytes) {
  return cudaFuncSetAttribute(plain_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
}

cudaError_t by_table(Table table, cudaStream_t stream) { return launch(by_table_kernel, 1, 32, 0, stream, table); }

cudaError_t wrong(Wrong what, float* y, int n, cudaStream_t stream) {
  const bool needs_two = what == Wrong::barrier_in_branch || what == Wrong::two_barriers || what == Wrong::warps_race;
  const unsigned blocks = what == Wrong::blocks_race ? 2 : 1;
  return launch(wrong_kernel, blocks, needs_two ? 64 : 32, sizeof(WarpNumbers), stream, what, y, n);
}

}  // namespace borealis::kernels
