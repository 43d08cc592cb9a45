// Broadcasts, and copies between arrays that lie in different ways.
#include "cuda/block_memory.h"
#include "cuda/walk.h"

namespace borealis {

inline namespace strided_cu {

template <class Op, class T> struct Binary {
  __device__ void operator()(T& y, T a, T b) const { y = Op::f(a, b); }
};

template <class Op, int side, class T, class Put> struct BinaryGrad {
  Put put;
  __device__ void operator()(T& dx, T a, T b, T dy) const { put(dx, (side == 0 ? Op::da(a, b) : Op::db(a, b)) * dy); }
};

template <class T, class Put> struct Move {
  Put put;
  __device__ void operator()(T& to, T from) const { put(to, from); }
};

// Matrices whose rows lie side by side in `to`, and whose columns in `from`: tiles go through shared memory, so that a warp reads
// and writes numbers that lie side by side.
constexpr int turn_tile = 32, turn_warps = 8;

struct Turn {
  bool turns = false;                                       // whether there are such matrices, and large ones
  int64_t rows = 0, cols = 0, to_row = 0, from_column = 0;  // numbers from one to the next
  int64_t across = 0, tiles = 0;                            // tiles side by side, and of a whole matrix
  Axes<2> matrices;                                         // where each begins

  explicit Turn(const Axes<2>& axes) : matrices(axes) {
    const int last = axes.rank - 1;
    for (int down = 0; down < last; ++down) {
      if (axes.stride[0][last] != 1 || axes.stride[1][last] <= 1 || axes.stride[1][down] != 1) continue;
      rows = axes.size[down], cols = axes.size[last];
      to_row = axes.stride[0][down], from_column = axes.stride[1][last];
      turns = rows >= turn_warps && cols >= turn_warps;
      across = (cols + turn_tile - 1) / turn_tile;
      tiles = (rows + turn_tile - 1) / turn_tile * across;
      matrices.rank = 0;
      for (int axis = 0; axis < last; ++axis) {
        if (axis == down) continue;
        const int at = matrices.rank++;
        matrices.size[at] = axes.size[axis];
        for (int k = 0; k < 2; ++k) matrices.stride[k][at] = axes.stride[k][axis];
      }
      return;
    }
  }
};

// A column longer than it is used, so that neither rows nor columns meet in a bank.
template <class T> struct TurnMemory { T at[turn_tile][turn_tile + 1]; };

template <class T, class Array, class Put>
__global__ void turn_kernel(Gate gate, Array to, const T* from, Turn turn, Put put) {
  if (gate.closed()) return;
  auto& tile = block_memory<TurnMemory<T>>();
  const int64_t block = blockIdx.x, i = block % turn.tiles / turn.across * turn_tile,
                j = block % turn.across * turn_tile;
  const walking::Place<2> begin = walking::place_of(turn.matrices, static_cast<uint64_t>(block / turn.tiles));
  const int lane = static_cast<int>(threadIdx.x);
  for (int c = static_cast<int>(threadIdx.y); c < turn_tile; c += turn_warps)
    if (i + lane < turn.rows && j + c < turn.cols)
      tile.at[c][lane] = from[begin.at[1] + (j + c) * turn.from_column + i + lane];
  __syncthreads();
  for (int r = static_cast<int>(threadIdx.y); r < turn_tile; r += turn_warps)
    if (i + r < turn.rows && j + lane < turn.cols) {
      const int64_t at = begin.at[0] + (i + r) * turn.to_row + j + lane;
      Pack<T, 1> y = mapping::load<T, 1>(to, at);
      put(y.at[0], tile.at[lane][r]);
      mapping::store<T, 1>(to, at, y);
    }
}

}  // namespace strided_cu

void CudaBackend::binary(BinaryOp op, Span y, ConstSpan a, ConstSpan b, const Broadcast& args) {
  visit(y.dtype, [&]<class T>(T) {
    with_op<BinaryOps>(op, [&]<class Op>(Op) {
      walk(on_, "binary", args.shape, {args.shape.strides(), args.a_stride, args.b_stride}, Binary<Op, T>{},
           Out<T>{y.as<T>()}, in<T>(a), in<T>(b));
    });
  });
}

void CudaBackend::binary_grad(BinaryOp op, int side, Span dx, ConstSpan a, ConstSpan b, ConstSpan dy,
                              const Broadcast& args, double beta) {
  const Shape::Strides as_dx = args.shape.strides();
  visit(dx.dtype, [&]<class T>(T) {
    with_op<BinaryOps>(op, [&]<class Op>(Op) {
      with_beta<T>(dx, beta, [&]<class Array, class Put>(Array out, Put put) {
        const auto run = [&](auto side_is) {
          walk(on_, "binary_grad", args.shape, {as_dx, args.a_stride, args.b_stride, as_dx},
               BinaryGrad<Op, decltype(side_is)::value, T, Put>{put}, out, in<T>(a), in<T>(b), in<T>(dy));
        };
        side == 0 ? run(std::integral_constant<int, 0>{}) : run(std::integral_constant<int, 1>{});
      });
    });
  });
}

void CudaBackend::strided_copy(Span dst, ConstSpan src, const StridedCopy& args, double beta) {
  if (args.shape.numel() == 0) return;
  const Turn turn(Axes<2>(args.shape, {args.dst_stride, args.src_stride}));
  visit_with_ids(dst.dtype, [&]<class T>(T) {
    with_beta<T>(dst, beta, [&]<class Array, class Put>(Array out, Put put) {
      if (turn.turns)
        return on_.launch("strided_copy", turn_kernel<T, Array, Put>,
                          blocks_for(args.shape.numel() / (turn.rows * turn.cols) * turn.tiles, 1),
                          dim3(turn_tile, turn_warps), sizeof(TurnMemory<T>), out, src.as<T>(), turn, put);
      walk(on_, "strided_copy", args.shape, {args.dst_stride, args.src_stride}, Move<T, Put>{put}, out, in<T>(src));
    });
  });
}

}  // namespace borealis
