// The op table on the device against the CPU in f64: forward and every gradient, and twice the same bytes.
#include <set>

#include "tests/compare.h"
#include "tests/gpu/rows.h"
#include "tests/op_outcome.h"

namespace borealis::gpu {

void ops(const Setting& s) {
  for (const DType dtype : {DType::f32, DType::f64}) {
    const std::string type = dtype == DType::f32 ? "f32" : "f64";
    Worst apart(type + " against f64");
    int64_t unequal = 0;
    std::string which;
    std::set<std::string> seen;
    for (const OpCase& row : op_cases()) {
      if (s.few && !seen.insert(row.op + std::to_string(row.inputs.size())).second) continue;
      const std::vector<Tensor> got = run_op(row, dtype, s.device).all(), again = run_op(row, dtype, s.device).all(),
                                expected = run_op(row, DType::f64).all();
      for (size_t i = 0; i < got.size(); ++i) {
        const std::string name = title(row) + (i == 0 ? ", output" : ", gradient " + std::to_string(i - 1));
        const Difference d = difference(got[i], expected[i]);
        apart.add(name, d.share, dtype == DType::f32 ? 1e-5 : 1e-13,
                  "number " + std::to_string(d.at) + ": " + std::to_string(d.a) + " here, " + std::to_string(d.b) +
                      " on the CPU");
        if (!same_bytes(got[i], again[i]) && ++unequal == 1) which = name;
      }
    }
    apart.report();
    at_most(type + " results that are others the second time", static_cast<double>(unequal), 0, which);
  }
}

}  // namespace borealis::gpu
