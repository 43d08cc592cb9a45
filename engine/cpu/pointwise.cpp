// Pointwise kernels: one formula at every element, whatever the strides.
#include <algorithm>
#include <tuple>
#include <type_traits>
#include <utility>

#include "engine/cpu/backend.h"
#include "engine/cpu/dropout.h"
#include "engine/cpu/loops.h"
#include "engine/cpu/walk.h"
#include "engine/tensor.h"

namespace borealis {

namespace {

// Element-operations of a typical formula: f32 has SIMD exp, f64 calls the standard library.
template <class T> constexpr int64_t formula_work = std::is_same_v<T, float> ? 4 : 16;

// A transpose, tile by tile: the cache lines of both sides stay near until each is used up.
template <class T, class Put> void copy_transposed(T* to, const T* from, const Walk& w, Put put) {
  const int64_t to_down = w.row_stride(0), to_across = w.inner_stride(0);
  const int64_t from_across = w.inner_stride(1);
  w.for_each_tile(16, [=](const Walk::Place& at, int64_t rows, int64_t cols) {
    for (int64_t i = 0; i < rows; ++i)
      each(cols, [=](int64_t j) { put(to[at[0] + i * to_down + j * to_across], from[at[1] + i + j * from_across]); });
  });
}

}  // namespace

void CpuBackend::fill(Span y, double value) {
  visit_with_ids(y.dtype, [&]<class T>(T) {
    parallel_each(y.count, 1, [p = y.as<T>(), v = static_cast<T>(value)](int64_t i) { p[i] = v; });
  });
}

void CpuBackend::cast(Span y, ConstSpan x) {
  visit_with_ids(y.dtype, [&](auto to) {
    visit_with_ids(x.dtype, [&](auto from) {
      using To = decltype(to);
      parallel_each(y.count, 2,
                    [p = y.as<To>(), q = x.as<decltype(from)>()](int64_t i) { p[i] = static_cast<To>(q[i]); });
    });
  });
}

void CpuBackend::unary(UnaryOp op, Span y, ConstSpan x, double param) {
  visit(y.dtype, [&]<class T>(T) {
    T* Y = y.as<T>();
    const T* X = x.as<T>();
    const T p = static_cast<T>(param);
    with_op<UnaryOps>(op, [=, n = y.count](auto formula) {
      parallel_each(n, formula_work<T>, [=](int64_t i) { Y[i] = formula.f(X[i], p); });
    });
  });
}

void CpuBackend::unary_grad(UnaryOp op, Span dx, ConstSpan saved, ConstSpan dy, double param, double beta) {
  visit(dx.dtype, [&]<class T>(T) {
    T* dX = dx.as<T>();
    const T *S = saved.as<T>(), *dY = dy.as<T>();
    const T p = static_cast<T>(param);
    with_op<UnaryOps>(op, [=, n = dx.count](auto formula) {
      with_beta<T>(beta, [=](auto put) {
        parallel_each(n, formula_work<T>, [=](int64_t i) { put(dX[i], formula.df(S[i], p) * dY[i]); });
      });
    });
  });
}

void CpuBackend::binary(BinaryOp op, Span y, ConstSpan a, ConstSpan b, const Broadcast& walk) {
  visit(y.dtype, [&]<class T>(T) {
    T* Y = y.as<T>();
    const T *A = a.as<T>(), *B = b.as<T>();
    with_op<BinaryOps>(op, [&](auto formula) {
      for_each_element(walk, formula_work<T>, [=](int64_t i, int64_t j, int64_t k) { Y[i] = formula.f(A[j], B[k]); });
    });
  });
}

void CpuBackend::binary_grad(BinaryOp op, int side, Span dx, ConstSpan a, ConstSpan b, ConstSpan dy,
                             const Broadcast& walk, double beta) {
  visit(dx.dtype, [&]<class T>(T) {
    T* dX = dx.as<T>();
    const T *A = a.as<T>(), *B = b.as<T>(), *dY = dy.as<T>();
    with_op<BinaryOps>(op, [&](auto formula) {
      with_beta<T>(beta, [&](auto put) {
        if (side == 0)
          for_each_element(walk, formula_work<T>,
                           [=](int64_t i, int64_t j, int64_t k) { put(dX[i], formula.da(A[j], B[k]) * dY[i]); });
        else
          for_each_element(walk, formula_work<T>,
                           [=](int64_t i, int64_t j, int64_t k) { put(dX[i], formula.db(A[j], B[k]) * dY[i]); });
      });
    });
  });
}

void CpuBackend::bias_unary(UnaryOp op, Span y, ConstSpan x, ConstSpan bias, double param) {
  const int64_t cols = bias.count;
  visit(y.dtype, [&]<class T>(T) {
    const T *B = bias.as<T>(), p = static_cast<T>(param);
    with_op<UnaryOps>(op, [&](auto formula) {
      parallel_items(cols ? x.count / cols : 0, grain_for(formula_work<T> * cols), [=](int64_t r) {
        each(cols,
             [=, Y = y.as<T>() + r * cols, X = x.as<T>() + r * cols](int64_t j) { Y[j] = formula.f(X[j] + B[j], p); });
      });
    });
  });
}

// Each range of rows keeps its own sums for dbias, at most 64 of them; they are added in the order of the ranges.
void CpuBackend::bias_unary_grad(UnaryOp op, Span dx, double beta, Span dbias, double beta_bias, ConstSpan x,
                                 ConstSpan bias, ConstSpan dy, double param) {
  const int64_t cols = bias.count, rows = cols ? x.count / cols : 0;
  visit(x.dtype, [&]<class T>(T) {
    const int64_t grain = std::max(grain_for(formula_work<T> * cols), (rows + 63) / 64),
                  pieces = (rows + grain - 1) / grain;
    const Tensor partial({pieces, cols}, x.dtype);
    const T *B = bias.as<T>(), p = static_cast<T>(param);
    with_op<UnaryOps>(op, [&](auto formula) {
      with_beta<T>(beta, [&](auto put) {
        parallel_for(rows, grain, [&](int64_t first, int64_t last) {
          T* const sums = partial.data<T>() + first / grain * cols;
          std::fill_n(sums, cols, T(0));
          for (int64_t at = first * cols; at < last * cols; at += cols) {
            const T *X = x.as<T>() + at, *dY = dy.as<T>() + at;
            T* dX = dx ? dx.as<T>() + at : nullptr;
            each(cols, [=](int64_t j) {
              const T d = formula.df(X[j] + B[j], p) * dY[j];
              if (dX) put(dX[j], d);
              sums[j] += d;
            });
          }
        });
      });
    });
    if (dbias) sum(dbias, partial, 1, pieces, cols, 1, beta_bias);
  });
}

void CpuBackend::swiglu_grad(Span dh, ConstSpan h, ConstSpan dy, int64_t cols, double beta) {
  visit(dh.dtype, [&]<class T>(T) {
    with_beta<T>(beta, [&](auto put) {
      parallel_items(cols ? dy.count / cols : 0, grain_for(2 * formula_work<T> * cols), [=](int64_t r) {
        const T *a = h.as<T>() + 2 * r * cols, *b = a + cols, *d = dy.as<T>() + r * cols;
        T *da = dh.as<T>() + 2 * r * cols, *db = da + cols;
        each(cols, [=](int64_t j) {
          const T x = a[j], y = b[j], dj = d[j];
          put(da[j], SwiGlu::da(x, y) * dj);
          put(db[j], SwiGlu::db(x, y) * dj);
        });
      });
    });
  });
}

void CpuBackend::affine(Span y, ConstSpan x, double alpha, double shift, double beta) {
  visit(y.dtype, [&]<class T>(T) {
    T* Y = y.as<T>();
    const T* X = x.as<T>();
    const T a = static_cast<T>(alpha), s = static_cast<T>(shift);
    with_beta<T>(beta,
                 [=, n = y.count](auto put) { parallel_each(n, 2, [=](int64_t i) { put(Y[i], a * X[i] + s); }); });
  });
}

void CpuBackend::strided_copy(Span dst, ConstSpan src, const StridedCopy& walk, double beta) {
  Walk w(walk.shape, walk.dst_stride, walk.src_stride);
  const bool transposed = w.bring_transposed_axis_inside();
  const auto copy = [&](auto* to, const auto* from, auto put) {
    if (transposed) {
      copy_transposed(to, from, w, put);
      return;
    }
    with_strides(w.inner_stride(0), w.inner_stride(1), [&](auto to_stride, auto from_stride) {
      w.for_each_run(2, [=](const Walk::Place& at, int64_t n) {
        each(n, [=](int64_t i) { put(to[at[0] + i * to_stride], from[at[1] + i * from_stride]); });
      });
    });
  };
  visit_with_ids(dst.dtype,
                 [&]<class T>(T) { with_beta<T>(beta, [&](auto put) { copy(dst.as<T>(), src.as<T>(), put); }); });
}

void CpuBackend::dropout(Span y, ConstSpan x, const DropoutArgs& args, double beta) {
  constexpr int64_t chunk = 256;
  const int64_t n = y.count, chunks = (n + chunk - 1) / chunk;
  visit(y.dtype, [&]<class T>(T) {
    T* Y = y.as<T>();
    const T* X = x.as<T>();
    with_beta<T>(beta, [&](auto put) {
      parallel_for(chunks, grain_for(4 * chunk), [=, &args](int64_t first, int64_t last) {
        for (int64_t begin = first * chunk; begin < std::min(last * chunk, n); begin += chunk) {
          T factor[chunk];
          const int64_t count = std::min(chunk, n - begin);
          dropout_factors(factor, count, begin, args);
          each(count,
               [=, &factor](int64_t i) { put(Y[begin + i], formulas::Dropout<T>::drop(X[begin + i], factor[i])); });
        }
      });
    });
  });
}

}  // namespace borealis
