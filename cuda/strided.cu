// Kernels over strided arrays: broadcasts and copies.
#include "cuda/walk.h"

namespace borealis {

namespace {

Axes axes_of(const Broadcast& walk) { return {walk.shape, walk.shape.strides(), walk.a_stride, walk.b_stride}; }

template <class Op, class T> struct Binary {
  T* y;
  const T *a, *b;
  __device__ void operator()(const Place& p) const { y[p.at[0]] = Op::f(a[p.at[1]], b[p.at[2]]); }
};

template <class Op, int side, class T, class Put> struct BinaryGrad {
  T* dx;
  const T *a, *b, *dy;
  Put put;
  __device__ void operator()(const Place& p) const {
    const T x = a[p.at[1]], y = b[p.at[2]];
    put(dx[p.at[0]], (side == 0 ? Op::da(x, y) : Op::db(x, y)) * dy[p.at[0]]);
  }
};

template <class T, class Put> struct Move {
  T* to;
  const T* from;
  Put put;
  __device__ void operator()(const Place& p) const { put(to[p.at[0]], from[p.at[1]]); }
};

}  // namespace

void CudaBackend::binary(BinaryOp op, Span y, ConstSpan a, ConstSpan b, const Broadcast& args) {
  visit(y.dtype, [&]<class T>(T) {
    with_op<BinaryOps>(op, [&]<class Op>(Op) {
      walk(on_, "binary", args.shape, axes_of(args), Binary<Op, T>{y.as<T>(), a.as<T>(), b.as<T>()});
    });
  });
}

void CudaBackend::binary_grad(BinaryOp op, int side, Span dx, ConstSpan a, ConstSpan b, ConstSpan dy,
                              const Broadcast& args, double beta) {
  visit(dx.dtype, [&]<class T>(T) {
    with_op<BinaryOps>(op, [&]<class Op>(Op) {
      with_put<T>(beta, [&]<class Put>(Put put) {
        const auto run = [&](auto side_is) {
          walk(on_, "binary_grad", args.shape, axes_of(args),
               BinaryGrad<Op, decltype(side_is)::value, T, Put>{dx.as<T>(), a.as<T>(), b.as<T>(), dy.as<T>(), put});
        };
        side == 0 ? run(std::integral_constant<int, 0>{}) : run(std::integral_constant<int, 1>{});
      });
    });
  });
}

void CudaBackend::strided_copy(Span dst, ConstSpan src, const StridedCopy& args, double beta) {
  visit_with_ids(dst.dtype, [&]<class T>(T) {
    with_put<T>(beta, [&]<class Put>(Put put) {
      walk(on_, "strided_copy", args.shape, {args.shape, args.dst_stride, args.src_stride, {}},
           Move<T, Put>{dst.as<T>(), src.as<T>(), put});
    });
  });
}

}  // namespace borealis
