/*
 * fake_clock.h - the clocks of a test: clock_gettime() as the linker wraps it, so that a millisecond passes when the test says so.
 * One thread. Until it is stopped, time is the real one.
 */
#ifndef ADVERB_TESTS_FAKE_CLOCK_H
#define ADVERB_TESTS_FAKE_CLOCK_H

#include <stdint.h>

/* All clocks stand at that time, and go on by `step_ns` with each look at one. */
void fake_clock_stop(uint64_t now_ns, uint64_t step_ns);
void fake_clock_add(uint64_t ns);

/* Called at each look at a stopped clock: something may happen while somebody waits. NULL: not. */
void fake_clock_on_look(void (*look)(void));

#endif
