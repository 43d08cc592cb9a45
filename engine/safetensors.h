// Safetensors files: named tensors behind a JSON header (8 bytes of length, header, numbers).
#pragma once

#include <map>
#include <string>

#include "tensor.h"

namespace borealis {

struct TensorFile {
  std::map<std::string, std::string> metadata;
  std::map<std::string, Tensor> tensors;  // on the CPU once read
};

// F64, F32 and I32 as they are; F16 and BF16 become f32, I64 becomes i32. A file that is missing,
// truncated or malformed in any way is a std::runtime_error of one sentence naming the file and the
// fault. Memory stays within a small multiple of the file's size, whatever its header claims.
TensorFile read_safetensors(const std::string& path);

// All or nothing (engine/files.h). The same content gives the same bytes: names are sorted, tensors
// of larger numbers come first so that each is aligned, and nothing else goes in.
void write_safetensors(const std::string& path, const TensorFile& file);

// A text from elsewhere as it may be shown on a terminal: control characters as \x1b, its first
// `longest` bytes.
std::string printable(const std::string& text, size_t longest = 200);

}  // namespace borealis
