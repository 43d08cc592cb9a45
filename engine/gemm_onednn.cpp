// f32 products by oneDNN (BOREALIS_GEMM=onednn); f64, which it does not have, by Eigen.
#include <dnnl.h>
#include <omp.h>

#include "engine/error.h"
#include "engine/gemm_eigen.h"

namespace borealis {

namespace {

// oneDNN starts a team of its own when called outside a parallel region, or in a team of one, and
// then cuts k by the number of threads: the bits would change with it. The setting belongs to the
// calling thread, so this costs nanoseconds and disturbs nobody else.
class OneThread {
 public:
  OneThread() : before_(omp_get_max_threads()) { omp_set_num_threads(1); }
  ~OneThread() { omp_set_num_threads(before_); }
  OneThread(const OneThread&) = delete;
  OneThread& operator=(const OneThread&) = delete;

 private:
  int before_;
};

}  // namespace

void gemm_tile_f32(const GemmTile& t) {
  if (t.k == 0) return eigen_tile<float>(t);  // c ← beta c
  const OneThread pinned;
  const dnnl_status_t status = dnnl_sgemm(
      t.trans_a ? 'T' : 'N', t.trans_b ? 'T' : 'N', t.m, t.n, t.k, static_cast<float>(t.alpha),
      static_cast<const float*>(t.a), t.lda, static_cast<const float*>(t.b), t.ldb,
      static_cast<float>(t.beta), static_cast<float*>(t.c), t.ldc);
  if (status != dnnl_success)
    fail_runtime("gemm: oneDNN failed with status ", static_cast<int>(status), " on [", t.m, ", ",
                 t.k, "] * [", t.k, ", ", t.n, "]; configure with -DBOREALIS_GEMM=eigen");
}

void gemm_tile_f64(const GemmTile& tile) {
  eigen_tile<double>(tile);
}
const char* gemm_provider() {
  return "onednn";
}

}  // namespace borealis
