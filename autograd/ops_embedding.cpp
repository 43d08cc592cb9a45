#include <cmath>

#include "autograd/ops.h"
#include "engine/math.h"

namespace borealis {

namespace {

// A checked copy of the ids: what happens to the caller's own before backward() cannot change the gradient.
Tensor checked_ids(const char* op, const char* what, const Tensor& given, int64_t limit, int64_t ignored) {
  const Tensor ids = given.clone();
  check_ids(op, what, ids, limit, ignored);
  return ids;
}

}  // namespace

// y[i] = table[ids[i]].   dtable[ids[i]] += dy[i].
Var embedding(const Var& table, const Tensor& given) {
  if (table.value("embedding").shape().rank() != 2) fail("embedding: the table must be [V, C], got ", table.shape());
  if (!(given.made("embedding").device() == table.device()))
    fail("embedding: the ids are on ", given.device(), " but the table is on ", table.device());
  if (given.shape().rank() >= Shape::max_rank) fail("embedding: ids ", given.shape(), " have too many axes");
  const int64_t V = table.shape()[0], C = table.shape()[1];
  const Tensor ids = checked_ids("embedding", "the ids", given, V, none_ignored);

  std::vector<int64_t> sizes(ids.shape().sizes().begin(), ids.shape().sizes().end());
  sizes.push_back(C);
  const Tensor y(Shape(std::span<const int64_t>(sizes)), table.dtype(), table.device());
  backend(y.device()).embedding(y, table.value(), ids, C);
  return record("embedding", y, {table}, [ids, C](Backward& bw) {
    const auto [g, beta] = bw.slot(0);
    backend(g.device()).embedding_grad(g, ids, bw.dy(), C, beta);
  });
}

// loss = mean over counted rows of lse(z) − z[target], with z = cap(x).   dx = (softmax(z) − onehot)·cap'(x)·dloss/count.
Var cross_entropy(const Var& logits, const Tensor& given, int64_t ignore_index, double cap) {
  const Shape& s = logits.value("cross_entropy").shape();
  if (s.rank() < 1 || s[-1] < 1) fail("cross_entropy: the logits must be […, V], got ", s);
  const int64_t V = s[-1], rows = s.numel() / V;
  if (given.made("cross_entropy").numel() != rows)
    fail("cross_entropy: the logits are ", s, " but the targets are ", given.shape(),
         ": there must be one target for each row of logits");
  if (!(given.device() == logits.device()))
    fail("cross_entropy: the targets are on ", given.device(), " but the logits are on ", logits.device());
  if (!(cap >= 0) || std::isinf(cap)) fail("cross_entropy: the cap must be a number of at least 0, got ", cap);
  const Tensor targets = checked_ids("cross_entropy", "the targets", given, V, ignore_index);

  const Tensor Z = logits.value();
  const Tensor loss({}, Z.dtype(), Z.device()), lse({rows}, Z.dtype(), Z.device()), count({1}, Z.dtype(), Z.device());
  backend(Z.device()).cross_entropy(loss, lse, count, Z, targets, V, ignore_index, cap);
  return record("cross_entropy", loss, {logits}, [=](Backward& bw) {
    const auto [g, beta] = bw.slot(0);
    backend(g.device()).cross_entropy_grad(g, Z, targets, lse, count, bw.dy(), V, ignore_index, cap, beta);
  });
}

}  // namespace borealis
