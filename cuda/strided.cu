// Broadcasts, and copies between arrays that lie in different ways.
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
  visit_with_ids(dst.dtype, [&]<class T>(T) {
    with_beta<T>(dst, beta, [&]<class Array, class Put>(Array out, Put put) {
      walk(on_, "strided_copy", args.shape, {args.dst_stride, args.src_stride}, Move<T, Put>{put}, out, in<T>(src));
    });
  });
}

}  // namespace borealis
