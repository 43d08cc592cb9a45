#include "cuda/checked/fiber.h"

#include <sys/mman.h>

#include "engine/cpu/poison.h"
#include "engine/error.h"

#ifdef BOREALIS_ASAN
#include <sanitizer/common_interface_defs.h>
#endif

// Saves what a call must keep, and the stack's pointer; takes up where the other stack was left. (swapcontext asks the
// system for the signals' mask each time: six times as slow.) Only for x86-64.
extern "C" void borealis_switch_stack(void** from, void* to);
asm(R"(
.text
.globl borealis_switch_stack
.hidden borealis_switch_stack
borealis_switch_stack:
  push %rbp; push %rbx; push %r12; push %r13; push %r14; push %r15
  mov %rsp, (%rdi)
  mov %rsi, %rsp
  pop %r15; pop %r14; pop %r13; pop %r12; pop %rbx; pop %rbp
  ret
)");

namespace borealis::stand_in::fiber {

namespace {

constexpr size_t bytes = 128 << 10, guard = 16 << 10;  // of a stack, and what lies below it

struct Context {
  void* at = nullptr;
  const void* bottom = nullptr;  // for AddressSanitizer
  size_t size = bytes;
  void* fake = nullptr;
};

Context host, contexts[count];
Context* running = nullptr;
void (*entry)() = nullptr;

// Stack 0's first byte; each has a guard below, which nobody may touch.
std::byte* stacks() {
  static std::byte* const first = [] {
    void* at = mmap(nullptr, count * (guard + bytes), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED) fail_runtime("the stand-in's device: no memory for its stacks");
    for (int i = 0; i < count; ++i)
      mprotect(static_cast<std::byte*>(at) + static_cast<size_t>(i) * (guard + bytes) + guard, bytes,
               PROT_READ | PROT_WRITE);
    return static_cast<std::byte*>(at) + guard;
  }();
  return first;
}

void change(Context& from, Context& to, [[maybe_unused]] bool ends) {
#ifdef BOREALIS_ASAN
  __sanitizer_start_switch_fiber(ends ? nullptr : &from.fake, to.bottom, to.size);
#endif
  borealis_switch_stack(&from.at, to.at);
#ifdef BOREALIS_ASAN
  __sanitizer_finish_switch_fiber(from.fake, nullptr, nullptr);
#endif
}

void enter() {
#ifdef BOREALIS_ASAN
  __sanitizer_finish_switch_fiber(nullptr, &host.bottom, &host.size);
#endif
  entry();
  change(*running, host, true);
}

}  // namespace

void start(int stack, void (*body)()) {
  Context& context = contexts[stack];
  std::byte* bottom = stacks() + static_cast<size_t>(stack) * (guard + bytes);
  context.bottom = bottom;
  void** top = reinterpret_cast<void**>(bottom + bytes);
  top[-1] = nullptr;  // where enter would return to
  top[-2] = reinterpret_cast<void*>(&enter);
  context.at = top - 8;  // six registers below that
  entry = body;
  resume(stack);
}

void resume(int stack) {
  running = &contexts[stack];
  change(host, *running, false);
  running = nullptr;
}

void suspend() { change(*running, host, false); }

void abandon_all() {
  for (int i = 0; i < count; ++i) allow_only(stacks() + static_cast<size_t>(i) * (guard + bytes), bytes, bytes);
}

bool holds(const void* address) {
  const auto* at = static_cast<const std::byte*>(address);
  return at >= stacks() && at < stacks() + count * (guard + bytes) - guard;
}

}  // namespace borealis::stand_in::fiber
