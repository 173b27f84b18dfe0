/*
 * seal.h - counts what a hot path must not do: allocations and locks of the calling thread, system calls of the process.
 *
 * malloc() and its kind, and the pthread locks, are wrapped by the linker, where the program's own objects call them. System calls are
 * counted by a seccomp filter that lets none through but those that end the process: it cannot be taken off again.
 */
#ifndef ADVERB_TESTS_SEAL_H
#define ADVERB_TESTS_SEAL_H

#include <stdbool.h>
#include <stdint.h>

struct seal_counts {
	uint64_t allocations; /* and frees */
	uint64_t locks;
	uint64_t system_calls;
	int first_system_call; /* its number; -1: none */
};

/* From here on they are counted, from zero. */
void seal_begin(void);
struct seal_counts seal_end(void);

/* From now on, for ever, a system call is counted and not made. False: there is no seccomp here. */
bool seal_system_calls(void);

#endif
