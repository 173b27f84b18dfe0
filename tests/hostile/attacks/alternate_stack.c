/* alternate_stack.c - faults with an alternate stack that is not there, in its lane, or in its code; against a fault that ends nothing. */
#include <signal.h>

#include "attack.h"

static void handle(int number)
{
	(void)number;
}

ATTACK
{
	void *const places[] = {(void *)4096, out, (void *)((uintptr_t)attack & ~UINT64_C(4095))};
	const stack_t stack = {.ss_sp = places[argument(in, in_size, 0) % 3], .ss_size = 8192};
	struct sigaction action = {.sa_handler = handle, .sa_flags = SA_ONSTACK | SA_RESETHAND};
	sigaltstack(&stack, NULL);
	sigaction(SIGSEGV, &action, NULL);
	*(volatile int *)hidden(16) = 1;
	return 0;
}
