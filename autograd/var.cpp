#include "autograd/var.h"

#include <algorithm>
#include <atomic>
#include <unordered_set>
#include <utility>

#include "engine/backend.h"
#include "engine/math.h"

namespace borealis {

namespace {

thread_local bool recording = true;
thread_local bool checking = false;
thread_local const Observer::See* observer = nullptr;
std::atomic<uint64_t> nodes_made = 0;  // for all threads: numbers order the whole graph

bool finite(const Tensor& t) { return t.dtype() == DType::i32 || backend(t.device()).all_finite(t); }

// "'h.0.attn.c_proj.weight' [128, 128]", or the op that made it.
std::string describe(const Node* node, const Shape& shape) {
  std::ostringstream text;
  if (node && !node->name.empty())
    text << '\'' << node->name << "' ";
  else if (node && node->rule)
    text << "the output of " << node->op << ' ';
  text << shape;
  return text.str();
}

void check_output(const char* op, const Tensor& value, const std::vector<Var>& inputs) {
  if (finite(value)) return;
  std::ostringstream text;
  for (const Var& x : inputs) {
    if (!x) continue;
    text << (text.str().empty() ? "" : ", ") << describe(x.node(), x.shape())
         << (finite(x.value()) ? "" : " (not finite itself)");
  }
  fail_runtime("anomaly: ", op, " is the first op with a non-finite result: its output is ", value.shape(),
               ", its inputs are ", text.str());
}

// Every node that `root` can reach and whose gradient is wanted, newest first.
// Refuses a graph that was used before, or whose leaves have changed since it was recorded.
std::vector<Node*> newest_first(Node* root) {
  std::vector<Node*> reached, open{root};
  std::unordered_set<Node*> seen{root};
  while (!open.empty()) {
    Node* node = open.back();
    open.pop_back();
    reached.push_back(node);
    if (node->used)
      fail("backward: a part of this graph (", node->op, ") has been used already; run the forward pass again");
    for (const auto& input : node->inputs) {
      if (!input) continue;
      if (input->changed > node->number)
        fail("backward: ", describe(input.get(), input->shape), " has changed since the forward pass used it (",
             node->op, "), by an optimizer's step perhaps; call backward() before step()");
      if (seen.insert(input.get()).second) open.push_back(input.get());
    }
  }
  std::sort(reached.begin(), reached.end(), [](Node* a, Node* b) { return a->number > b->number; });
  return reached;
}

void check_gradients(const Node& node) {
  for (const auto& input : node.inputs)
    if (input && input->written && !finite(input->grad))
      fail_runtime("anomaly: the gradient rule of ", node.op,
                   " is the first with a non-finite result: the gradient of ", describe(input.get(), input->shape),
                   " (the gradient of its output, ", node.shape, ", is ",
                   finite(node.grad) ? "finite)" : "not finite)");
}

}  // namespace

Node::Node(const char* op_, const Tensor& value)
    : op(op_), number(++nodes_made), shape(value.shape()), dtype(value.dtype()), device(value.device()) {}

// A graph that was never run may be very long: it is taken apart in a loop, not by recursion.
Node::~Node() {
  std::vector<std::shared_ptr<Node>> open = std::move(inputs);
  while (!open.empty()) {
    const std::shared_ptr<Node> node = std::move(open.back());
    open.pop_back();
    if (!node || node.use_count() > 1) continue;
    node->rule = nullptr;  // first: its captures may hold the last handles of values
    std::move(node->inputs.begin(), node->inputs.end(), std::back_inserter(open));
    node->inputs.clear();
  }
}

Var::Var(const Tensor& value) : state_(std::make_shared<State>(State{value.made("var"), nullptr})) {}

Var Var::leaf(const Tensor& value, std::string name) {
  Var v(value);
  v.state_->node = std::make_shared<Node>("leaf", value);
  v.state_->node->name = std::move(name);
  return v;
}

const Tensor& Var::value(const char* op) const {
  if (!state_) fail(op, ": this Var holds no value");
  return state_->value;
}

const Node* Var::node() const {
  value("node");
  return state_->node.get();
}

Tensor Var::grad() const { return needs_grad() && state_->node->written ? state_->node->grad : Tensor(); }

void Var::keep_grad() const {
  if (!needs_grad())
    fail(
        "keep_grad: no gradient will come to this value, since nothing that wants one went into "
        "it");
  state_->node->kept = true;
}

void Var::zero_grad() const {
  if (needs_grad()) state_->node->written = false;
}

Node& Var::leaf(const char* rule) const {
  if (!is_leaf()) fail(rule);
  return *state_->node;
}

void Var::set_grad(const Tensor& grad) const {
  Node& n = leaf("set_grad: only leaves are given a gradient");
  if (!n.grad) n.grad = n.fresh_grad();
  n.grad.copy_from(grad);
  n.written = true;
}

void Var::move_to(const Tensor& value, const Tensor& grad) const {
  Node& n = leaf("move_to: only leaves live in an arena");
  for (const Tensor* t : {&value, &grad}) {
    check_together("move_to", state_->value, *t);
    if (!(t->shape() == shape())) fail("move_to: ", shape(), " cannot move to ", t->shape());
  }
  value.copy_from(state_->value);
  if (n.written) grad.copy_from(n.grad);
  state_->value = value;
  n.grad = grad;
}

void Var::assign(const Tensor& value) const {
  Node& n = leaf("assign: only leaves may be replaced");
  if (!(value.made("assign").shape() == shape())) fail("assign: ", shape(), " cannot become ", value.shape());
  state_->value = value;
  n.dtype = value.dtype();
  n.device = value.device();
  n.grad = {};
  n.written = false;
  mark_changed();
}

void Var::mark_changed() const { leaf("mark_changed: only leaves change").changed = ++nodes_made; }

namespace {

void check_root(const Var& x) {
  if (!x.needs_grad()) fail("backward: nothing here needs a gradient (no parameter went in, or NoGrad was on)");
  if (x.node()->used) fail("backward: this graph has been used already; run the forward pass again");
}

}  // namespace

void Var::backward() const {
  check_root(*this);
  if (shape().numel() != 1) fail("backward: the loss must be a single number, got ", shape());
  backward(Tensor::full(shape(), 1, dtype(), device()));
}

void Var::backward(const Tensor& dy) const {
  check_root(*this);
  Node& root = *state_->node;
  check_together("backward", value(), dy.made("backward"));
  if (!(dy.shape() == shape())) fail("backward: the gradient of ", shape(), " cannot be ", dy.shape());

  const std::vector<Node*> nodes = newest_first(&root);
  if (root.is_leaf())
    set_grad(dy);
  else
    root.grad = dy.clone(), root.written = true;
  // Rules are freed as they run, and with them the saved activations; the nodes themselves stay
  // linked until the loss goes, so these pointers hold.
  for (Node* node : nodes) {
    if (node->is_leaf()) continue;
    if (node->written) {
      if (observer) (*observer)(node->op, node->grad);
      Backward bw(*node);
      node->rule(bw);
      if (checking) check_gradients(*node);
    }
    node->rule = nullptr;
    node->used = true;
    if (node->kept) continue;
    node->grad = {};
    node->written = false;
  }
}

std::ostream& operator<<(std::ostream& out, const Var& x) {
  if (!x) return out << "no value";
  out << x.value();
  if (x.grad()) return out << "; gradient " << x.grad();
  return out << (x.needs_grad() ? "; no gradient yet" : "");
}

const std::shared_ptr<Node>& Backward::at(int i) const {
  if (i < 0 || static_cast<size_t>(i) >= node_.inputs.size())
    fail(node_.op, ": its gradient rule asks for input ", i, " of ", node_.inputs.size());
  return node_.inputs[static_cast<size_t>(i)];
}

Node& Backward::input(int i) {
  if (!at(i)) fail(node_.op, ": input ", i, " needs no gradient; the rule must ask needs() first");
  return *at(i);
}

Backward::Slot Backward::slot(int i) {
  Node& n = input(i);
  if (n.written) {
    if (!n.is_leaf() && !n.grad.sole_owner()) n.grad = n.grad.clone();
    return {n.grad, 1};
  }
  if (!n.grad || !n.is_leaf()) n.grad = n.fresh_grad();
  n.written = true;
  return {n.grad, 0};
}

void Backward::add(int i, const Tensor& t) {
  Node& n = input(i);
  if (!(t.made(node_.op).shape() == n.shape))
    fail(node_.op, ": the gradient of an input ", n.shape, " came out as ", t.shape());
  if (!n.written && !n.is_leaf()) {
    n.grad = t;
    n.written = true;
    return;
  }
  // A leaf keeps its own memory: others may hold t.
  const auto [g, beta] = slot(i);
  axpby(g, 1, t, beta);
}

Var record(const char* op, const Tensor& value, const std::vector<Var>& inputs, std::function<void(Backward&)> rule) {
  value.made(op);
  if (checking) check_output(op, value, inputs);
  if (observer) (*observer)(op, value);
  Var y(value);
  const auto needs = [](const Var& x) { return x.needs_grad(); };
  if (!recording || std::none_of(inputs.begin(), inputs.end(), needs)) return y;

  if (!rule) fail(op, ": a gradient is wanted, but the op has no rule for it");
  const auto node = y.state_->node = std::make_shared<Node>(op, value);
  for (const Var& x : inputs) node->inputs.push_back(x ? x.state_->node : nullptr);
  node->rule = std::move(rule);
  return y;
}

bool is_recording() { return recording; }
NoGrad::NoGrad() : Scoped(recording, false) {}
Anomaly::Anomaly(bool on) : Scoped(checking, on) {}
Observer::Observer(See see) : see_(std::move(see)), before_(std::exchange(observer, &see_)) {}
Observer::~Observer() { observer = before_; }

}  // namespace borealis
