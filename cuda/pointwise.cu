// Pointwise kernels without strides: one formula at every element.
#include <algorithm>
#include <cstddef>

#include "cuda/backend.h"
#include "cuda/types.h"
#include "engine/formulas.h"

namespace borealis {

inline namespace pointwise_cu {

struct Copy {
  template <class To, class From> __device__ void operator()(To& y, From x) const { y = static_cast<To>(x); }
};

template <class T> struct Fill {
  T value;
  __device__ void operator()(T& y) const { y = value; }
};

template <class Op, class T> struct Unary {
  T p;
  __device__ void operator()(T& y, T x) const { y = Op::f(x, p); }
};

template <class Op, class T, class Put> struct UnaryGrad {
  T p;
  Put put;
  __device__ void operator()(T& dx, T saved, T dy) const { put(dx, Op::df(saved, p) * dy); }
};

template <class T, class Put> struct Affine {
  T alpha, shift;
  Put put;
  __device__ void operator()(T& y, T x) const { put(y, alpha * x + shift); }
};

// A thread's four numbers are one block of random words.
template <bool packs, class T, class Array, class Put>
__global__ void dropout_kernel(Gate gate, Array y, const T* x, int64_t count, DropoutArgs args,
                               formulas::Dropout<T> dropout, Put put) {
  const int64_t block = this_thread(), first = 4 * block;
  if (first >= count || gate.closed()) return;
  const PhiloxBits bits = args.now().block(static_cast<uint32_t>(block));
  const auto drop = [&](T& to, T from, int i) {
    put(to, formulas::Dropout<T>::drop(from, dropout.factor(bits.word[i])));
  };
  if (packs && first + 4 <= count) {
    auto out = mapping::load<T, 4>(y, first);
    const auto in = mapping::load<T, 4>(In<T>{x}, first);
    for (int i = 0; i < 4; ++i) drop(out.at[i], in.at[i], i);
    mapping::store<T, 4>(y, first, out);
  } else {
    for (int i = 0; i < 4 && first + i < count; ++i) drop(y.at[first + i], x[first + i], i);
  }
}

}  // namespace pointwise_cu

// As whole numbers where the sizes allow it: the gate would not hold back a copy of CUDA's own.
void CudaBackend::copy(void* dst, const void* src, size_t bytes) {
  const auto copy_as = [&]<class T>(T) {
    map<T>(on_, "copy", static_cast<int64_t>(bytes / sizeof(T)), Copy{}, Out<T>{static_cast<T*>(dst)},
           In<T>{static_cast<const T*>(src)});
  };
  const auto places = reinterpret_cast<uintptr_t>(dst) | reinterpret_cast<uintptr_t>(src) | bytes;
  places % sizeof(float) == 0 ? copy_as(float{}) : copy_as(std::byte{});
}

void CudaBackend::fill(Span y, double value) {
  visit_with_ids(y.dtype,
                 [&]<class T>(T) { map<T>(on_, "fill", y.count, Fill<T>{static_cast<T>(value)}, Out<T>{y.as<T>()}); });
}

void CudaBackend::cast(Span y, ConstSpan x) {
  visit_with_ids(y.dtype, [&]<class To>(To) {
    visit_with_ids(x.dtype, [&]<class From>(From) {
      map_packs<16 / std::max(sizeof(To), sizeof(From))>(on_, "cast", y.count, Copy{}, Out<To>{y.as<To>()},
                                                         in<From>(x));
    });
  });
}

void CudaBackend::unary(UnaryOp op, Span y, ConstSpan x, double param) {
  visit(y.dtype, [&]<class T>(T) {
    with_op<UnaryOps>(op, [&]<class Op>(Op) {
      map<T>(on_, "unary", y.count, Unary<Op, T>{static_cast<T>(param)}, Out<T>{y.as<T>()}, in<T>(x));
    });
  });
}

void CudaBackend::unary_grad(UnaryOp op, Span dx, ConstSpan saved, ConstSpan dy, double param, double beta) {
  visit(dx.dtype, [&]<class T>(T) {
    with_op<UnaryOps>(op, [&]<class Op>(Op) {
      with_beta<T>(dx, beta, [&]<class Array, class Put>(Array out, Put put) {
        map<T>(on_, "unary_grad", dx.count, UnaryGrad<Op, T, Put>{static_cast<T>(param), put}, out, in<T>(saved),
               in<T>(dy));
      });
    });
  });
}

void CudaBackend::affine(Span y, ConstSpan x, double alpha, double shift, double beta) {
  visit(y.dtype, [&]<class T>(T) {
    with_beta<T>(y, beta, [&]<class Array, class Put>(Array out, Put put) {
      map<T>(on_, "affine", y.count, Affine<T, Put>{static_cast<T>(alpha), static_cast<T>(shift), put}, out, in<T>(x));
    });
  });
}

void CudaBackend::dropout(Span y, ConstSpan x, const DropoutArgs& args, double beta) {
  if (y.count == 0) return;
  visit(y.dtype, [&]<class T>(T) {
    with_beta<T>(y, beta, [&]<class Array, class Put>(Array out, Put put) {
      const auto run = [&](auto packs) {
        on_.launch("dropout", dropout_kernel<packs, T, Array, Put>, blocks_for(y.count, 4 * block_threads),
                   block_threads, 0, out, x.as<T>(), y.count, args, formulas::Dropout<T>{args.p}, put);
      };
      // Four f64 are two packs of 16 bytes, of which no check speaks: one at a time.
      sizeof(T) == 4 && are_aligned(out, in<T>(x)) ? run(std::bool_constant<sizeof(T) == 4>{}) : run(std::false_type{});
    });
  });
}

}  // namespace borealis
