// Numbers that agree up to a relative error.
#pragma once

#include <doctest/doctest.h>

namespace borealis {

// A number to compare with, up to a relative error (of 0: an absolute one): near(x).epsilon(1e-6). doctest's own Approx allows the error
// of 1 + |x| instead, which for a small x is anything.
inline doctest::Approx near(double x) { return doctest::Approx(x).scale(x == 0 ? 1 : 0); }

}  // namespace borealis
