// All parameters in one block of memory and all gradients in another, so that many small calls
// become one large one.
#pragma once

#include "../autograd/parameter.h"

namespace borealis {

// Order. Hidden matrices first, equal block shapes side by side without gaps: [3C, C] with 3 blocks
// and [C, C] form one batch of four C×C matrices. Then the rest by role and by rank (≥ 2 or less),
// which is how AdamW groups them. Ties go by name: the caller's order changes nothing. Invariants:
// gaps exist only between neighbours of different shape, and hold 0 in both blocks.
class ParamArena {
 public:
  // Moves every parameter (and its gradient, if it has one) here; their Vars follow. Parameters of
  // an earlier arena leave it, and then neither it nor its optimizers can be used any more.
  explicit ParamArena(const ParamList& params);

  struct Place {
    Parameter param;
    int64_t first = 0;             // its first element in both blocks
    Tensor value = {}, grad = {};  // its views of both

    void check_home() const;       // fails if the parameter has moved out
    void finish_gradient() const;  // writes 0 into a gradient that no rule reached
    int64_t numel() const { return param.var.shape().numel(); }
    int64_t block_rows() const { return param.var.shape()[0] / param.blocks; }
    int64_t cols() const { return param.var.shape()[-1]; }
  };
  const std::vector<Place>& places() const { return places_; }

  const Tensor& values() const { return values_; }
  const Tensor& grads() const { return grads_; }
  const Tensor& record() const { return record_; }  // a StepRecord, for the parts

  // Fails naming a parameter that no optimizer has claimed: it would never be trained.
  void check_all_claimed() const;
  // Starts a new generation of gradients.
  void zero_grad() const;
  // Writes 0 into the gradients that no rule reached since zero_grad(). Whoever reads gradients as
  // a whole calls it first: clip_grad_norm and every optimizer do.
  void finish_gradients() const;

 private:
  std::vector<Place> places_;
  Tensor values_, grads_, record_;
};

// g ← g·min(1, max_norm/(‖g‖ + 1e-6)) over all gradients; max_norm = 0 leaves them. Returns ‖g‖
// from before, f64 (finite whenever the gradients are), still on the device: item() waits for it. Once it was not finite,
// optimizers change nothing any more.
Tensor clip_grad_norm(const ParamArena& arena, double max_norm);

}  // namespace borealis
