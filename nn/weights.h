// Between a model's parameters and the named tensors of a file.
#pragma once

#include <map>
#include <string>

#include "../autograd/parameter.h"

namespace borealis {

// Copies on the CPU under the names that files use; a weight whose blocks have names of their own
// (q, k, v of the modern style) is split by rows.
std::map<std::string, Tensor> to_file(const ParamList& params);

// Fills the parameters from a file's tensors, converting the number type. Reads nanoGPT's names as
// they are, and Hugging Face GPT-2 files: the prefix "transformer." is optional there, and the four
// kinds of Conv1D weights are stored transposed. Fails naming `source` and a tensor that is
// missing, misshapen, not finite, or left over; then no parameter has changed. Only what Hugging
// Face's files hold beside the weights may be left: the masks "h.N.attn.bias" and
// "h.N.attn.masked_bias", and "lm_head.weight" where the head is the embedding and it holds the
// same numbers.
void from_file(const ParamList& params, const std::map<std::string, Tensor>& tensors, const std::string& source);

}  // namespace borealis
