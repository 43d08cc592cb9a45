// Var: a value that remembers how it was made, so that gradients can flow back.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "../engine/tensor.h"

namespace borealis {

class Backward;

// The place where one value's gradient arrives. Holds no values: what a rule needs, its lambda
// captured.
struct Node {
  Node(const char* op, const Tensor& value);
  ~Node();
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;

  const char* op;
  uint64_t number;  // creation order, which in an eager system is a topological order
  Shape shape;
  DType dtype;
  Device device;

  Tensor grad;           // defined once something was written
  bool written = false;  // whether grad belongs to this generation (leaves keep the memory)
  bool used = false;     // its rule has run: a second backward() is an error
  bool kept = false;     // grad outlives backward(), although this is no leaf
  std::string name;      // of a parameter, for messages
  // Of a leaf: nodes with a smaller number have captured a value that is no longer there.
  uint64_t changed = 0;
  std::string stepped_by;  // of a leaf: the optimizer that steps it

  std::vector<std::shared_ptr<Node>> inputs;  // null: that input needs no gradient
  std::function<void(Backward&)> rule;        // empty for leaves

  bool is_leaf() const { return inputs.empty(); }
  Tensor fresh_grad() const { return Tensor(shape, dtype, device); }
};

// A shared handle. There is no in-place op on a Var; only optimizers write into parameters, after
// backward() has consumed the graph. If one did so before, backward() refuses.
class Var {
 public:
  Var() = default;
  Var(const Tensor& value);  // implicit: a constant; like a leaf, of a tensor that was made
  static Var leaf(const Tensor& value, std::string name = {});  // wants a gradient

  bool defined() const { return state_ != nullptr; }
  explicit operator bool() const { return defined(); }

  const Tensor& value() const { return value("var"); }
  const Tensor& value(const char* op) const;  // fails in the name of `op` if there is none
  const Shape& shape() const { return value().shape(); }
  DType dtype() const { return value().dtype(); }
  Device device() const { return value().device(); }
  double item() const { return value().item(); }

  bool needs_grad() const { return state_ && state_->node; }
  bool is_leaf() const { return needs_grad() && state_->node->is_leaf(); }
  // The gradient of this generation; an undefined Tensor if none arrived.
  Tensor grad() const;
  // Asks backward() to leave the gradient of this inner value too; leaves have theirs anyway.
  void keep_grad() const;
  // Starts a new generation: the next gradient overwrites the memory instead of adding to it.
  void zero_grad() const;
  // Copies numbers into a leaf's gradient, as if backward() had left them.
  void set_grad(const Tensor& grad) const;
  const Node* node() const;  // to look at the graph; null for a constant

  // Runs every rule that leads here, newest first; leaves end up with their gradients. The graph is
  // consumed. This must be a single number, whose gradient is 1; or dy is the gradient of this value, of its shape.
  void backward() const;
  void backward(const Tensor& dy) const;

  // Moves a leaf's value and gradient to other memory of the same shape and type; all its handles
  // follow.
  void move_to(const Tensor& value, const Tensor& grad) const;
  // Replaces a leaf's value (another type or device); a gradient is forgotten.
  void assign(const Tensor& value) const;
  // The same with what ops made of it; gradient descent is  w.assign(w - rate * w.grad()).
  void assign(const Var& value) const { assign(value.value("assign")); }
  // Says that a leaf's numbers have changed in place: what was recorded of them before is void.
  void mark_changed() const;
  // Of a leaf: the optimizer that steps it, or nothing.
  std::string& stepped_by() const { return leaf("stepped_by: only leaves are stepped").stepped_by; }

 private:
  struct State {
    Tensor value;
    std::shared_ptr<Node> node;  // null: no gradient wanted
  };
  std::shared_ptr<State> state_;

  Node& leaf(const char* rule) const;  // fails with that rule unless it is one

  friend Var record(const char*, const Tensor&, const std::vector<Var>&, std::function<void(Backward&)>);
};

// The value as Tensor prints it, then the gradient.
std::ostream& operator<<(std::ostream& out, const Var& x);

// What a gradient rule sees: the gradient of its output, and where its inputs' gradients go.
class Backward {
 public:
  explicit Backward(Node& node) : node_(node) {}

  const Tensor& dy() const { return node_.grad; }
  bool needs(int i) const { return at(i) != nullptr; }

  // Memory to write input i's gradient into, as  g ← new + beta·g.  The first writer gets beta = 0
  // and undefined memory, so nothing is ever zero-filled.
  struct Slot {
    Tensor g;
    double beta;
  };
  Slot slot(int i);

  // Adds t to input i's gradient; where nothing was written, the handle itself is passed on. t must
  // not be written to afterwards. It may be dy(): sharing is resolved when somebody writes.
  void add(int i, const Tensor& t);

 private:
  Node& node_;
  const std::shared_ptr<Node>& at(int i) const;
  Node& input(int i);
};

// The only way an op enters the graph: returns `value` as a Var, with `rule` behind it if recording
// is on and some input needs a gradient.
Var record(const char* op, const Tensor& value, const std::vector<Var>& inputs, std::function<void(Backward&)> rule);

// Whether ops that are called now enter the graph: the caller trains.
bool is_recording();

// A switch of this thread, for as long as an object lives.
class Scoped {
 public:
  Scoped(const Scoped&) = delete;
  ~Scoped() { flag_ = before_; }

 protected:
  Scoped(bool& flag, bool value) : flag_(flag), before_(flag) { flag = value; }

 private:
  bool& flag_;
  bool before_;
};

// No recording while it lives: for evaluation and sampling.
struct NoGrad : Scoped {
  NoGrad();
};

// While it lives, every op and every gradient rule is checked: the first one that makes a NaN or an
// infinity throws std::runtime_error naming the op, the tensor and what went in. Slow.
struct Anomaly : Scoped {
  explicit Anomaly(bool on = true);
};

// While it lives, `see` is shown what each op of this thread makes, and in backward() the gradient that each op's rule gets.
class Observer {
 public:
  using See = std::function<void(const char* op, const Tensor&)>;
  explicit Observer(See see);
  ~Observer();
  Observer(const Observer&) = delete;
  Observer& operator=(const Observer&) = delete;

 private:
  See see_;
  const See* before_;
};

}  // namespace borealis
