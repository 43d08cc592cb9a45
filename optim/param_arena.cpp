#include "optim/param_arena.h"

#include <algorithm>
#include <set>
#include <tuple>

namespace borealis {

namespace {

bool is_matrix(const Parameter& p) {
  return p.var.shape().rank() == 2;
}

void check(const ParamList& params) {
  if (params.empty()) fail("arena: there are no parameters");
  std::set<std::string> names;
  std::set<const Node*> nodes;
  for (const Parameter& p : params) {
    if (!p.var.needs_grad() || !p.var.node()->is_leaf())
      fail("arena: '", p.name, "' is not a leaf that wants a gradient");
    if (!names.insert(p.name).second) fail("arena: two parameters are named '", p.name, "'");
    if (!nodes.insert(p.var.node().get()).second)
      fail("arena: '", p.name, "' is listed a second time under this name");
    const Var& first = params[0].var;
    if (p.var.dtype() != first.dtype() || !(p.var.device() == first.device()))
      fail("arena: '", p.name, "' is ", p.var.dtype(), " on ", p.var.device(), ", but '",
           params[0].name, "' is ", first.dtype(), " on ", first.device());
    const Shape& shape = p.var.shape();  // a bias of blocks is cut like its weight
    if (p.blocks < 1 || (p.blocks > 1 && (shape.rank() < 1 || shape[0] % p.blocks != 0)))
      fail("arena: '", p.name, "' is ", shape, ", which has no ", p.blocks,
           " blocks of equal rows");
  }
}

// The shape that spectral optimizers see, if they see it at all: what must lie without gaps.
auto block_shape(const Parameter& p) {
  if (p.role != Role::hidden_matrix || !is_matrix(p)) return std::tuple(int64_t{0}, int64_t{0});
  return std::tuple(p.var.shape()[0] / p.blocks, p.var.shape()[1]);
}

auto order(const Parameter& p) {
  return std::tuple(p.role, p.var.shape().rank() < 2, block_shape(p), p.neurons, p.name);
}

// Gaps bring the next parameter to a cache line, and to what wide loads on a GPU ask for.
int64_t aligned(int64_t element) {
  return (element + 63) / 64 * 64;
}

}  // namespace

ParamArena::ParamArena(const ParamList& params) {
  check(params);
  for (const Parameter& p : params) places_.push_back({p});
  std::sort(places_.begin(), places_.end(),
            [](const Place& a, const Place& b) { return order(a.param) < order(b.param); });

  int64_t end = 0;
  for (size_t i = 0; i < places_.size(); ++i) {
    const auto shape = block_shape(places_[i].param);
    const bool joins =
        i > 0 && std::get<0>(shape) > 0 && shape == block_shape(places_[i - 1].param);
    places_[i].first = joins ? end : aligned(end);
    end = places_[i].first + places_[i].numel();
  }

  const Var& any = params[0].var;
  values_ = Tensor::zeros({aligned(end)}, any.dtype(), any.device());
  grads_ = Tensor::zeros({aligned(end)}, any.dtype(), any.device());
  for (const Place& p : places_) {
    const Shape shape = p.param.var.shape();
    p.param.var.move_to(values_.flat_view(p.first, shape), grads_.flat_view(p.first, shape));
  }
}

void ParamArena::zero_grad() const {
  for (const Place& p : places_) p.param.var.zero_grad();
}

void ParamArena::finish_gradients(const std::vector<Place>& places) {
  for (const Place& p : places) {
    Node& leaf = *p.param.var.node();
    if (leaf.written) continue;
    leaf.grad.fill(0);
    leaf.written = true;
  }
}

}  // namespace borealis
