#include "demos/run/default_text.h"

#include <algorithm>
#include <filesystem>
#include <sstream>
#include <vector>

#include "engine/error.h"
#include "nn/text.h"

namespace borealis {

namespace fs = std::filesystem;

namespace {

// The words of a README's line; none of a table's, nor of indented code.
std::string words_of_markdown(std::string line) {
  if (line.starts_with('|') || line.starts_with("    ")) return "";
  line.erase(0, std::min(line.find_first_not_of("# "), line.size()));
  std::erase_if(line, [](char c) { return c == '`' || c == '*'; });
  return line;
}

// What a comment says that has its line to itself, or stands behind code.
std::string words_of_code(const std::string& line) {
  const size_t at = line.find("// ");
  if (at == std::string::npos || line.ends_with("---") || line.find("// namespace") == at) return "";
  return line.substr(at + 3);
}

// Paragraphs, an empty line between them: lines of prose that follow each other are one.
std::string prose_of(const std::string& text, bool markdown) {
  std::istringstream lines(text);
  std::string prose;
  bool code = false, open = false;
  for (std::string line; std::getline(lines, line);) {
    const bool fence = line.starts_with("```");
    code = code != (markdown && fence);
    std::string words;
    if (!code && !fence) words = markdown ? words_of_markdown(line) : words_of_code(line);
    if (!words.empty())
      prose += words + '\n';
    else if (open)
      prose += '\n';
    open = !words.empty();
  }
  return open ? prose + '\n' : prose;
}

}  // namespace

std::string default_text() {
  const fs::path root = BOREALIS_SOURCE_DIR;
  std::vector<fs::path> files{root / "CONTRIBUTING.md", root / "README.md"};
  for (const char* folder : {"engine", "cuda", "autograd", "nn", "optim", "tests", "demos"}) {
    std::error_code missing;
    for (const auto& entry : fs::recursive_directory_iterator(root / folder, missing)) {
      const std::string kind = entry.path().extension();
      if (kind == ".h" || kind == ".cpp" || kind == ".cu" || kind == ".cuh" || kind == ".md")
        files.push_back(entry.path());
    }
  }
  if (files.size() == 2) fail_runtime(root.string(), ": holds no sources any more; give a text with --data FILE");
  std::sort(files.begin(), files.end());
  std::string text;
  for (const fs::path& file : files) text += prose_of(read_text(file.string()), file.extension() == ".md");
  return text;
}

}  // namespace borealis
