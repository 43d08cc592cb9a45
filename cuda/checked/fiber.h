// A stack of its own for each thread of a block, and the way from one to the next.
#pragma once

#include <cstddef>

namespace borealis::stand_in::fiber {

constexpr int count = 1024;  // stacks

void start(int stack, void (*body)());  // on a stack; returns when the body suspends or has returned
void resume(int stack);                 // likewise
void suspend();                         // in a body: back to whoever started or resumed it
void abandon_all();                     // bodies that will never be resumed

// Whether the address lies on one of the stacks.
bool holds(const void* address);

}  // namespace borealis::stand_in::fiber
