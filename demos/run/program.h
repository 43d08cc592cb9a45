// How every program here begins and ends.
#pragma once

namespace borealis {

// What main returns. Runs `body`; an exception is one sentence on standard error and status 1, and
// so is output that could not be written. A path in that sentence may hold anything: no control
// character but a line break reaches the terminal.
int run_program(const char* name, int (*body)(int, char**), int argc, char** argv);

// `status`; but 1, with a sentence on standard error, if that is 0 and not all that was printed got
// to where standard output leads.
int status_with_output(const char* name, int status = 0);

}  // namespace borealis
