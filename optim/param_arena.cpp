#include "optim/param_arena.h"

#include <algorithm>
#include <set>
#include <tuple>

#include "engine/math.h"

namespace borealis {

namespace {

void check(const ParamList& params) {
  if (params.empty()) fail("arena: there are no parameters");
  std::set<std::string> names;
  std::set<const Node*> nodes;
  for (const Parameter& p : params) {
    if (!p.var.is_leaf()) fail("arena: '", p.name, "' is not a leaf that wants a gradient");
    if (!names.insert(p.name).second) fail("arena: two parameters are named '", p.name, "'");
    if (!nodes.insert(p.var.node()).second) fail("arena: '", p.name, "' is listed a second time under this name");
    const Var& first = params[0].var;
    if (p.var.dtype() != first.dtype() || !(p.var.device() == first.device()))
      fail("arena: '", p.name, "' is ", p.var.dtype(), " on ", p.var.device(), ", but '", params[0].name, "' is ",
           first.dtype(), " on ", first.device());
    if (p.var.shape().numel() == 0) fail("arena: '", p.name, "' is ", p.var.shape(), ", which has no numbers to train");
    check_blocks(p);  // a bias of blocks is cut like its weight
  }
}

// The shape that spectral optimizers see, if they see it at all: what must lie without gaps.
auto block_shape(const Parameter& p) {
  if (p.role != Role::hidden_matrix || p.var.shape().rank() != 2) return std::tuple(int64_t{0}, int64_t{0});
  return std::tuple(p.var.shape()[0] / p.blocks, p.var.shape()[1]);
}

auto order(const Parameter& p) {
  return std::tuple(p.role, p.var.shape().rank() < 2, block_shape(p), p.neurons, p.name);
}

// Gaps bring the next parameter to a cache line, and to what wide loads on a GPU ask for.
int64_t aligned(int64_t element) { return (element + 63) / 64 * 64; }

}  // namespace

ParamArena::ParamArena(const ParamList& params) {
  check(params);
  for (const Parameter& p : params) places_.push_back({p});
  std::sort(places_.begin(), places_.end(),
            [](const Place& a, const Place& b) { return order(a.param) < order(b.param); });

  int64_t end = 0;
  for (size_t i = 0; i < places_.size(); ++i) {
    const auto shape = block_shape(places_[i].param);
    const bool joins = i > 0 && std::get<0>(shape) > 0 && shape == block_shape(places_[i - 1].param);
    places_[i].first = joins ? end : aligned(end);
    end = places_[i].first + places_[i].numel();
  }

  const Var& any = params[0].var;
  values_ = Tensor::zeros({aligned(end)}, any.dtype(), any.device());
  grads_ = Tensor::zeros({aligned(end)}, any.dtype(), any.device());
  const StepRecord none;
  record_ = Tensor::of<double>({3}, {none.stopped, none.step, none.factor}).to(any.device());
  for (Place& p : places_) {
    const Shape shape = p.param.var.shape();
    p.value = values_.flat_view(p.first, shape);
    p.grad = grads_.flat_view(p.first, shape);
    p.param.var.move_to(p.value, p.grad);
  }
}

void ParamArena::check_all_claimed() const {
  for (const Place& p : places_)
    if (p.param.var.stepped_by().empty())
      fail("optimizer: '", p.param.name,
           "' is stepped by no part, so it would never be trained; give it to one, as with "
           "is_hidden_matrix and is_other");
}

void ParamArena::zero_grad() const {
  for (const Place& p : places_) p.param.var.zero_grad();
}

void ParamArena::Place::check_home() const {
  const Node& leaf = *param.var.node();
  if (param.var.value().raw() != value.raw() || !leaf.grad || leaf.grad.raw() != grad.raw())
    fail("arena: '", param.name,
         "' has moved out, to a later arena or by assign(); make one arena for a model, and its "
         "optimizers from that");
}

void ParamArena::Place::finish_gradient() const {
  check_home();
  if (param.var.grad()) return;
  grad.fill(0);
  param.var.set_grad(grad);
}

void ParamArena::finish_gradients() const {
  for (const Place& p : places_) p.finish_gradient();
}

Tensor clip_grad_norm(const ParamArena& arena, double max_norm) {
  if (!(max_norm >= 0)) fail("clip: the norm to clip at is ", max_norm, ", but must be at least 0");
  arena.finish_gradients();
  const Tensor& g = arena.grads();
  Backend& device = backend(g.device());
  const Tensor squares({1}, DType::f64, g.device());
  device.sum_squares(squares, g);
  device.stop_unless_finite(arena.record(), squares);
  if (max_norm > 0) {
    // min(1, c/(‖g‖ + 1e-6)) = 1/max(‖g‖/c + 1e-6/c, 1)
    const Tensor factor = squares.like();
    device.inverse_norm(factor, squares, 1 / max_norm, 1e-6 / max_norm, 1);
    device.binary(BinaryOp::mul, g, g, factor.to(g.dtype()), broadcast("clip", g.shape(), factor.shape()));
  }
  return unary(UnaryOp::sqrt, squares);
}

}  // namespace borealis
