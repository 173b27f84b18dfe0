/* crash_fpe.c - divides by zero; against the process of its own that a worker is. */
#include <signal.h>

#include "attack.h"

ATTACK
{
#if defined(__x86_64__)
	uint32_t quotient = 7, rest = 0;
	__asm__ volatile("divl %2" : "+a"(quotient), "+d"(rest) : "r"((uint32_t)hidden(0)));
	return quotient;
#else
	raise(SIGFPE); /* a division by zero is no fault there */
	return 0;
#endif
}
