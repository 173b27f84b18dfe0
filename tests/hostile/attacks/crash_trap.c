/* crash_trap.c - a breakpoint with no debugger; against the process of its own that a worker is. */
#include "attack.h"

ATTACK
{
#if defined(__x86_64__)
	__asm__ volatile("int3");
#else
	__asm__ volatile("brk #0");
#endif
	return 0;
}
