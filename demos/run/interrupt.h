// Ctrl-C and its relatives as a question that a run asks between two batches.
#pragma once

namespace borealis {

// Called first in main, before any thread is started: from here on SIGINT, SIGTERM and SIGHUP are
// blocked in every thread and taken by one that only waits for them. So no handler ever runs on a
// thread that computes, where a library's machine code may be using the stack pointer for something
// else. A signal ends the program with status 128 + its number: at once, or once defer_signals()
// was called when the program gets to it. Signals that were ignored at the start (nohup) stay so.
void take_signals();

// From here on there is something to save: a signal only makes interruption() tell of it. Another
// one more than half a second later ends the program at once (terminals and wrappers send two).
void defer_signals();

// The signal that asks the program to save and to end; 0: none.
int interruption();

// Sends off what was printed. A reader that went away (train_gpt | head) counts as SIGPIPE; any
// other trouble is told at the end (demos/run/program.h).
void send_output();

}  // namespace borealis
